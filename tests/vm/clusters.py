"""Clusters in the virtual machine: begun, used and ended as its users would."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Iterator
from typing import Any

from tests.vm.image import USERS
from tests.vm.machine import Machine

SECONDS = 1200  # a bound: emulation is slow
CONDITIONS = "jsonpath={range .items[0].status.conditions[*]}{.type}={.status} {end}"


class Cluster:
    """A cluster of one of the machine's users; `begin` stands before each of its commands (as ``env -u NAME``)."""

    def __init__(self, machine: Machine, user: str, name: str, begin: str = "") -> None:
        self.machine = machine
        self.user = user
        self.name = name
        self._begin = f"{begin} " if begin else ""

    def usernetes(self, verb: str, *words: str, timeout: float = 600) -> str:
        """What ``usernetes VERB --cluster NAME WORDS`` says; `AssertionError` when it fails."""
        script = f"{self._begin}usernetes {verb} --cluster {self.name} {shlex.join(words)}"
        return self.machine.must(self.user, script, timeout=timeout)

    def kubectl(self, *words: str) -> str:
        """What kubectl says; `AssertionError` when it fails."""
        return self.usernetes("kubectl", *words)

    def until(self, words: str, *kubectl: str, seconds: float = 400) -> str:
        """Ask kubectl again and again until it says `words`."""
        script = f"usernetes kubectl --cluster {self.name} {shlex.join(kubectl)}"
        return self.machine.until(self.user, script, words, seconds=seconds)

    def apply(self, *objects: dict[str, Any]) -> None:
        """Give the API these objects."""
        document = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        script = f"usernetes kubectl --cluster {self.name} apply -f - <<'E'\n{document}\nE"
        self.machine.must(self.user, script)

    def status(self) -> dict[str, Any]:
        """The status document."""
        said = self.machine.sh(self.user, f"usernetes status --json --cluster {self.name} 2>/dev/null")
        return dict(json.loads(said.text))

    def busybox(self) -> str:
        """The name of the one image that every node has."""
        names = self.kubectl("get", "node", "-o", "jsonpath={.items[0].status.images[*].names[0]}")
        return next(name for name in names.split() if "busybox" in name)

    def pod(self, name: str, script: str, **limits: str) -> dict[str, Any]:
        """A pod that runs a shell script once."""
        container = {
            "name": "main", "image": self.busybox(), "imagePullPolicy": "Never",
            "command": ["sh", "-c", script], "resources": {"limits": limits} if limits else {},
        }  # fmt: skip
        return {
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": [container]},
        }  # fmt: skip


@contextlib.contextmanager
def cluster(machine: Machine, user: str, name: str, *words: str, begin: str = "", **spec: Any) -> Iterator[Cluster]:
    """A cluster that is up, and down afterwards without a trace; `spec` are further fields of its spec."""
    made = Cluster(machine, user, name, begin)
    sets = [f"--set={path}={value}" for path, value in {"waitSeconds": SECONDS, **spec}.items()]
    try:
        made.usernetes("up", *words, *sets, timeout=2 * SECONDS)
        yield made
    except BaseException:
        machine.sh(user, f"usernetes down --cluster {name}")
        raise
    made.usernetes("down")
    left = leftovers(machine, user)
    assert left == "", f"left behind by {name}: {left}"


def leftovers(machine: Machine, user: str) -> str:
    """What is still there of a user's nodes: cgroups, folders, processes."""
    uid = USERS[user]
    script = (
        f"find /sys/fs/cgroup -name 'usernetes-*-[0-9]*'; ls -d /var/tmp/usernetes-{uid}/*-* 2>/dev/null;"
        f" pgrep -u {user} -a 'rootlesskit|containerd|kubelet'; true"
    )
    return machine.must("root", script).strip()
