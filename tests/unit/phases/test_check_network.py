"""The probe that proves the network: its ring, run with the bundle's own busybox and CoreDNS, and how it fails."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cluster.made_up import member
from tests.unit.made_up import FakeApi
from tests.unit.phases.made_up import make
from usernetes_deploy.api import ApiError
from usernetes_deploy.bundle import Bundle
from usernetes_deploy.changes.phase import run
from usernetes_deploy.cluster.membership import Membership
from usernetes_deploy.commands.common import located
from usernetes_deploy.errors import BundleError, TimedOut
from usernetes_deploy.phases import check_network
from usernetes_deploy.phases.check_network import Probe
from usernetes_deploy.phases.connect_hosts import ConnectHosts

DNS = "10.96.0.10"
DOMAIN = "cluster.local"


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """The bundle that clusters on this machine are made of."""
    try:
        return located(None)
    except BundleError as error:
        pytest.skip(f"needs the real busybox and CoreDNS: {error}")


@pytest.fixture(scope="module")
def pods_root(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root folder of a probe pod: the image's files, and the cluster's resolver."""
    folder = tmp_path_factory.mktemp("pods")
    _, image = bundle.image("busybox")
    root, layout = folder / "root", folder / "image"
    for target in (root, layout):
        target.mkdir()
    subprocess.run(["tar", "-xf", image, "-C", layout], check=True)
    for blob in filter(tarfile.is_tarfile, (layout / "blobs" / "sha256").iterdir()):
        subprocess.run(["tar", "-xf", blob, "-C", root, "--no-same-owner"], check=True)
    for name in ("dev", "tmp", "etc"):
        (root / name).mkdir(exist_ok=True)
    (root / "etc" / "resolv.conf").write_text(f"nameserver {DNS}\n")
    return root


def ring_of_pods(bundle: Bundle, root: Path, folder: Path, members: int) -> str:
    """A shell script that runs the probe pods of a cluster in one network, and asks for each as the kubelet does."""
    ring = check_network.neighbours([f"node{index}" for index in range(members)])
    addresses = {node: f"10.244.{index}.2" for index, node in enumerate(ring)}
    hosts = "\n".join(f"{addresses[node]} {check_network.dns_name(node, DOMAIN)}" for node in ring)
    (folder / "hosts").write_text(hosts + "\n")
    (folder / "Corefile").write_text(f".:53 {{\n bind {DNS}\n hosts {folder}/hosts\n}}\n")
    lines = ["set -e", "ip link set lo up", f"ip address add {DNS}/32 dev lo", f"mount --rbind /dev {root}/dev"]
    lines += [f"ip address add {address}/32 dev lo" for address in addresses.values()]
    lines.append(f"{bundle.root}/bin/coredns -conf={folder}/Corefile -quiet >&2 &")
    for node, neighbour in ring.items():
        pod = check_network.probe_pod(node, neighbour, members, DOMAIN, "busybox")
        container = pod["spec"]["containers"][0]
        values = {item["name"]: item.get("value", addresses[node]) for item in container["env"]}
        (folder / f"{node}.sh").write_text(container["command"][2])
        told = " ".join(f"{name}={value}" for name, value in values.items())
        lines.append(
            f"{told} unshare -m sh -c 'mount -t tmpfs tmpfs {root}/tmp; cp {folder}/{node}.sh {root}/tmp/run;"
            f" exec chroot {root} /bin/sh /tmp/run' &"
        )
    path = container["readinessProbe"]["httpGet"]["path"]
    lines += [
        "ready() {",
        f"  until {root}/bin/busybox wget -q -O - http://$1:{check_network.PORT}{path} 2>/dev/null; do",
        f"    {root}/bin/busybox usleep 50000",
        "  done",
        "}",
        *(f"ready {address}" for address in addresses.values()),
    ]
    return "\n".join(lines)


@pytest.mark.parametrize("members", [1, 3, 40, 64])
def test_every_pod_finds_its_neighbour_in_clusters_of_any_size(
    bundle: Bundle, pods_root: Path, tmp_path: Path, members: int
) -> None:
    alone = ["unshare", "-Urnm", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if not shutil.which("unshare") or subprocess.run([*alone, "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs user namespaces")
    script = ring_of_pods(bundle, pods_root, tmp_path, members)
    done = subprocess.run([*alone, "sh", "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "ok" * members, done.stderr


def probe_objects(node: str, **status: Any) -> dict[str, Any]:
    """A probe pod as the API has it."""
    return {**check_network.probe_pod(node, "node1", 2, DOMAIN, "busybox"), "status": status}


class ProbeApi(FakeApi):
    """Creates pods, and deletes them."""

    def __init__(self, *pods: dict[str, Any]) -> None:
        super().__init__({})
        self.pods = {pod["spec"]["nodeName"]: pod for pod in pods}
        self.refusals: list[ApiError] = []

    def get(self, path: str) -> Any:
        assert path == check_network.SELECTED
        return {"items": list(self.pods.values())}

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Take a pod."""
        assert (method, path) == ("POST", check_network.PODS)
        if self.refusals:
            raise self.refusals.pop()
        self.pods[body["spec"]["nodeName"]] = {**body, "status": {"phase": "Pending"}}

    def delete(self, manifest: dict[str, Any], grace: int | None = None) -> None:
        """Forget a pod."""
        assert grace == 0
        name = manifest["metadata"]["name"]
        self.pods = {node: pod for node, pod in self.pods.items() if pod["metadata"]["name"] != name}


@pytest.fixture
def probe(tmp_path: Path) -> Probe:
    """The probe of a cluster of three simulated nodes."""
    up = make(tmp_path)
    run([ConnectHosts()], up, up.report)
    up.record.members = Membership(member(index) for index in range(3))
    return Probe(up)


def test_a_node_gets_its_pod_when_the_api_knows_it_and_only_once(probe: Probe) -> None:
    api: Any = ProbeApi()
    probe.make(api, ["node2", "another"])
    assert list(api.pods) == ["node2"]
    api.pods = {}
    probe.make(api, ["node2", "node0"])
    assert list(api.pods) == ["node0"]
    assert [manifest["kind"] for manifest in api.applied] == ["Service"]


def test_a_namespace_without_a_service_account_is_waited_for(probe: Probe) -> None:
    api: Any = ProbeApi()
    api.refusals = [ApiError('error looking up service account: serviceaccount "default" not found', 403)]
    probe.make(api, ["node0"])
    assert api.pods == {}
    probe.make(api, ["node0"])
    assert list(api.pods) == ["node0"]
    api.refusals = [ApiError("pods is forbidden: exceeded quota", 403)]
    with pytest.raises(ApiError, match="quota"):
        probe.make(api, ["node1"])


def test_pods_of_another_ring_are_replaced(probe: Probe) -> None:
    api: Any = ProbeApi(probe_objects("node0", phase="Running"), probe_objects("node2"), probe_objects("node9"))
    with pytest.raises(TimedOut):
        probe.wait(api, 0)
    asks = {node: pod["metadata"]["annotations"]["usernetes.dev/neighbour"] for node, pod in api.pods.items()}
    assert asks == {"node0": "node1", "node1": "node2", "node2": "node0"}
    assert api.pods["node0"]["status"]["phase"] == "Running"


def test_a_failure_names_the_pods_that_did_not_get_through(probe: Probe) -> None:
    ready = [{"type": "Ready", "status": "True"}]
    api: Any = ProbeApi(probe_objects("node0", phase="Running", conditions=ready))
    with pytest.raises(TimedOut) as caught:
        probe.wait(api, 0)
    assert str(caught.value).splitlines() == [
        "after 0 s the network is not proven:",
        "  node1: no pod was made",
        "  node2: no pod was made",
    ]


def test_a_pod_that_does_not_start_is_told_with_the_runtimes_words() -> None:
    waiting = {"state": {"waiting": {"reason": "ErrImageNeverPull", "message": "image is not there"}}}
    pod = probe_objects("node1", phase="Pending", containerStatuses=[waiting])
    assert check_network.describe(pod) == "  node1: Pending image is not there"
    assert not check_network.is_ready(pod)
    ready = probe_objects("n", conditions=[{"type": "Ready", "status": "True"}])
    assert check_network.describe(ready) == "  n: Ready"


def test_a_pod_that_runs_but_gets_no_answer_says_whose() -> None:
    pod = probe_objects("node0", phase="Running")
    assert check_network.describe(pod) == "  node0: Running no address of node1 by DNS, or no page from it"
