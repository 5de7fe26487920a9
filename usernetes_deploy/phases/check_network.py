"""Prove the network: on every node a pod finds its peers by DNS and gets a page from its neighbour's pod."""

from __future__ import annotations

import time
from typing import Any

from usernetes_deploy.api import Api, patiently
from usernetes_deploy.changes.context import BringUp
from usernetes_deploy.errors import TimedOut

NAMESPACE = "kube-system"
NAME = "usernetes-probe"
PATIENCE = 20.0  # seconds for a server that has too much to do
LABELS = {"usernetes.dev/probe": "network"}
# Each pod serves a page; it is ready when the DNS names all pods and the next one in the ring has answered.
# (The list is there three times, for sed looks for the end of a range only from its second line on.
# timeout, not wget -T: that option ends some builds of busybox with SIGSEGV.)
SCRIPT = f"""
echo ok > /tmp/index.html; httpd -p 8080 -h /tmp
while :; do
  all=$(nslookup {NAME}.{NAMESPACE}.svc.$DOMAIN. 2>/dev/null | sed -n 's/^Address: *\\([0-9.]*\\)$/\\1/p' | sort -u)
  if [ "$(echo "$all" | wc -l)" -ge "$MEMBERS" ]; then
    next=$( (echo "$all"; echo "$all"; echo "$all") | sed "1,/^$IP\\$/d" | head -n 1)
    timeout 2 wget -q -O - "http://$next:8080/" >/dev/null 2>&1 && touch /tmp/ready && exec sleep 3600
  fi
  usleep 100000
done
"""
# Waits, for a kubelet that was told no asks again only a second later.
IS_READY = "until test -e /tmp/ready; do usleep 20000; done"


class CheckNetwork:
    """Runs one probe pod a node until all of them are ready, and takes them away again."""

    title = "check DNS and pod network"

    def check(self, up: BringUp) -> bool:
        """Only when `up` waits."""
        return up.wait

    def apply(self, up: BringUp) -> str:
        """Raise `TimedOut` naming the pods that did not get through."""
        members = len(up.existing) + len(up.nodes) - len(up.missing)
        api = up.api()
        try:
            wait_until_ready(api, up.deadline)
            patiently(lambda: begin(api, up), PATIENCE)
            self._wait(api, members, up.deadline)
        finally:
            patiently(lambda: end(api, up), PATIENCE)
            api.close()
        return f"{members} pods answer by name" if members > 1 else "DNS answers"

    def undo(self, up: BringUp) -> None:
        """The probe pods are taken away in any case."""

    def _wait(self, api: Api, members: int, seconds: float) -> None:
        ends = time.monotonic() + seconds
        path = f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=usernetes.dev/probe=network"
        while True:
            pods = patiently(lambda: api.get(path)["items"], PATIENCE)
            if sum(is_ready(pod) for pod in pods) >= members:
                return
            if time.monotonic() > ends:
                raise TimedOut(f"after {seconds:g} s the network is not proven:\n" + "\n".join(map(describe, pods)))
            time.sleep(0.1)


def wait_until_ready(api: Api, seconds: float) -> None:
    """Nodes may be Ready before the server has written its first objects; raises `TimedOut`."""
    ends = time.monotonic() + seconds
    while not api.ready():
        if time.monotonic() > ends:
            raise TimedOut(f"after {seconds:g} s the API at {api.server} is not ready")
        time.sleep(0.05)


def begin(api: Api, up: BringUp) -> None:
    """Have the probe pods made; `wait_ready` does so while nodes are still becoming Ready, to lose no time."""
    for manifest in probe(up):
        api.apply(manifest)


def end(api: Api, up: BringUp) -> None:
    """Have the probe pods taken away."""
    for manifest in probe(up):
        api.delete(manifest)


def probe(up: BringUp) -> list[dict[str, Any]]:
    """The probe's objects, for as many members as there are."""
    image, _ = up.bundle.image("busybox")
    members = len(up.existing) + len(up.nodes) - len(up.missing)
    return [headless_service(), daemon_set(members, up.spec.network.dns_domain, image)]


def is_ready(pod: dict[str, Any]) -> bool:
    """Whether the pod passed its readiness probe."""
    conditions = pod["status"].get("conditions", ())
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


def describe(pod: dict[str, Any]) -> str:
    """One line a pod, for the error."""
    state = "Ready" if is_ready(pod) else pod["status"].get("phase", "?")
    waiting = [
        entry["state"]["waiting"].get("message") or entry["state"]["waiting"].get("reason", "")
        for entry in pod["status"].get("containerStatuses", ())
        if "waiting" in entry["state"]
    ]
    why = "; ".join(waiting) or ("" if state == "Ready" else "no answer by name, or none from the next pod")
    return f"  {pod['spec'].get('nodeName', 'no node')}: {state} {why}".rstrip()


def headless_service() -> dict[str, Any]:
    """The name under which the probe pods find each other, ready or not."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {"clusterIP": "None", "selector": LABELS, "publishNotReadyAddresses": True,
                 "ports": [{"port": 8080}]},
    }  # fmt: skip


def daemon_set(members: int, domain: str, image: str) -> dict[str, Any]:
    """One probe pod a node."""
    container = {
        "name": "probe",
        "image": image,
        "imagePullPolicy": "Never",
        "command": ["/bin/sh", "-c", SCRIPT],
        "env": [
            {"name": "MEMBERS", "value": str(members)},
            {"name": "DOMAIN", "value": domain},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        ],
        "readinessProbe": {
            "exec": {"command": ["/bin/sh", "-c", IS_READY]},
            "periodSeconds": 1,
            "timeoutSeconds": 20,
        },
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {
            "selector": {"matchLabels": LABELS},
            "template": {
                "metadata": {"labels": LABELS},
                "spec": {
                    "containers": [container],
                    "tolerations": [{"operator": "Exists"}],
                    "terminationGracePeriodSeconds": 0,
                    "automountServiceAccountToken": False,
                },
            },
        },
    }
