"""Policies on a real cluster: each of the ten takes what it allows and refuses what it does not, also of a grant."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.clusters import BUSYBOX, UP_SECONDS, Account, Cluster
from usernetes_deploy.access.policies.library import LIBRARY
from usernetes_deploy.access.policies.site import SITE
from usernetes_deploy.waiting import until

pytestmark = pytest.mark.cluster
NAME = "bound"
SPACE = "granted"
SITES: list[Any] = [
    "no-privileged",
    {"no-host-network": {"except": {"namespaces": ["mpi"]}}},
    {"registries": {"allowed": ["registry.example.org:5000", "docker.io/library/nginx"]}},
    {"longest-grant": {"time": "2h"}},
    {"largest-size": {"nodes": 1}},
]
SPECS: list[Any] = [
    {"host-paths": {"allowed": ["/scratch"]}},
    {"registries": {"allowed": ["docker.io", "registry.example.org:5000"]}},  # the site's is narrower, and holds
    {"capabilities": {"allowed": ["NET_BIND_SERVICE"]}},
    {"devices": {"allowed": ["fuse"]}},
    {"exposed-ports": {"allowed": [8080, "9000-9010"]}},
    {"source-ranges": {"allowed": ["10.0.0.0/8"], "except": {"namespaces": ["mpi"]}}},
]
ENTER = 'mount --bind "$0" /etc/usernetes && exec "$@"'  # the site's folder, seen by this command alone


@dataclass(frozen=True)
class Site(Account):
    """An account of a host whose site has policies."""

    policies: Path = Path()

    def become(self, argv: Sequence[str], env: Any = None) -> list[str]:
        """Run with the site's folder in its place."""
        inside = ["unshare", "--mount", "--propagation=private", "sh", "-c", ENTER, str(self.policies)]
        return [*inside, *super().become(argv, env)]


@pytest.fixture(name="site", scope="module")
def _site(account: Account, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    folder.chmod(0o755)
    write(folder / SITE.name, SITES)
    made = not SITE.parent.exists()
    SITE.parent.mkdir(exist_ok=True)
    yield Site(**vars(account), policies=folder)
    if made:
        SITE.parent.rmdir()


def write(file: Path, items: Sequence[Any], mode: int = 0o644) -> None:
    """A file of policies."""
    file.write_text(json.dumps({"apiVersion": "usernetes.dev/v1alpha1", "kind": "Policies", "policies": items}))
    file.chmod(mode)


@pytest.fixture(name="bound", scope="module")
def _bound(site: Site) -> Iterator[Cluster]:
    spec = site.home / "bound.yaml"
    spec.write_text(json.dumps({"nodes": 1, "waitSeconds": UP_SECONDS - 20, "policies": SPECS}))
    spec.chmod(0o644)
    done = site.usernetes("up", "--cluster", NAME, "--file", str(spec))
    assert done.returncode == 0, done.stderr
    yield Cluster(site, NAME)
    assert site.usernetes("down", "--cluster", NAME).returncode == 0


@pytest.fixture(name="key", scope="module")
def _key(bound: Cluster) -> Path:
    """The kubeconfig of a grant whose namespace has no Pod Security: what is refused there is refused by policies."""
    words = ["holder", "--role", "admin", "--namespace", SPACE, "--pod-security", "privileged"]
    done = bound.usernetes("grant", *words)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def created(bound: Cluster, item: dict[str, Any], key: Path | None = None) -> subprocess.CompletedProcess[str]:
    """``kubectl create`` as a dry run of the server's; with `key` as the holder of a grant, in its namespace."""
    metadata = {**item["metadata"], **({"namespace": SPACE} if key else {})}
    text = json.dumps({**item, "metadata": metadata})
    kubeconfig = key or bound.account.state / NAME / "kubeconfig"
    words = [f"--kubeconfig={kubeconfig}", "create", "--dry-run=server", "--filename=-"]
    argv = bound.account.become([str(bound.account.bundle / "bin" / "kubectl"), *words])
    return subprocess.run(argv, input=text, capture_output=True, text=True, timeout=60, cwd="/", check=False)


def pod(container: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """A pod that passes all policies, and what is said of it."""
    main = {"name": "main", "image": "nginx", **(container or {})}
    metadata = {"name": "tried", "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {**spec, "containers": [main]}}


def service(port: int = 8080, **spec: Any) -> dict[str, Any]:
    """A Service that passes all policies, and what is said of it."""
    usual = {
        "type": "LoadBalancer",
        "allocateLoadBalancerNodePorts": False,
        "loadBalancerSourceRanges": ["10.1.0.0/16"],
        "ports": [{"port": port}],
    }
    metadata = {"name": "tried", "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {**usual, **spec}}


def volume(path: str) -> dict[str, Any]:
    """A volume of the host."""
    return {"name": "host", "hostPath": {"path": path}}


def caps(*names: str) -> dict[str, Any]:
    """A container that adds capabilities."""
    return {"securityContext": {"capabilities": {"add": list(names)}}}


def device(name: str) -> dict[str, Any]:
    """A container that asks for a device."""
    return {"resources": {"limits": {f"usernetes.dev/{name}": 1}}}


TRIED: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("no-host-network", pod(), pod(hostNetwork=True), "no pod may be on the host's network"),
    (
        "no-host-network",
        pod(),
        pod(hostNetwork=True, runtimeClassName="native"),
        "no pod may ",
    ),
    ("host-paths", pod(volumes=[volume("/scratch/a")]), pod(volumes=[volume("/scratchy")]), "may be below /scratch"),
    ("host-paths", pod(volumes=[volume("/scratch")]), pod(volumes=[volume("/")]), "may be below /scratch"),
    ("registries", pod({"image": "nginx:1"}), pod({"image": "nginxx"}), "images may come from registry.example.org"),
    (
        "registries",
        pod({"image": "registry.example.org:5000/a"}),
        pod({"image": "registry.example.org:50001/a"}),
        "images may come from",
    ),
    ("registries", pod(), pod({"image": "other/nginx"}), "of the site's file: images may come from"),  # the spec has it
    ("registries", pod(), pod(initContainers=[{"name": "a", "image": "evil.org/nginx"}]), "images may come from"),
    (
        "no-privileged",
        pod({"securityContext": {"privileged": False}}),
        pod({"securityContext": {"privileged": True}}),
        "may be privileged",
    ),
    ("no-privileged", pod(hostPID=False), pod(hostPID=True), "hostPID"),
    ("capabilities", pod(caps("NET_BIND_SERVICE")), pod(caps("NET_BIND_SERVICE", "SYS_ADMIN")), "NET_BIND_SERVICE"),
    ("devices", pod(device("fuse")), pod(device("gpu")), "may ask for the devices fuse"),
    ("exposed-ports", service(9001), service(9011), "8080, 9000-9010 may be published"),
    ("exposed-ports", service(), service(allocateLoadBalancerNodePorts=True), "not this node port"),
    ("source-ranges", service(), service(loadBalancerSourceRanges=["0.0.0.0/0"]), "within 10.0.0.0/8"),
    ("source-ranges", service(), service(loadBalancerSourceRanges=[]), "within 10.0.0.0/8"),
]


def test_every_policy_is_tried() -> None:
    assert {name for name, *_ in TRIED} | {"longest-grant", "largest-size"} == set(LIBRARY)


@pytest.mark.parametrize(("name", "taken", "refused", "said"), TRIED)
def test_the_api_takes_what_is_allowed_and_refuses_the_rest_of_everybody(
    bound: Cluster, key: Path, name: str, taken: dict[str, Any], refused: dict[str, Any], said: str
) -> None:
    for holder in (None, key):
        done = created(bound, taken, holder)
        assert done.returncode == 0, (holder, done.stderr)
        done = created(bound, refused, holder)
        assert done.returncode == 1, (holder, done.stdout)
        assert f"denied request: policy {name} of the " in done.stderr
        assert said in done.stderr


def test_a_namespace_that_is_excepted_is_bound_by_the_other_policies_alone(bound: Cluster) -> None:
    bound.kubectl("create", "namespace", "mpi")
    item = pod(hostNetwork=True)
    item["metadata"]["namespace"] = "mpi"
    bound.kubectl("create", "serviceaccount", "any", "--namespace=mpi")
    done = created(bound, item)
    assert done.returncode == 0, done.stderr
    for port, code in ((8080, 0), (8081, 1)):
        item = pod({"ports": [{"containerPort": 80, "hostPort": port}]})
        item["metadata"]["namespace"] = "mpi"
        done = created(bound, item)
        assert done.returncode == code, done.stderr
    assert "policy exposed-ports of the spec: 8080, 9000-9010 may be published, and not this hostPort" in done.stderr


def test_what_the_administrator_alone_can_make_is_bound_too(bound: Cluster) -> None:
    other = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "a"}, "handler": "native"}
    assert "no RuntimeClass but native itself" in created(bound, other).stderr
    spec = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/home"}}
    home = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "a"}, "spec": spec}
    assert "volumes of the host may be below /scratch" in created(bound, home).stderr


def test_a_grant_ends_when_the_policy_says_by_the_driver_and_by_the_api(bound: Cluster, key: Path) -> None:
    done = bound.usernetes("grant", "long", "--for", "3h")
    assert (done.returncode, done.stdout) == (2, "")
    assert "policy longest-grant of the site's file: at most 2h, got 3h" in done.stderr
    words = ["create", "token", "holder", "--namespace=usernetes-grants"]
    assert bound.kubectl(*words, "--duration=1h")
    done = bound.usernetes("kubectl", *words, "--duration=3h")
    assert "a grant's token may last 2h" in done.stderr
    assert key.exists()


def test_a_grants_holder_cannot_take_a_policy_away(bound: Cluster, key: Path) -> None:
    for kind in ("validatingadmissionpolicy", "validatingadmissionpolicybinding"):
        argv = [str(bound.account.bundle / "bin" / "kubectl"), f"--kubeconfig={key}", "delete", kind, "--all"]
        done = subprocess.run(
            bound.account.become(argv), capture_output=True, text=True, timeout=60, cwd="/", check=False
        )
        assert "orbidden" in done.stderr
    assert bound.kubectl("get", "validatingadmissionpolicy", "usernetes-site-registries", "--output=name")


def test_no_cluster_is_larger_than_the_site_says(bound: Cluster) -> None:
    done = bound.account.usernetes("up", "--cluster", "larger", "--nodes", "2", "--set", "policies=[]")
    assert done.returncode == 2
    assert "policy largest-size of the site's file: 1 nodes are allowed, and these are 2" in done.stderr
    assert not (bound.account.state / "larger").exists()
    done = bound.usernetes("add", "--nodes", "1")
    assert done.returncode == 2
    assert "1 nodes are allowed, and these are 2" in done.stderr
    assert len(bound.record()["members"]) == 1


def test_what_may_not_be_published_is_refused_before_it_is_changed(bound: Cluster) -> None:
    bound.kubectl("create", "service", "clusterip", "web", "--tcp=80:80")
    for words, said in ((["web"], "and not 80"), (["web", "--node-port"], "need type LoadBalancer")):
        done = bound.usernetes("expose", *words)
        assert done.returncode == 2
        assert said in done.stderr
    assert bound.get("service", "web")["spec"]["type"] == "ClusterIP"
    bound.kubectl("delete", "service", "web")


def test_the_clusters_own_parts_go_on(bound: Cluster) -> None:
    """Volumes are made by a pod of kube-system with a volume of the host; its PersistentVolume is outside /scratch."""
    image = next(image for image in bound.status()["nodes"][0]["images"] if image.startswith(BUSYBOX))
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    item = pod({"image": image, "command": ["sleep", "600"], "volumeMounts": [{"name": "a", "mountPath": "/a"}]})
    item["spec"]["volumes"] = [{"name": "a", "persistentVolumeClaim": {"claimName": "tried"}}]
    item["spec"]["terminationGracePeriodSeconds"] = 0
    bound.apply(
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "tried"}, "spec": claim}, item
    )
    bound.kubectl("wait", "--for=condition=Ready", "pod/tried", "--timeout=90s")
    bound.kubectl("label", "pod", "tried", "changed=yes")
    done = bound.usernetes("policy test", "--running")
    assert (done.returncode, done.stderr) == (0, "")
    assert "no object of the cluster would be refused" in done.stdout
    bound.kubectl("delete", "pod/tried", "pvc/tried")


def test_the_pods_of_a_deployment_are_refused_with_the_reason_in_an_event(bound: Cluster) -> None:
    bound.kubectl("create", "deployment", "far", "--image=other/nginx")
    until(
        lambda: "policy registries of the site's file" in bound.kubectl("get", "events"),
        60,
        "an event says why",
    )
    bound.kubectl("delete", "deployment", "far")


def test_what_the_api_lacks_is_said_and_put_back_and_what_is_over_goes(bound: Cluster, site: Site) -> None:
    name = "usernetes-site-registries"
    bound.kubectl("delete", "validatingadmissionpolicybinding", name)
    done = bound.usernetes("policy list")
    assert f"not in the API: {name}\n  fix: usernetes policy apply --cluster {NAME}" in done.stderr
    write(site.policies / SITE.name, [*SITES[1:], {"devices": {"allowed": ["fuse"]}}])
    try:
        done = bound.usernetes("policy apply")
        assert "taken away: usernetes-site-no-privileged" in done.stdout
        there = bound.kubectl("get", "validatingadmissionpolicybindings", "--output=name")
        assert name in there
        assert "usernetes-site-devices" in there
        assert "usernetes-site-no-privileged" not in there
    finally:
        write(site.policies / SITE.name, SITES)
    assert bound.usernetes("policy apply").returncode == 0
    assert bound.usernetes("policy list").stderr == ""


def test_tests_say_what_went_as_it_should_and_what_did_not(bound: Cluster) -> None:
    file = bound.account.home / "tests.yaml"
    taken, refused = [item[1] for item in TRIED], [item[2] for item in TRIED]
    file.write_text(json.dumps({"taken": taken, "refused": refused}))
    file.chmod(0o644)
    done = bound.usernetes("policy test", "--objects", str(file), "--json")
    assert done.returncode == 0, done.stderr
    outcomes = json.loads(done.stdout)["outcomes"]
    assert len(outcomes) == 2 * len(TRIED)
    assert all(one["right"] for one in outcomes)
    file.write_text(json.dumps({"taken": refused[:1], "refused": taken[:1]}))
    done = bound.usernetes("policy test", "--objects", str(file))
    assert done.returncode == 1
    assert done.stdout.count("WRONG") == 2
    assert "usernetes-trial" not in bound.kubectl(
        "get", "validatingadmissionpolicies,validatingadmissionpolicybindings"
    )


def test_policies_that_are_not_in_force_are_tried_on_what_runs(bound: Cluster) -> None:
    bound.apply(pod({"image": "registry.example.org:5000/there"}))
    file = bound.account.home / "new.yaml"
    write(file, [{"registries": {"allowed": ["docker.io"]}}])
    done = bound.usernetes("policy test", "--file", str(file), "--running")
    assert done.returncode == 1
    line = next(line for line in done.stdout.splitlines() if "pod default/tried" in line)
    assert "WRONG" in line
    assert "policy registries of the file: images may come from docker.io" in line
    bound.kubectl("delete", "pod", "tried", "--grace-period=0", "--force")


@pytest.mark.parametrize(
    ("items", "mode", "code", "said"),
    [
        (SITES, 0o666, 1, "could have been written by others than root"),
        (SITES, 0o600, 1, "Permission denied"),
        (["no-such"], 0o644, 2, "there is no such policy"),
    ],
)
def test_a_sites_file_that_cannot_be_relied_on_stops_every_change(
    bound: Cluster, site: Site, items: Sequence[Any], mode: int, code: int, said: str
) -> None:
    write(site.policies / SITE.name, items, mode)
    try:
        for words in (["up", "--cluster", "other"], ["grant", "a", "--cluster", NAME], ["policy", "list"]):
            done = site.usernetes(*words)
            assert (done.returncode, done.stdout) == (code, ""), done
            assert said in done.stderr
        assert not (site.state / "other").exists()
    finally:
        write(site.policies / SITE.name, SITES)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["test"], "there is nothing to try"),
        (["test", "--objects", "/no/such"], "No such file"),
        (["check", "/no/such"], "No such file"),
        (["check", "{wrong}"], "there is no such policy"),
        (["check", "{large}"], "1 nodes are allowed, and these are 9"),
    ],
)
def test_bad_input_is_refused(site: Site, words: Sequence[str], said: str) -> None:
    wrong, large = site.home / "wrong.yaml", site.home / "large.yaml"
    write(wrong, ["nothing"])
    large.write_text("nodes: 9")
    large.chmod(0o644)
    done = site.usernetes("policy", *(word.format(wrong=wrong, large=large) for word in words))
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
