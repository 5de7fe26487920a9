"""A real cluster over SSH on two virtual hosts, with a third host that has no part in it, for tests of the network.

Needs root. The bundle is $USERNETES_TEST_BUNDLE or the cache's current one, the Python $USERNETES_TEST_PYTHON or ours,
which the test user must be able to run. $USERNETES_NETWORK_TESTHOSTS is "PREFIX SUBNET USER".
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.conftest import FILES, ROOT, VirtualHosts, need_root
from tests.users import make_user
from usernetes_deploy import bundle as bundles
from usernetes_deploy.commands.common import bundle_cache
from usernetes_deploy.errors import UsernetesError

UP_SECONDS = 300  # a bound for a busy machine; what it really takes is the benchmarks' business
SPEC = """
launcher: ssh
nodes: 2
hosts: [HOSTS]
durability: memory
devices:
  - {name: tun, paths: [/dev/net/tun, /dev/zer*], count: 2}
  - {name: gpu, paths: ["cdi:example.com/gpu=0"], count: 8}
  - {name: plug, paths: [PLUG], count: 1}
"""
PLUG = "/var/tmp/plug"  # a device file that can be pulled out
# As a vendor's tool writes it, but for the names: what is there on any host stands in for the driver's files.
VENDOR = """
---
cdiVersion: 0.5.0
containerEdits:
  deviceNodes:
  - path: /dev/zero
  env:
  - EXAMPLE_VISIBLE_DEVICES=void
  hooks:
  - args:
    - example-ctk
    - hook
    - update-ldcache
    - --folder
    - /usr/lib/x86_64-linux-gnu
    hookName: createContainer
    path: /usr/bin/true
  mounts:
  - containerPath: /usr/bin/example-smi
    hostPath: /usr/bin/true
    options:
    - ro
    - nosuid
    - nodev
    - bind
devices:
- containerEdits:
    deviceNodes:
    - path: /dev/net/tun
  name: "0"
- containerEdits:
    deviceNodes:
    - path: /dev/net/tun
  name: all
kind: example.com/gpu
"""


@dataclass(frozen=True)
class Meshed:
    """The cluster and its hosts; hosts 0 and 1 carry nodes, host 2 is an outsider."""

    hosts: VirtualHosts
    python: str
    bundle: Path

    def argv(self, number: int, *argv: str, user: str = "") -> list[str]:
        """The argv that runs `argv` on a host, as the test user unless another is named."""
        name = self.hosts.names[number]
        env = [f"PYTHONPATH={ROOT}", "PYTHONDONTWRITEBYTECODE=1", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
        words = [word for pair in env for word in ("--env", pair)]
        return [str(FILES / "on-host"), name, "--user", user or self.hosts.user, *words, "--", *argv]

    def on(self, number: int, *argv: str, user: str = "", timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command on a host to its end."""
        return subprocess.run(
            self.argv(number, *argv, user=user), text=True, capture_output=True, check=False, timeout=timeout
        )

    def usernetes(self, *words: str, number: int = 0, timeout: float = UP_SECONDS) -> subprocess.CompletedProcess[str]:
        """``usernetes WORDS`` on a host."""
        return self.on(number, self.python, "-m", "usernetes_deploy.cli", *words, timeout=timeout)

    def ok(self, *words: str, timeout: float = UP_SECONDS) -> str:
        """The same; its stdout, or the test fails."""
        done = self.usernetes(*words, timeout=timeout)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def kubectl(self, *words: str) -> str:
        """``usernetes kubectl WORDS``; its stdout."""
        return self.ok("kubectl", *words)

    def apply(self, *objects: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        """``kubectl apply`` of objects in the namespace default."""
        argv = self.argv(0, self.python, "-m", "usernetes_deploy.cli", "kubectl", "apply", "-f", "-")
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        return subprocess.run(argv, text=True, capture_output=True, check=False, input=text, timeout=60)

    def pod(self, name: str) -> dict[str, Any]:
        """A pod as the API has it, once it is Ready."""
        self.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=90s")
        return dict(json.loads(self.kubectl("get", "pod", name, "-o", "json")))

    def busybox(self) -> str:
        """The image that every node has."""
        return next(word for word in self.ok("images", "list").split() if "/busybox:" in word)

    def address(self, number: int) -> str:
        """A host's real address."""
        return self.hosts.address(self.hosts.names[number])

    def node_directory(self, number: int) -> str:
        """The folder of a node, on its host."""
        document = json.loads(self.ok("status", "--json"))
        return str(document["nodes"][number]["directory"])

    def component(self, number: int, name: str) -> dict[str, Any]:
        """What `status` says of a component of a node."""
        document = json.loads(self.usernetes("status", "--json").stdout)
        return next(dict(item) for item in document["nodes"][number]["components"] if item["name"] == name)


@pytest.fixture(scope="session")
def meshed() -> Iterator[Meshed]:
    """A cluster for the whole session."""
    need_root()
    words = os.environ.get("USERNETES_NETWORK_TESTHOSTS", "tn 10.78.0.0/24 hpctn").split()
    prefix, subnet, user = words
    hosts = VirtualHosts(prefix, subnet, user, count=3)
    python = os.environ.get("USERNETES_TEST_PYTHON", sys.executable)
    make_user(hosts.user)
    if subprocess.run(["setpriv", f"--reuid={hosts.user}", "--clear-groups", python, "-c", ""], check=False).returncode:
        pytest.skip(f"{hosts.user} may not run {python}; set USERNETES_TEST_PYTHON")
    hosts.call("down")
    hosts.call("up")
    try:
        cluster = Meshed(hosts, python, shared_bundle(hosts))
        prepare_ssh(cluster)
        for name in hosts.names[:2]:
            hosts.on(name, f"mkdir -p /etc/cdi; cat > /etc/cdi/vendor.yaml <<'END'{VENDOR}END\nln -s /dev/null {PLUG}")
        spec = SPEC.replace("HOSTS", ", ".join(hosts.names[:2])).replace("PLUG", PLUG)
        write = cluster.argv(0, "sh", "-c", "cat > ~/cluster.yaml")
        subprocess.run(write, input=spec, text=True, check=True)
        cluster.ok("up", "--file", "cluster.yaml", "--bundle", str(cluster.bundle))
        yield cluster
        cluster.ok("down")
    finally:
        hosts.call("down")


def shared_bundle(hosts: VirtualHosts) -> Path:
    """The bundle in a folder that all virtual hosts see."""
    named = os.environ.get("USERNETES_TEST_BUNDLE")
    try:
        source = bundles.locate(Path(named) if named else None, bundle_cache()).root
    except UsernetesError as error:
        pytest.skip(f"no bundle ({error}); set USERNETES_TEST_BUNDLE")
    target = hosts.state / "bundle"
    shutil.copytree(source, target, symlinks=False)
    return target


def prepare_ssh(cluster: Meshed) -> None:
    """Let the user on host 0 reach the others."""
    script = f"mkdir -pm 700 ~/.ssh && install -m 600 {cluster.hosts.state}/ssh_config ~/.ssh/config"
    assert cluster.on(0, "sh", "-c", script).returncode == 0


def eventually(check: Callable[[], Any], seconds: float, what: str) -> float:
    """Ask until `check` is true; how long it took in seconds. The test fails when it does not come."""
    began = time.monotonic()
    while not check():
        if time.monotonic() - began > seconds:
            pytest.fail(f"{what}: not within {seconds:g} s")
        time.sleep(0.1)
    return time.monotonic() - began


def simple_pod(name: str, image: str, command: str, **spec: Any) -> dict[str, Any]:
    """A pod with one container that runs a shell script."""
    container = {"name": "main", "image": image, "imagePullPolicy": "Never", "command": ["/bin/sh", "-c", command]}
    extra = spec.pop("container", {})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [{**container, **extra}], **spec},
    }
