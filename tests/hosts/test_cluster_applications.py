"""Kubernetes works as people expect: what a user does in the first hour, on one cluster of two nodes."""

from __future__ import annotations

import base64
import json
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.clusters import Cluster, wait_for
from tests.hosts.registry import PASSWORD, USER, Registry, docker_archive, oci_archive

pytestmark = pytest.mark.cluster


def pod_spec(cluster: Cluster, script: str, **fields: Any) -> dict[str, Any]:
    """A pod's spec: a shell script in busybox."""
    container = fields.pop("container", {})
    image = next(name for name in cluster.status()["nodes"][0]["images"] if "/busybox:" in name)
    return {
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "main", "image": image, "command": ["/bin/sh", "-c", script], **container}],
        **fields,
    }


def pod(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    """A Pod."""
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec}


@pytest.fixture(scope="module", autouse=True)
def tidy(cluster: Cluster) -> Iterator[None]:
    yield
    cluster.kubectl(
        "delete", "deployment,statefulset,job,pod,service,configmap", "--all", "--wait=false", "-n", "default"
    )
    cluster.kubectl("delete", "pvc", "--all", "--wait=false")


@pytest.fixture(scope="module")
def busybox() -> Path:
    return Path("/bin/busybox")


def finished(cluster: Cluster, name: str, seconds: float = 60) -> str:
    """The log of a pod that ran to its end; fails with what the API says when it failed."""

    def phase() -> str:
        return str(cluster.get("pod", name)["status"].get("phase"))

    wait_for(lambda: phase() in ("Succeeded", "Failed"), f"pod {name} ends", seconds)
    log = cluster.kubectl("logs", name)
    assert phase() == "Succeeded", f"{log}\n{json.dumps(cluster.get('pod', name)['status'], indent=1)}"
    return log


def test_a_deployment_behind_a_service_answers_by_cluster_ip_and_by_name(cluster: Cluster) -> None:
    server = pod_spec(
        cluster,
        "mkdir /tmp/w; hostname > /tmp/w/index.html; exec httpd -f -p 8080 -h /tmp/w",
        container={
            "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
            "livenessProbe": {"tcpSocket": {"port": 8080}},
        },
        topologySpreadConstraints=[
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": {"app": "web"}},
            }
        ],
    )
    cluster.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web"},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": server},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
        },
    )
    cluster.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    pods = cluster.get("pods", "-l", "app=web")["items"]
    assert {item["spec"]["nodeName"] for item in pods} == {"node0", "node1"}
    names = {item["metadata"]["name"] for item in pods}
    address = cluster.get("service", "web")["spec"]["clusterIP"]
    for node in ("node0", "node1"):
        script = (
            f"for u in {address} web web.default web.default.svc.cluster.local; do"
            " for i in 1 2 3 4 5 6 7 8; do timeout 5 wget -q -O - http://$u/ || exit 1; done; done"
        )
        cluster.apply(pod(f"visitor-{node}", pod_spec(cluster, script, nodeName=node, restartPolicy="Never")))
        seen = finished(cluster, f"visitor-{node}").split()
        assert len(seen) == 32
        assert set(seen) == names  # both servers, each on another node


def test_a_job_runs_to_its_end_and_sees_its_configuration_and_its_secret(cluster: Cluster) -> None:
    script = "echo $WORD; cat /etc/conf/file; cat /etc/hidden/password"
    spec = pod_spec(
        cluster,
        script,
        restartPolicy="Never",
        container={
            "env": [{"name": "WORD", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "word"}}}],
            "volumeMounts": [
                {"name": "conf", "mountPath": "/etc/conf"},
                {"name": "hidden", "mountPath": "/etc/hidden"},
            ],
        },
        volumes=[
            {"name": "conf", "configMap": {"name": "conf"}},
            {"name": "hidden", "secret": {"secretName": "hidden"}},
        ],
    )
    cluster.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "conf"}, "data": {"word": "w1", "file": "f1\n"}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hidden"}, "stringData": {"password": "p1\n"}},
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "once"},
            "spec": {"completions": 2, "parallelism": 2, "template": {"spec": spec}},
        },
    )
    cluster.kubectl("wait", "--for=condition=complete", "job/once", "--timeout=60s")
    assert cluster.kubectl("logs", "job/once", "--all-pods=false").split() == ["w1", "f1", "p1"]


def test_the_volume_of_a_stateful_set_survives_its_pod(cluster: Cluster) -> None:
    script = "echo $(date +%s%N) >> /data/starts; exec sleep 3600"
    cluster.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": "keep"},
            "spec": {
                "serviceName": "keep",
                "selector": {"matchLabels": {"app": "keep"}},
                "template": {
                    "metadata": {"labels": {"app": "keep"}},
                    "spec": pod_spec(
                        cluster, script, container={"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
                    ),
                },
                "volumeClaimTemplates": [
                    {
                        "metadata": {"name": "data"},
                        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
                    }
                ],
            },
        }
    )
    cluster.kubectl("rollout", "status", "statefulset/keep", "--timeout=60s")
    first = cluster.kubectl("exec", "keep-0", "--", "cat", "/data/starts").split()
    assert len(first) == 1
    cluster.kubectl("delete", "pod", "keep-0")
    cluster.kubectl("rollout", "status", "statefulset/keep", "--timeout=60s")
    wait_for(lambda: cluster.get("pod", "keep-0")["status"].get("phase") == "Running", "keep-0 runs again")
    both = cluster.kubectl("exec", "keep-0", "--", "cat", "/data/starts").split()
    assert both[:1] == first
    assert len(both) == 2


def test_pods_on_different_nodes_share_a_volume_of_class_shared(cluster: Cluster) -> None:
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "all"},
            "spec": {
                "storageClassName": "shared",
                "accessModes": ["ReadWriteMany"],
                "resources": {"requests": {"storage": "1Mi"}},
            },
        },
        *(
            pod(
                f"sharer-{node}",
                pod_spec(
                    cluster,
                    f"touch /all/{node}; i=0; until [ -e /all/node0 -a -e /all/node1 ]; do"
                    " i=$((i + 1)); [ $i -lt 300 ] || exit 1; usleep 100000; done; ls /all",
                    nodeName=node,
                    restartPolicy="Never",
                    container={"volumeMounts": [{"name": "all", "mountPath": "/all"}]},
                    volumes=[{"name": "all", "persistentVolumeClaim": {"claimName": "all"}}],
                ),
            )
            for node in ("node0", "node1")
        ),
    )
    assert finished(cluster, "sharer-node0").split() == ["node0", "node1"]
    assert finished(cluster, "sharer-node1").split() == ["node0", "node1"]
    folder = (
        cluster.account.home / "shared" / f"usernetes-volumes-{cluster.account.uid}"
    )  # in the directory that the spec names
    assert list(folder.rglob("node1"))
    assert folder.stat().st_mode & 0o777 == 0o700  # the volumes themselves are open to every uid of a pod


def test_exec_logs_cp_and_port_forward_work(cluster: Cluster, tmp_path: Path) -> None:
    serve = "echo hello > /tmp/index.html; httpd -p 8080 -h /tmp"
    script = f"{serve}; i=0; while :; do i=$((i + 1)); echo line $i; sleep 1; done"
    cluster.apply(pod("tools", pod_spec(cluster, script, nodeName="node1")))
    cluster.kubectl("wait", "--for=condition=Ready", "pod/tools", "--timeout=60s")
    assert cluster.kubectl("exec", "-i", "tools", "--", "tr", "a-z", "A-Z", stdin="shout\n") == "SHOUT\n"
    failed = cluster.usernetes("kubectl", "exec", "tools", "--", "sh", "-c", "exit 7")
    assert failed.returncode == 7

    follow = subprocess.Popen(
        cluster.account.argv("kubectl", "--cluster", cluster.name, "logs", "-f", "tools"),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert follow.stdout
    lines = [follow.stdout.readline() for _ in range(3)]
    follow.terminate()
    follow.communicate()
    assert lines == ["line 1\n", "line 2\n", "line 3\n"]

    source = cluster.account.home / "sent"
    source.write_text("a file\n")
    source.chmod(0o644)
    cluster.kubectl("cp", str(source), "tools:/tmp/received")
    assert cluster.kubectl("exec", "tools", "--", "cat", "/tmp/received") == "a file\n"
    cluster.kubectl("cp", "tools:/tmp/received", str(cluster.account.home / "back"))
    assert (cluster.account.home / "back").read_text() == "a file\n"

    forward = subprocess.Popen(
        cluster.account.argv("kubectl", "--cluster", cluster.name, "port-forward", "pod/tools", ":8080"),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert forward.stdout
    port = int(forward.stdout.readline().partition("127.0.0.1:")[2].split()[0])
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20) as answer:
        assert answer.read() == b"hello\n"
    forward.terminate()
    forward.communicate()


def test_a_failing_liveness_probe_restarts_the_container(cluster: Cluster) -> None:
    probe = {"exec": {"command": ["test", "-e", "/tmp/well"]}, "periodSeconds": 1, "failureThreshold": 1}
    spec = pod_spec(
        cluster, "touch /tmp/well; sleep 3; rm /tmp/well; exec sleep 3600", container={"livenessProbe": probe}
    )
    cluster.apply(pod("ill", spec))

    def restarts() -> int:
        statuses = cluster.get("pod", "ill")["status"].get("containerStatuses", [{}])
        return int(statuses[0].get("restartCount", 0))

    wait_for(lambda: restarts() > 0, "the container was restarted", 60)


@pytest.mark.parametrize("write", [oci_archive, docker_archive], ids=["oci", "docker"])
def test_images_are_loaded_from_archives_on_all_nodes(cluster: Cluster, busybox: Path, write: Any) -> None:
    name = f"loaded.test/{write.__name__.replace('_', '-')}:1"
    archive = write(cluster.account.home / "image.tar", name, busybox)
    archive.chmod(0o644)
    done = cluster.usernetes("images load", str(archive))
    assert done.returncode == 0, done.stderr
    listed = json.loads(cluster.usernetes("images list", "--json").stdout)
    assert {"image": name, "nodes": ["node0", "node1"]} in listed
    for node in ("node0", "node1"):
        spec = {
            "nodeName": node,
            "restartPolicy": "Never",
            "containers": [{"name": "main", "image": name, "imagePullPolicy": "Never"}],
        }
        cluster.apply(pod(f"loaded-{write.__name__[:3]}-{node}", spec))
        assert finished(cluster, f"loaded-{write.__name__[:3]}-{node}") == f"this is {name}\n"


def test_images_are_pulled_from_a_registry_named_in_the_spec(
    cluster: Cluster, registry: Registry, busybox: Path
) -> None:
    registry.push("open/tool", busybox)
    spec = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "registry.test/open/tool:1"}]}
    cluster.apply(pod("pulled", spec))
    assert finished(cluster, "pulled") == "this is open/tool\n"


def test_private_images_need_the_pull_secret(cluster: Cluster, registry: Registry, busybox: Path) -> None:
    registry.push("private/tool", busybox)
    spec = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "registry.test/private/tool:1"}]}
    cluster.apply(pod("refused", spec))

    def waiting() -> str:
        statuses = cluster.get("pod", "refused")["status"].get("containerStatuses", [{}])
        return str(statuses[0].get("state", {}).get("waiting", {}).get("reason", ""))

    wait_for(lambda: waiting() in ("ErrImagePull", "ImagePullBackOff"), "the pull without a password is refused")
    token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    config = json.dumps({"auths": {"registry.test": {"auth": token}}})
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "pull"},
            "type": "kubernetes.io/dockerconfigjson",
            "stringData": {".dockerconfigjson": config},
        },
        pod("allowed", {**spec, "imagePullSecrets": [{"name": "pull"}]}),
    )
    assert finished(cluster, "allowed") == "this is private/tool\n"
    assert any(path.startswith("/v2/private/") and authorised for path, authorised in registry.asked)


def test_kubectl_top_nodes_tells_what_nodes_use(cluster: Cluster) -> None:
    def told() -> list[list[str]]:
        done = cluster.usernetes("kubectl", "top", "nodes", "--no-headers")
        return [line.split() for line in done.stdout.splitlines() if "<unknown>" not in line]  # not asked yet

    wait_for(lambda: len(told()) == 2, "both nodes were asked", 150)
    rows = told()
    assert {row[0] for row in rows} == {"node0", "node1"}
    assert all(row[3].endswith("Mi") and int(row[3][:-2]) > 0 for row in rows)


def test_nothing_scales_by_a_usage_that_nobody_counts(cluster: Cluster) -> None:
    if cluster.status()["limitsEnforced"]:
        pytest.skip("cgroups are delegated here: what pods use is known")
    web = pod_spec(cluster, "exec sleep 3600", container={"resources": {"requests": {"cpu": "1m"}}})
    cluster.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "scaled"},
            "spec": {
                "selector": {"matchLabels": {"app": "scaled"}},
                "template": {"metadata": {"labels": {"app": "scaled"}}, "spec": web},
            },
        }
    )
    cluster.kubectl("autoscale", "deployment/scaled", "--min=1", "--max=3", "--cpu=50%")

    def why() -> str:
        conditions = cluster.get("hpa", "scaled")["status"].get("conditions") or []
        return "".join(item["message"] for item in conditions if item["type"] == "ScalingActive")

    wait_for(
        lambda: 'cannot list resource "pods" in API group "metrics.k8s.io"' in why(), "the autoscaler says why", 90
    )
    cluster.kubectl("delete", "hpa", "scaled")
    assert cluster.get("deployment", "scaled")["spec"]["replicas"] == 1


def test_a_pod_may_ask_for_ephemeral_storage(cluster: Cluster) -> None:
    asks = {"resources": {"requests": {"ephemeral-storage": "50Mi"}, "limits": {"ephemeral-storage": "2Gi"}}}
    cluster.apply(pod("asks", pod_spec(cluster, "echo there is", restartPolicy="Never", container=asks)))
    assert finished(cluster, "asks") == "there is\n"


def test_a_node_is_looked_into_with_kubectl_debug(cluster: Cluster) -> None:
    image = next(name for name in cluster.status()["nodes"][0]["images"] if "/busybox:" in name)
    script = "test -d /host/proc && ps | grep -q kubele[t] && echo seen"
    cluster.kubectl("debug", "node/node1", f"--image={image}", "--", "sh", "-c", script)
    name = cluster.get("pods", "-l", "app.kubernetes.io/managed-by=kubectl-debug")["items"][0]["metadata"]["name"]
    assert finished(cluster, name) == "seen\n"


def test_nodes_carry_their_cluster_and_their_address_inside_it(cluster: Cluster) -> None:
    items = cluster.get("nodes")["items"]
    assert [item["metadata"]["labels"]["usernetes.dev/cluster"] for item in items] == [cluster.name] * 2
    addresses = [{a["type"]: a["address"] for a in item["status"]["addresses"]} for item in items]
    assert [item["InternalIP"] for item in addresses] == ["10.64.0.1", "10.64.0.2"]
