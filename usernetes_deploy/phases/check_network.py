"""Prove the network: on every node a pod finds its neighbour's pod by DNS and gets a page from it.

The probe pods form a ring, whose order the driver knows: each has a name of its own in the DNS and asks for one other
name. So a pod's cost does not depend on how many there are, and an answer always fits into one UDP packet.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from usernetes_deploy.api import Api, ApiError, is_momentary
from usernetes_deploy.changes.context import BringUp
from usernetes_deploy.errors import TimedOut, UsernetesError
from usernetes_deploy.waiting import retry, until

NAMESPACE = "kube-system"
NAME = "usernetes-probe"
LABELS = {"usernetes.dev/probe": "network"}
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
SELECTED = f"{PODS}?labelSelector=usernetes.dev/probe=network"
QUESTIONS = 100  # a second, that all probe pods together may ask the DNS
# Each pod serves a page; it is ready when the DNS knows its neighbour and the neighbour's page has come.
# The kubelet asks for /cgi-bin/ready, which answers when the pod is ready: at once then, and without a process a try.
# (timeout, not wget -T: that option ends some builds of busybox with SIGSEGV. A reader of a named pipe waits as long as
# somebody has it open for writing.)
SCRIPT = """
cd /tmp; mkdir -p cgi-bin; echo ok > index.html; : > open; mkfifo gate
printf '#!/bin/sh\\ncat /tmp/gate; printf "Content-Type: text/plain\\\\r\\\\n\\\\r\\\\nok"\\n' > cgi-bin/ready
chmod 755 cgi-bin/ready
httpd -p "$IP:$PORT" -h /tmp
exec 9<>gate
while :; do
  next=$(timeout 2 nslookup -type=a "$NEIGHBOUR." 2>/dev/null | sed -n 's/^Address: *\\([0-9.]*\\)$/\\1/p')
  if [ -n "$next" ] && timeout 2 wget -q -O - "http://$next:$PORT/" >/dev/null 2>&1; then
    mv open gate; exec 9>&-
    exec sleep 3600
  fi
  usleep "$PAUSE"
done
"""
PORT = 8080


class CheckNetwork:
    """Runs one probe pod a node until all of them are ready, and takes them away again."""

    title = "check DNS and pod network"

    @staticmethod
    def begin(up: BringUp) -> Callable[[Api, Sequence[str]], object]:
        """What makes the probe pods of the nodes that are there already, while others are waited for."""
        return Probe(up).make if up.wait else lambda _, __: None

    def check(self, up: BringUp) -> bool:
        """Only when `up` waits."""
        return up.wait

    def apply(self, up: BringUp) -> str:
        """Raise `TimedOut` naming the pods that did not get through."""
        api = up.api()
        try:
            # Nodes may be Ready before the server has written its first objects.
            until(api.ready, up.deadline, f"the API at {api.server} is ready", pause=0.05)
            probe = Probe(up)
            probe.wait(api, up.deadline)
        finally:
            retry(lambda: end(api), up.deadline, is_momentary)
            api.close()
        members = len(probe.ring)
        return f"{members} pods answer by name" if members > 1 else "DNS answers"

    def undo(self, up: BringUp) -> None:
        """The probe pods are taken away in any case."""


class Probe:
    """The probe pods of one change: which there are to be, and which were made.

    They are made as nodes come (`begin`), so that a pod starts as soon as its node can run it; `apply` waits for them.
    """

    def __init__(self, up: BringUp):
        self.ring = neighbours(members_of(up))
        self._image, _ = up.bundle.image("busybox")
        self._domain = up.spec.network.dns_domain
        self._made: set[str] = set()
        self._begun = False

    def make(self, api: Api, nodes: Iterable[str]) -> None:
        """Make the pods of those `nodes` that are in the ring and have none of ours yet.

        Nodes have to be known to the API: a pod of an unknown node is taken for a leftover. What the API cannot do yet
        is left for the next call.
        """
        wanted = [node for node in nodes if node in self.ring and node not in self._made]
        try:
            if wanted and not self._begun:
                api.apply(headless_service())
                self._begun = True
            for node in wanted:
                pod = probe_pod(node, self.ring[node], len(self.ring), self._domain, self._image)
                create(api, pod)
                self._made.add(node)
        except UsernetesError as error:
            if not is_momentary(error) and not is_early(error):
                raise

    def wait(self, api: Api, seconds: float) -> None:
        """Until all pods are ready; raises `TimedOut`."""
        ends = time.monotonic() + seconds
        fresh = False
        while True:
            began = time.monotonic()
            pods = retry(lambda: api.get(SELECTED)["items"], ends - began, is_momentary)
            if not fresh:  # pods of an earlier change, or whose neighbour was given up since
                pods = [pod for pod in pods if not self._drop_stale(api, pod)]
                fresh = True
            self._made = {pod["spec"]["nodeName"] for pod in pods}
            if sum(map(is_ready, pods)) >= len(self.ring):
                return
            lines = [describe(pod) for pod in pods if not is_ready(pod)]
            lines += [f"  {node}: no pod was made" for node in self.ring if node not in self._made]
            self.make(api, self.ring)
            if time.monotonic() > ends:
                raise TimedOut(f"after {seconds:g} s the network is not proven:\n" + "\n".join(lines))
            time.sleep(pause_after(time.monotonic() - began))

    def _drop_stale(self, api: Api, pod: Mapping[str, Any]) -> bool:
        node = pod["spec"]["nodeName"]
        asks = pod["metadata"].get("annotations", {}).get("usernetes.dev/neighbour")
        if self.ring.get(node) == asks:
            return False
        api.delete({"apiVersion": "v1", "kind": "Pod", "metadata": pod["metadata"]}, grace=0)
        return True


def members_of(up: BringUp) -> list[str]:
    """Between whose pods packets have to pass: the nodes that came, and the first one."""
    first = [up.members.first.name] if up.others else []
    return first + [member.name for member in up.newcomers]


def neighbours(members: Sequence[str]) -> dict[str, str]:
    """Each member's neighbour in the ring.

    >>> neighbours(["a", "b", "c"])
    {'a': 'b', 'b': 'c', 'c': 'a'}
    """
    return dict(zip(members, [*members[1:], *members[:1]], strict=True))


def pause_after(took: float) -> float:
    """Seconds until the next look, so that many nodes' long answers do not keep the API busy with us.

    >>> pause_after(0.01), pause_after(0.2), pause_after(10)
    (0.1, 0.8, 2.0)
    """
    return min(max(0.1, 4 * took), 2.0)


def create(api: Api, pod: Mapping[str, Any]) -> None:
    """Create a pod; it is no error when it is there."""
    try:
        api.request("POST", PODS, pod)
    except ApiError as error:
        if error.status != http.client.CONFLICT:
            raise


def is_early(error: UsernetesError) -> bool:
    """Whether a pod was refused because the cluster is so young that its namespace has no service account yet."""
    return isinstance(error, ApiError) and error.status == http.client.FORBIDDEN and "serviceaccount" in str(error)


def end(api: Api) -> None:
    """Have the probe pods taken away."""
    api.request("DELETE", f"{SELECTED}&gracePeriodSeconds=0")
    api.delete(headless_service())


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Whether the pod passed its readiness probe."""
    conditions = pod["status"].get("conditions", ())
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


def describe(pod: Mapping[str, Any]) -> str:
    """One line a pod, for the error."""
    state = "Ready" if is_ready(pod) else pod["status"].get("phase", "?")
    waiting = [
        entry["state"]["waiting"].get("message") or entry["state"]["waiting"].get("reason", "")
        for entry in pod["status"].get("containerStatuses", ())
        if "waiting" in entry["state"]
    ]
    neighbour = pod["metadata"].get("annotations", {}).get("usernetes.dev/neighbour", "its neighbour")
    why = "; ".join(waiting) or ("" if state == "Ready" else f"no address of {neighbour} by DNS, or no page from it")
    return f"  {pod['spec'].get('nodeName', 'no node')}: {state} {why}".rstrip()


def headless_service() -> dict[str, Any]:
    """Gives each probe pod its name in the DNS, ready or not."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {"clusterIP": "None", "selector": LABELS, "publishNotReadyAddresses": True,
                 "ports": [{"port": PORT}]},
    }  # fmt: skip


def dns_name(node: str, domain: str) -> str:
    """The name of a node's probe pod.

    >>> dns_name("node3", "cluster.local")
    'node3.usernetes-probe.kube-system.svc.cluster.local'
    """
    return f"{node}.{NAME}.{NAMESPACE}.svc.{domain}"


def probe_pod(node: str, neighbour: str, members: int, domain: str, image: str) -> dict[str, Any]:
    """The probe pod of `node`, bound to it: the scheduler has nothing to decide."""
    pause = min(1.0, max(0.1, members / QUESTIONS))
    container = {
        "name": "probe",
        "image": image,
        "imagePullPolicy": "Never",
        "command": ["/bin/sh", "-c", SCRIPT],
        "env": [
            {"name": "NEIGHBOUR", "value": dns_name(neighbour, domain)},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "PORT", "value": str(PORT)},
            {"name": "PAUSE", "value": str(round(pause * 1e6))},
        ],
        "readinessProbe": {
            "httpGet": {"path": "/cgi-bin/ready", "port": PORT},
            "periodSeconds": 1,
            "timeoutSeconds": 20,
        },
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{NAME}-{node}",
            "namespace": NAMESPACE,
            "labels": LABELS,
            "annotations": {"usernetes.dev/neighbour": neighbour},
        },
        "spec": {
            "nodeName": node,
            "hostname": node,
            "subdomain": NAME,
            "containers": [container],
            "tolerations": [{"operator": "Exists"}],
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
        },
    }
