"""Clusters on a real Debian 12 with systemd and cgroup v2, in an emulated machine; by hand, and before releases.

    python -m tests.vm.run --work ~/.cache/usernetes-vm --cache /var/lib/usernetes/cache [SCENARIO ...]

As root, with debootstrap, e2fsprogs and qemu-system-x86. The first run makes the disks (about ten minutes); a machine
answers after one or two minutes and is ten to twenty times slower than this one: for correctness, never for times.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.vm import image
from tests.vm.machine import Machine

SECONDS = 420
CGROUPS = "/sys/fs/cgroup/user.slice/user-1001.slice"
PODS = """
apiVersion: v1
kind: Pod
metadata: {name: eats}
spec:
  restartPolicy: Never
  containers:
  - name: main
    image: IMAGE
    imagePullPolicy: Never
    command: [sh, -c, "tail /dev/zero"]
    resources: {limits: {memory: 32Mi}}
---
apiVersion: v1
kind: Pod
metadata: {name: rests}
spec:
  restartPolicy: Never
  containers:
  - name: main
    image: IMAGE
    imagePullPolicy: Never
    command: [sh, -c, "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max; sleep 3600"]
    resources: {limits: {memory: 64Mi, cpu: 500m}}
"""


def delegated(machine: Machine) -> None:
    """Two nodes on one host with a delegated cgroup each: limits, a kill for memory, and nothing left."""
    machine.must("alice", f"usernetes up --cluster vm --nodes 2 --set waitSeconds={SECONDS}", timeout=2 * SECONDS)
    assert "limits  enforced" in machine.must("alice", "usernetes status --cluster vm")
    images = machine.must(
        "alice", "usernetes kubectl --cluster vm get node node0 -o jsonpath='{.status.images[*].names[0]}'"
    )
    busybox = next(name for name in images.split() if "busybox" in name)
    text = PODS.replace("IMAGE", busybox)
    machine.must("alice", f"cat > pods.yaml <<'E'\n{text}E\nusernetes kubectl --cluster vm apply -f pods.yaml")
    machine.until("alice", "usernetes kubectl --cluster vm get pods", "OOMKilled")
    machine.until("alice", "usernetes kubectl --cluster vm logs rests", "67108864\n50000 100000")
    machine.must("alice", "usernetes down --cluster vm")
    left = machine.must("alice", f"find {CGROUPS} -name 'usernetes*'; ls -d /var/tmp/usernetes-* 2>/dev/null || true")
    assert left.strip() == "", left


def unprepared(machine: Machine) -> None:
    """A user whom nobody prepared: systemd's own delegation is enough for limits, and nothing is left."""
    machine.must("bob", f"usernetes up --cluster plain --nodes 1 --set waitSeconds={SECONDS}", timeout=2 * SECONDS)
    assert "limits  enforced" in machine.must("bob", "usernetes status --cluster plain")
    machine.must("bob", "usernetes down --cluster plain")
    assert machine.sh("bob", "pgrep -u bob rootlesskit").returncode == 1


SCENARIOS: dict[str, Callable[[Machine], None]] = {"delegated": delegated, "unprepared": unprepared}


def main() -> int:
    """Run the scenarios; the exit code says whether all of them passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path.home() / ".cache" / "usernetes-vm", help="disks and keys")
    parser.add_argument("--cache", type=Path, default=Path("/var/lib/usernetes/cache"), help="the bundle's cache")
    parser.add_argument("--port", type=int, default=2222, help="of the machine's SSH, on loopback")
    parser.add_argument("--keep", action="store_true", help="leave the machine running; the next call uses it")
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"of {', '.join(SCENARIOS)} (default: all)")
    options = parser.parse_args()
    unknown = [name for name in options.scenarios if name not in SCENARIOS]
    if unknown:
        parser.error(f"there is no scenario {', '.join(unknown)}")
    image.make(options.work, options.cache)
    machine = Machine(options.work, options.port)
    if machine.sh("root", "true", timeout=60).returncode:
        machine.boot()
    machine.copy_code()
    failed = 0
    try:
        for name in options.scenarios or SCENARIOS:
            began = time.monotonic()
            try:
                SCENARIOS[name](machine)
                outcome = "PASS"
            except AssertionError as error:
                outcome, failed = f"FAIL\n{error}", failed + 1
            print(f"{name}: {outcome} ({time.monotonic() - began:.0f} s)", flush=True)
    finally:
        if not options.keep:
            machine.kill()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
