"""Real clusters for tests: unprivileged accounts with a home of their own, and what is looked at on the machine.

Needs root, to make the accounts (skipped without, and it says so). The bundle is $USERNETES_TEST_BUNDLE or the current
one of the cache; the Python is one that any user may run.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.registry import Registry, serve_registry
from tests.users import group_of, make_user, subordinate
from usernetes_deploy.bundle import locate
from usernetes_deploy.commands.common import bundle_cache
from usernetes_deploy.errors import UsernetesError

REPOSITORY = Path(__file__).resolve().parents[2]
UP_SECONDS = 180  # a bound for a busy machine; what it really takes is the benchmarks' business
BUSYBOX = "localhost/usernetes/busybox"


@dataclass(frozen=True)
class Account:
    """An unprivileged user with a home directory that exists for the tests alone."""

    name: str
    uid: int
    home: Path
    python: str
    bundle: Path

    @property
    def state(self) -> Path:
        """Where the states of this account's clusters lie."""
        return self.home / ".local" / "state" / "usernetes"

    @property
    def base(self) -> Path:
        """The folder of this account's nodes."""
        return Path(f"/var/tmp/usernetes-{self.uid}")

    def become(self, argv: Sequence[str], env: Mapping[str, str] | None = None) -> list[str]:
        """The argv that runs `argv` as this account with only a login's environment."""
        variables = {
            "HOME": str(self.home),
            "USER": self.name,
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(REPOSITORY),
            "PYTHONDONTWRITEBYTECODE": "1",
            **(env or {}),
        }
        return [
            "setpriv", f"--reuid={self.uid}", f"--regid={group_of(self.uid)}", "--clear-groups", "--", "env", "-i",
            *(f"{key}={value}" for key, value in variables.items()), *argv,
        ]  # fmt: skip

    def argv(self, *words: str, env: Mapping[str, str] | None = None) -> list[str]:
        """The argv of ``usernetes WORDS`` as this account."""
        return self.become([self.python, "-m", "usernetes_deploy.cli", *words], env)

    def usernetes(
        self, *words: str, timeout: float = UP_SECONDS, env: Mapping[str, str] | None = None, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run ``usernetes WORDS`` to its end."""
        return subprocess.run(
            self.argv(*words, env=env),
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd="/",
            check=False,
            input=stdin,
        )

    def sh(self, script: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a shell script as this account."""
        argv = self.become(["sh", "-c", script])
        return subprocess.run(argv, capture_output=True, text=True, timeout=timeout, cwd="/", check=False)

    def processes(self) -> dict[int, str]:
        """Everything that runs in this account's name or its subordinate ids: pid -> command line.

        Zombies are left out: they wait for somebody else's ``wait``.
        """
        theirs = subordinate(self.name)
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                uid = entry.stat().st_uid
                stat = (entry / "stat").read_text(errors="replace")
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            except OSError:
                continue
            ours = uid == self.uid or uid in theirs
            if ours and stat.rpartition(")")[2].split()[0] != "Z":
                found[int(entry.name)] = words or stat.partition("(")[2].rpartition(")")[0]
        return found

    def leftovers(self) -> dict[str, Any]:
        """What a cluster of this account could have left on the machine; all empty when there is nothing."""
        mounts = Path("/proc/self/mountinfo").read_text()
        sockets = Path("/proc/net/unix").read_text()
        links = subprocess.run(["ip", "-j", "link"], capture_output=True, text=True, check=True).stdout
        inside = sorted(str(path) for path in self.base.rglob("*")) if self.base.exists() else []
        return {
            "processes": self.processes(),
            "mounts": [line for line in mounts.splitlines() if str(self.base) in line],
            "sockets": [line for line in sockets.splitlines() if str(self.base) in line],
            "interfaces": [
                link["ifname"]
                for link in json.loads(links)
                if link["ifname"].startswith(("wg", "tap", "cni", "flannel"))
            ],
            "files": inside,
            "states": sorted(path.name for path in self.state.iterdir()) if self.state.exists() else [],
        }


@dataclass(frozen=True)
class Cluster:
    """A cluster that is up."""

    account: Account
    name: str

    def usernetes(self, verb: str, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """``usernetes VERB --cluster NAME WORDS``."""
        return self.account.usernetes(*verb.split(), "--cluster", self.name, *words, **options)

    def kubectl(self, *words: str, stdin: str = "", timeout: float = 120) -> str:
        """What kubectl prints; fails the test with its words when it fails."""
        done = self.usernetes("kubectl", *words, stdin=stdin, timeout=timeout)
        assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def apply(self, *objects: Mapping[str, Any]) -> None:
        """``kubectl apply -f -``."""
        items = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", "-f", "-", stdin=json.dumps(items))

    def get(self, *words: str) -> Any:
        """``kubectl get WORDS -o json``, parsed."""
        return json.loads(self.kubectl("get", *words, "-o", "json"))

    def status(self) -> dict[str, Any]:
        """``usernetes status --json``; its exit code says only whether all is well."""
        done = self.usernetes("status", "--json")
        assert done.returncode in (0, 1), done.stderr
        return dict(json.loads(done.stdout))

    def record(self) -> dict[str, Any]:
        """cluster.json."""
        return dict(json.loads((self.account.state / self.name / "cluster.json").read_text()))

    def node_folder(self, index: int = 0) -> Path:
        """The folder of a node on this machine."""
        return Path(self.record()["members"][index]["directory"])

    def component(self, name: str, node: int = 0) -> dict[str, Any]:
        """What a node's own status file says of one of its components."""
        document = json.loads((self.node_folder(node) / "status.json").read_text())
        return next(dict(item) for item in document["components"] if item["name"] == name)

    def pids(self, marker: str, node: int | None = 0) -> list[int]:
        """Processes of this cluster (of one of its nodes) whose command line has `marker`, as seen from here."""
        folders = (
            [self.node_folder(node)] if node is not None else [Path(n["directory"]) for n in self.record()["members"]]
        )
        found = []
        for folder in folders:
            namespace = pid_namespace(folder)
            for pid, words in self.account.processes().items():
                if marker in words and (str(folder) in words or (namespace and namespace == namespace_of(pid))):
                    found.append(pid)
        return sorted(found)


def namespace_of(pid: int) -> str:
    """The PID namespace of a process, "" when it is gone."""
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except OSError:
        return ""


def pid_namespace(folder: Path) -> str:
    """The PID namespace of the node of a folder, "" when there is none."""
    try:
        return namespace_of(int((folder / "rk" / "child_pid").read_text()))
    except (OSError, ValueError):
        return ""


def host_address() -> str:
    """An address of this machine that is not its loopback: pods and other hosts can reach it."""
    done = subprocess.run(["ip", "-j", "-4", "addr"], capture_output=True, text=True, check=True)
    for link in json.loads(done.stdout):
        for address in link["addr_info"]:
            if address["scope"] == "global" and not link["ifname"].startswith(("docker", "br-")):
                return str(address["local"])
    pytest.skip("this machine has no address but its loopback")


def wait_for(holds: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """What `holds` returns, as soon as it is true; fails the test naming `what` did not come."""
    ends = time.monotonic() + seconds
    while True:
        found = holds()
        if found:
            return found
        assert time.monotonic() < ends, f"not within {seconds:g} s: {what}"
        time.sleep(0.1)


def python_for(uid: int) -> str:
    """A Python that this user may run and that has the dependencies; without one the tests are skipped."""
    for python in filter(None, [os.environ.get("USERNETES_TEST_PYTHON", ""), sys.executable, "/usr/bin/python3"]):
        become = ["setpriv", f"--reuid={uid}", f"--regid={group_of(uid)}", "--clear-groups"]
        argv = [*become, "sh", "-c", 'exec "$@"', "sh"]
        tried = subprocess.run(
            [*argv, python, "-c", "import cryptography, invoke, yaml"], capture_output=True, check=False, cwd="/"
        )
        if tried.returncode == 0:
            return python
    pytest.skip("no Python with the dependencies that the test user may run (set USERNETES_TEST_PYTHON)")


def make_account(name: str) -> Account:
    """An account with a fresh home; skips the test where it cannot be made."""
    if os.geteuid() != 0:
        pytest.skip("making test users needs root")
    try:
        named = os.environ.get("USERNETES_TEST_BUNDLE")
        bundle = locate(Path(named) if named else None, bundle_cache()).root
    except UsernetesError as error:
        pytest.skip(f"no bundle ({error}); set USERNETES_TEST_BUNDLE")
    uid = make_user(name)
    for left in Path("/var/tmp").glob(f"{name}-*"):  # of a run that was killed
        end_account(Account(name, uid, left, "", bundle))
    home = Path(tempfile.mkdtemp(prefix=f"{name}-", dir="/var/tmp"))
    os.chown(home, uid, group_of(uid))
    home.chmod(0o700)
    cache = home / ".cache" / "usernetes" / "bundles"
    cache.mkdir(parents=True)
    (cache / "current").symlink_to(bundle)
    for path in (home / ".cache", home / ".cache" / "usernetes", cache):
        os.chown(path, uid, group_of(uid))
    return Account(name, uid, home, python_for(uid), bundle)


def end_account(account: Account) -> None:
    """End whatever runs in the account's name, process by process, and remove its home."""

    def ended() -> bool:
        pids = account.processes()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not pids

    wait_for(ended, f"the end of {account.name}'s processes", 20)
    shutil.rmtree(account.home, ignore_errors=True)
    shutil.rmtree(account.base, ignore_errors=True)


def users() -> list[str]:
    """The names of the two accounts; USERNETES_TEST_USERS="a b" keeps two runs on one machine apart."""
    return os.environ.get("USERNETES_TEST_USERS", "hpcct hpcct2").split()


@pytest.fixture(scope="session")
def account() -> Iterator[Account]:
    """The user that most clusters belong to."""
    made = make_account(users()[0])
    yield made
    end_account(made)


@pytest.fixture(scope="session")
def stranger() -> Iterator[Account]:
    """Another user of the same machine."""
    made = make_account(users()[1])
    yield made
    end_account(made)


def bring_up(account: Account, name: str, *words: str) -> Cluster:
    """``usernetes up``; fails the test with its words when it fails."""
    done = account.usernetes("up", "--cluster", name, *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(account.state / name / "kubeconfig")
    return Cluster(account, name)


@pytest.fixture(scope="session")
def registry() -> Iterator[Registry]:
    """A registry on this machine, at an address that is not its loopback."""
    with serve_registry(host_address()) as made:
        yield made


@pytest.fixture(scope="session")
def cluster(account: Account, registry: Registry) -> Cluster:
    """Two nodes with everything switched on; the tests that use it leave it as it was.

    `test_cluster_restarts` ends it at its end: files that use it have names that come before that one's.
    """
    shared = account.home / "shared"
    shared.mkdir()
    os.chown(shared, account.uid, group_of(account.uid))
    spec = {
        "apiVersion": "usernetes.dev/v1alpha1",
        "kind": "Cluster",
        "nodes": 2,
        "metrics": True,
        "waitSeconds": UP_SECONDS - 20,
        "storage": {"shared": str(shared)},
        "registries": [{"name": "registry.test", "url": registry.url}],
    }
    file = account.home / "cluster.yaml"
    file.write_text(json.dumps(spec))
    file.chmod(0o644)
    return bring_up(account, "shared", "--file", str(file))
