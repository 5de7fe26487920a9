"""The virtual machine: QEMU's emulation of a whole computer (no KVM needed), talked to over SSH on loopback.

What it writes goes to a temporary file, so every start finds the disks as they were made. Ten to twenty times slower
than the machine it runs on: for what is right and wrong, never for times.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.vm.image import CHECKOUT

BOOT_SECONDS = 300.0
NETWORK = "192.168.76.0/24"  # slirp4netns of the nodes inside has QEMU's own default
# The clock is read without leaving the guest's program (the kernel distrusts an emulated TSC and takes the HPET, whose
# every reading is a device's), and what waits for all processors to be seen does not wait for the timer.
FAST = "mitigations=off audit=0 tsc=reliable clocksource=tsc rcupdate.rcu_expedited=1"
CODE = ("usernetes_deploy", "tests/vm/guest")


class Said(NamedTuple):
    """How a command in the machine ended."""

    returncode: int
    text: str  # stdout and stderr, as they came


class Machine:
    """One machine on the disks of `work`; `port` is where its SSH answers on loopback."""

    def __init__(self, work: Path, port: int = 2222) -> None:
        self.work = work
        self.port = port

    @property
    def pid_file(self) -> Path:
        """Names the QEMU of a machine that is to stay."""
        return self.work / f"qemu-{self.port}.pid"

    def boot(self, memory: str = "7G") -> None:
        """Start it and wait until it answers; raises `SystemExit` with the end of its console when it does not."""
        console = self.work / f"console-{self.port}.log"
        argv = [
            "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", memory, "-smp", "2",
            "-kernel", self.work / "vmlinuz", "-initrd", self.work / "initrd.img",
            "-append", f"root=/dev/vda rw console=ttyS0 quiet {FAST}",
            "-drive", f"file={self.work}/disk.img,if=virtio,format=raw,cache=unsafe,snapshot=on",
            "-drive", f"file={self.work}/bundle.img,if=virtio,format=raw,cache=unsafe,snapshot=on",
            "-nic", f"user,net={NETWORK},hostfwd=tcp:127.0.0.1:{self.port}-:22,model=virtio-net-pci",
            "-device", "virtio-rng-pci", "-display", "none", "-serial", f"file:{console}",
            "-pidfile", self.pid_file, "-daemonize",
        ]  # fmt: skip
        began = time.monotonic()
        subprocess.run([str(word) for word in argv], check=True, env={**os.environ, "TMPDIR": str(self.work)})
        self._go_first()
        while self.sh("root", "systemctl is-system-running --wait || true", timeout=60).returncode:
            if time.monotonic() - began > BOOT_SECONDS:
                self.kill()
                raise SystemExit(f"the machine does not answer: {console.read_text(errors='replace')[-2000:]}")
            time.sleep(2)
        print(f"the machine answers after {time.monotonic() - began:.0f} s", flush=True)

    def _go_first(self) -> None:
        """Before all else that runs here: what waits in the guest has limits of time."""
        pid = int(self.pid_file.read_text())
        for task in Path(f"/proc/{pid}/task").iterdir():
            os.setpriority(os.PRIO_PROCESS, int(task.name), -15)
        # With automatic groups a nice value counts only within the process's own session; this one counts outside it.
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/autogroup").write_text("-15")

    def kill(self) -> None:
        """End it at once; its disks do not care."""
        with contextlib.suppress(OSError, ValueError):
            os.kill(int(self.pid_file.read_text()), signal.SIGKILL)
            self.pid_file.unlink()

    def sh(self, user: str, script: str, *, timeout: float = 600, stdin: bytes | None = None) -> Said:
        """Run a shell script as `user` in a login of its own; its exit code is 255 when the machine is silent."""
        argv = [
            "ssh", "-q", "-i", str(self.work / "key"), "-p", str(self.port),
            "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=30",
            "-o", "BatchMode=yes", "-o", "ControlMaster=no", f"{user}@127.0.0.1",
            f"bash -lc {shlex.quote(script)}",
        ]  # fmt: skip
        try:
            done = subprocess.run(
                argv,
                input=stdin,
                stdin=None if stdin is not None else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as expired:
            return Said(124, (expired.stdout or b"").decode(errors="replace") + f"\n(not done after {timeout:g} s)")
        return Said(done.returncode, done.stdout.decode(errors="replace"))

    def must(self, user: str, script: str, *, timeout: float = 600) -> str:
        """The words of a command; `AssertionError` with them when it fails."""
        said = self.sh(user, script, timeout=timeout)
        assert said.returncode == 0, f"as {user}: {script}\nexit code {said.returncode}\n{said.text[-4000:]}"
        return said.text

    def json(self, user: str, script: str, *, timeout: float = 600) -> Any:
        """The JSON document that a command prints."""
        return json.loads(self.must(user, script, timeout=timeout))

    def until(self, user: str, script: str, words: str, *, seconds: float = 300) -> str:
        """Run a command again and again until its words hold `words`; `AssertionError` with the last when it ends."""
        ends = time.monotonic() + seconds
        while True:
            said = self.sh(user, script)
            if words in said.text:
                return said.text
            assert time.monotonic() < ends, f"as {user}: {script}\nnever said {words!r}, but\n{said.text[-4000:]}"
            time.sleep(3)

    def copy_code(self, checkout: Path = CHECKOUT) -> None:
        """Put the checkout's program into the machine, in place of the one that is there."""
        pack = ["tar", "-C", str(checkout), "--exclude=__pycache__", "-cf", "-"]
        pack += [path for path in CODE if (checkout / path).exists()]
        tar = subprocess.run(pack, check=True, stdout=subprocess.PIPE)
        here = "/opt/usernetes/src"
        # Users cannot write there: without this each of their commands compiles the program anew.
        script = f"rm -rf {here}; mkdir -p {here}; tar -C {here} -xf - && python3 -m compileall -q {here}"
        said = self.sh("root", script, stdin=tar.stdout)
        if said.returncode:
            sys.exit(f"the program could not be copied: {said.text}")


def words_of(argv: Sequence[str]) -> str:
    """A command as a shell takes it."""
    return shlex.join(argv)
