#!/usr/bin/env python3
"""What a cluster of three nodes on this host does when parts of it fail: a table, a line for each fault.

::

    benchmarks/faults.py [--rounds 20] [--only etcd,keeper] [--disk FOLDER] [--json FILE] [--list]

Run it as an ordinary user with a bundle. Each fault gets a cluster of its own under a load (`faults_load`): ten objects
written a second, a Service of two replicas asked twenty times a second from a node that no fault hits, a job every
three seconds. After a warm-up the fault strikes, `--rounds` times. A round is over when `usernetes status` says that
all is well, a write was acknowledged and ten requests in a row were answered. Then the cluster is taken down, and what
is left of it is looked for.

`--disk` is a small file system (3 GiB) for the fault that fills it. Clocks are left out: CLOCK_REALTIME is one for the
whole machine, and no namespace has its own.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faults_load import Load, Tally, percentile, until

from usernetes_deploy.bundle import locate
from usernetes_deploy.cluster import status
from usernetes_deploy.cluster.state import ClusterState, state_root
from usernetes_deploy.commands.common import bundle_cache, node_program
from usernetes_deploy.errors import UsernetesError

CLI = [sys.executable, "-m", "usernetes_deploy.cli"]
NAME = "faults"
RECOVERY, HOLD = 240.0, 5.0  # seconds: the longest that is waited for; how long what is cut, taken or full stays so
MARKERS = {"mesh": "/bin/usernetes-mesh", "containerd": "/bin/containerd --config"}
CUT = "iifname { wg0, tap0 } drop"
RULES = {
    "one way": (CUT, "accept"),
    "both ways": (CUT, "oifname { wg0, tap0 } drop"),
    "slow": ("iifname { wg0, tap0 } limit rate over 40/second drop", "accept"),
}


@dataclass
class Broken:
    """A cluster that faults strike: how its verbs are called, and who it belongs to."""

    state: ClusterState
    cli: Callable[..., list[str]]
    look: Callable[[], Mapping[str, Any]]

    def verb(self, *words: str, code: int = 0) -> str:
        """Run a verb that has to end with this exit code; what it said."""
        done = subprocess.run(self.cli(*words), capture_output=True, text=True, check=False, cwd="/")
        assert done.returncode == code, f"{words}: exit code {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def folder(self, node: str) -> Path:
        """The folder of a node."""
        return next(Path(one["directory"]) for one in self.state.read()["members"] if one["name"] == node)

    def worker(self) -> str:
        """The node that faults of workers hit: neither the first, nor the one that the load is asked from."""
        names = [one["name"] for one in self.state.read()["members"] if one["state"] != "left"]
        return str(names[1] if len(names) == 2 else next(name for name in names[1:] if name != "node2"))

    def pids(self, node: str, component: str) -> list[int]:
        """The processes of a component, as the machine numbers them."""
        folder = self.folder(node)
        if component in ("keeper", "rootlesskit"):
            key = {"keeper": "pid"}.get(component, component)
            return [int(json.loads((folder / "keeper.json").read_text())[key])]
        inside = link(int((folder / "rk" / "child_pid").read_text()))
        marker = MARKERS.get(component, f"/bin/{component} ")
        return [pid for pid, words in processes() if marker in words and link(pid) == inside]

    def kill(self, node: str, component: str) -> None:
        """SIGKILL for the one process of a component."""
        (pid,) = self.pids(node, component)
        os.kill(pid, signal.SIGKILL)


@dataclass
class Fault:
    """A fault: `strike` brings it about and returns when what it holds is free again; `restarts` are (node, part)."""

    title: str
    strike: Callable[[Broken], None]
    restarts: Callable[[Broken], list[tuple[str, str]]] = lambda _: []
    on_disk: bool = False


@dataclass
class Outcome:
    """What came of all rounds of a fault: `seconds` each took to be well, `wrong` what should not have been."""

    title: str
    seconds: list[float] = field(default_factory=list)
    tally: Tally | None = None
    left: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def row(self) -> str:
        """Its line of the table."""
        found = self.tally
        counts = ["-"] * 3 if found is None else [
            f"{found.lost} of {found.written}",
            f"{found.failed} of {found.asked}",
            f"{found.unfinished} of {found.jobs}",
        ]  # fmt: skip
        times = [f"{percentile(self.seconds, part):.1f}" if self.seconds else "-" for part in (0.5, 0.99)]
        notes = "; ".join([f"{len(self.left)} left" if self.left else "nothing", *self.wrong])
        return f"| {' | '.join([self.title, str(len(self.seconds)), *times, *counts, notes])} |"


HEAD = """| fault | rounds | p50 (s) | p99 (s) | writes lost | requests failed | jobs lost | left after `down` |
| --- | --- | --- | --- | --- | --- | --- | --- |"""


def killed(component: str, *, first: bool = False) -> Fault:
    """A component killed, on a worker or on the first node."""

    def victim(broken: Broken) -> str:
        return "node0" if first else broken.worker()

    where = "the first node" if first else "a worker"
    title = f"{where} as a whole" if component == "rootlesskit" else f"{component} on {where}"
    return Fault(
        f"{title} killed", lambda broken: broken.kill(victim(broken), component), lambda b: [(victim(b), component)]
    )


def keeper_killed(broken: Broken) -> None:
    """A keeper's end is its node's; the administrator takes the node out and adds another."""
    node = broken.worker()
    broken.kill(node, "keeper")
    broken.verb("remove", "--cluster", broken.state.name, node, "--force")
    broken.verb("add", "--cluster", broken.state.name, "--nodes", "1", "--quiet")


def cut(how: str) -> Fault:
    """A worker's network cut for a while: what comes over the mesh and the way out is dropped inside the node."""

    def strike(broken: Broken) -> None:
        come, go = RULES[how]
        hooks = [("input", come), ("forward", come), ("output", go), ("forward", go)]
        chains = "".join(
            f"chain c{place} {{ type filter hook {hook} priority -300; {rule}; }}\n"
            for place, (hook, rule) in enumerate(hooks)
        )
        in_node(broken, f"table inet faults {{\n{chains}}}\n")
        try:
            time.sleep(HOLD)
        finally:
            in_node(broken, "delete table inet faults\n")

    return Fault(f"network of a worker, {how}, {HOLD:g} s", strike)


def in_node(broken: Broken, rules: str) -> None:
    """Have nft take rules in a worker's network namespace."""
    tool = shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin") or "nft"
    argv = [sys.executable, str(node_program()), "enter", str(broken.folder(broken.worker())), "--", tool, "-f", "-"]
    subprocess.run(argv, input=rules, text=True, check=True, capture_output=True)


def port_taken(broken: Broken) -> None:
    """The first node dies, and somebody else has its API's port when it comes back, for a while."""
    address, _, port = broken.state.server().removeprefix("https://").rpartition(":")
    broken.kill("node0", "rootlesskit")
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        until(lambda: bound(taken, (address, int(port))), 5, "take the API's port")
        taken.listen(1)
        time.sleep(HOLD)


def bound(taken: socket.socket, place: tuple[str, int]) -> bool:
    """Bind a socket; raises `OSError` while somebody else has the place."""
    taken.bind(place)
    return True


def fill(file: int, disk: Path) -> None:
    """Have a file take all that is left of its disk; the nodes write meanwhile, so in ever smaller pieces."""
    size = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    while size >= 4096:
        try:
            os.posix_fallocate(file, os.fstat(file).st_size, size)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            size //= 2


def disk_full(broken: Broken) -> None:
    """Somebody else fills the nodes' disk to the last byte, and makes room again."""
    disk = Path(broken.state.read()["spec"]["storage"]["nodeDirectory"])
    other = disk / "somebody-elses"
    try:
        with other.open("wb") as file:
            fill(file.fileno(), disk)
        time.sleep(HOLD)
    finally:
        other.unlink()


def both(title: str, *faults: Fault) -> Fault:
    """Two faults in one moment."""

    def strike(broken: Broken) -> None:
        for fault in faults:
            fault.strike(broken)

    return Fault(title, strike, lambda broken: [one for fault in faults for one in fault.restarts(broken)])


FAULTS: Mapping[str, Fault] = {
    **{name: killed(name, first=True) for name in
       ("etcd", "kube-apiserver", "kube-scheduler", "kube-controller-manager", "coredns")},
    **{name: killed(name) for name in ("kubelet", "containerd", "kube-proxy", "mesh")},
    "keeper": Fault("keeper of a worker killed, `remove --force` and `add`", keeper_killed),
    "node": killed("rootlesskit"),
    "first-node": killed("rootlesskit", first=True),
    "cut-one-way": cut("one way"),
    "cut-both-ways": cut("both ways"),
    "slow": cut("slow"),
    "port": Fault(f"first node killed, its API's port taken for {HOLD:g} s", port_taken,
                  lambda _: [("node0", "rootlesskit")]),
    "disk": Fault(f"the nodes' disk full for {HOLD:g} s", disk_full, on_disk=True),
    "two": both("etcd and a worker's containerd killed at once", killed("etcd", first=True), killed("containerd")),
    "two-nodes": both("first node and a worker killed at once", killed("rootlesskit", first=True),
                      killed("rootlesskit")),
}  # fmt: skip


def restarts(found: Mapping[str, Any], node: str, part: str) -> int:
    """How often a part of a node was started again, by `status`; -1 when that is not known."""
    one = next((item for item in found["nodes"] if item["name"] == node), None)
    if one is None or not one["alive"]:
        return -1
    if part == "rootlesskit":
        return int(one["restarts"])
    return next((int(item["restarts"]) for item in one["components"] if item["name"] == part), -1)


def struck(broken: Broken, fault: Fault, load: Load) -> float:
    """One round: the fault, then the wait until all is well; the seconds of that, from when the fault was over."""
    before = broken.look()
    counts = {one: restarts(before, *one) for one in fault.restarts(broken)}
    began = time.monotonic()
    fault.strike(broken)
    since = began if time.monotonic() - began < HOLD else time.monotonic()
    since = began if fault.title.startswith("keeper") else since

    late: dict[str, float] = {}  # what was not well, and when it was seen last

    def well() -> bool:
        found = broken.look()
        holds = {
            "restart": all(restarts(found, *one) > count for one, count in counts.items()),
            "status": bool(found["healthy"]),
            "write": load.wrote_since(since),
            "requests": load.answered_since(since),
            **{one["name"]: bool(one["ready"]) for one in found["nodes"]},
            "DNS": bool(found["dns"] and found["dns"]["ok"]),
        }
        late.update({what: time.monotonic() - since for what, held in holds.items() if not held})
        return all(holds.values())

    seconds = until(well, RECOVERY, f"the cluster is well after: {fault.title}") - since
    said = ", ".join(f"{what} {when:.1f}" for what, when in sorted(late.items(), key=lambda item: item[1]))
    print(f"  {fault.title}: {seconds:.1f} s; not well until: {said}", file=sys.stderr, flush=True)
    return seconds


def campaign(fault: Fault, rounds: int, disk: str | None) -> Outcome:
    """A cluster of three, all rounds of one fault under load, and its end."""
    outcome = Outcome(fault.title)
    name = f"{NAME}-{os.getpid()}"
    state = ClusterState(state_root(os.environ), name)

    def cli(verb: str, *words: str) -> list[str]:
        named = () if "--cluster" in words else ("--cluster", name)
        return [*CLI, verb, *named, *words]

    program = node_program()
    broken = Broken(state, cli, lambda: status.collect(state, program))
    settings = ["--set", f"storage.nodeDirectory={disk}", "--set", "eviction.disk=0"] if fault.on_disk else []
    try:
        broken.verb("up", "--nodes", "3", *settings)
        image = locate(None, bundle_cache()).image("busybox")[0]
        load = Load(lambda: state.api(5), cli, image, "node2", sys.executable)
        try:
            load.begin()
            for _ in range(rounds):
                time.sleep(2)
                outcome.seconds.append(struck(broken, fault, load))
        finally:
            outcome.tally = load.end()
    except (UsernetesError, AssertionError, OSError, ValueError, subprocess.SubprocessError) as error:
        outcome.wrong.append(" ".join(str(error).split())[:300])
    finally:
        done = subprocess.run(cli("down"), capture_output=True, text=True, check=False)
        if done.returncode:
            outcome.wrong.append(f"down: {done.stderr.strip()[:300]}")
        outcome.left = leftovers(name, disk)
    return outcome


def driver_killed(rounds: int) -> Outcome:
    """`up` is killed at some moment: another `up` of that name is refused, and `down` leaves nothing of it."""
    outcome = Outcome("`up` killed at a random moment, then `down`")
    name, chosen = f"{NAME}-{os.getpid()}", random.Random(1)  # noqa: S311  nothing secret
    state = ClusterState(state_root(os.environ), name)
    for number in range(rounds):
        moment = chosen.uniform(0.3, 6)
        with begun(name) as up:
            time.sleep(moment)
            up.kill()
        began = time.monotonic()
        if state.exists():
            again = subprocess.run([*CLI, "up", "--cluster", name], capture_output=True, text=True, check=False)
            if again.returncode != 2 or "usernetes down" not in again.stderr:
                outcome.wrong.append(f"round {number + 1}: up again: exit code {again.returncode}: {again.stderr}")
            began = time.monotonic()
        done = subprocess.run([*CLI, "down", "--cluster", name], capture_output=True, text=True, check=False)
        outcome.seconds.append(time.monotonic() - began)
        if done.returncode:
            outcome.wrong.append(f"round {number + 1}: down: {done.stderr.strip()[:300]}")
        outcome.left += leftovers(name, None)
        print(f"  up killed after {moment:.1f} s, down {outcome.seconds[-1]:.1f} s", file=sys.stderr, flush=True)
    return outcome


def half_made(rounds: int) -> Outcome:
    """A worker's keeper is killed while `up` waits for it: `up` says which node it is, and leaves nothing."""
    outcome = Outcome("a worker's keeper killed during `up`, until `up` has failed and cleaned")
    name = f"{NAME}-{os.getpid()}"
    state = ClusterState(state_root(os.environ), name)

    def keeper() -> int:
        (folder,) = (Path(one["directory"]) for one in state.read()["members"] if one["name"] == "node1")
        return int(json.loads((folder / "keeper.json").read_text())["pid"])

    for number in range(rounds):
        with begun(name) as up:
            until(keeper, 30, "the worker's keeper")
            os.kill(keeper(), signal.SIGKILL)
            began = time.monotonic()
            said = up.communicate(timeout=RECOVERY)[1]
        outcome.seconds.append(time.monotonic() - began)
        if up.returncode == 0 or "node1" not in said:
            outcome.wrong.append(f"round {number + 1}: up: exit code {up.returncode}: {said.strip()[-300:]}")
        outcome.left += leftovers(name, None)
        if state.exists():
            subprocess.run([*CLI, "down", "--cluster", name], capture_output=True, check=False)
    return outcome


def begun(name: str) -> subprocess.Popen[str]:
    """`up` of three nodes, in the background."""
    argv = [*CLI, "up", "--cluster", name, "--nodes", "3"]
    return subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def processes() -> Iterator[tuple[int, str]]:
    """Every process of this machine with its command line."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                yield int(entry.name), (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue


def link(pid: int) -> str:
    """The PID namespace of a process, "" when it is gone or somebody else's."""
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except OSError:
        return ""


def leftovers(name: str, disk: str | None) -> list[str]:
    """What is left of our clusters on this machine: processes, mounts, node folders, the state."""
    base = f"/var/tmp/usernetes-{os.getuid()}"
    places = [base, *([disk] if disk else [])]
    inside = {link(pid) for pid, _ in processes()} - {link(os.getpid()), ""}
    found = [words for pid, words in processes() if link(pid) in inside or f"{base}/" in words]
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f" {base}/" in line]
    found += [str(path) for place in places for path in Path(place).glob("*-[0-9]*")]
    state = ClusterState(state_root(os.environ), name)
    return found + ([str(state.directory)] if state.directory.exists() else [])


def main() -> None:
    """Strike with what was asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="faults, with commas (see --list)")
    parser.add_argument("--disk", help="a small file system of yours, for the fault `disk`")
    parser.add_argument("--json", type=Path, help="write every round's seconds and counts there")
    parser.add_argument("--list", action="store_true", help="name the faults")
    options = parser.parse_args()
    whole: Mapping[str, Callable[[int], Outcome]] = {"driver": driver_killed, "half-made": half_made}
    names = [*FAULTS, *whole]
    if options.list:
        print("\n".join(names))
        return
    wanted = options.only.split(",") if options.only else [name for name in names if name != "disk" or options.disk]
    if unknown := [name for name in wanted if name not in names]:
        parser.error(f"--only {','.join(unknown)}: expected some of {', '.join(names)}")
    if "disk" in wanted and not options.disk:
        parser.error("the fault `disk` needs --disk FOLDER")
    print(HEAD, flush=True)
    outcomes = []
    for name in wanted:
        made = whole[name](options.rounds) if name in whole else campaign(FAULTS[name], options.rounds, options.disk)
        outcomes.append(made)
        print(made.row(), flush=True)
        print("\n".join(made.left), file=sys.stderr, flush=True)
    if options.json:
        found = [{**vars(one), "tally": vars(one.tally) if one.tally else None} for one in outcomes]
        options.json.write_text(json.dumps(found, indent=2))
    sys.exit(any(one.left or one.wrong for one in outcomes))


if __name__ == "__main__":
    main()
