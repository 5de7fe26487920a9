"""Publishes Services and hostPorts on the host's real addresses as they appear, change and vanish.

Runs on every node, in threads of its supervisor: two watches, no polling. The first node also fills in the status of
LoadBalancer Services. What cannot be published becomes an event on the object, once.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from usernetes_deploy.api import Api
from usernetes_deploy.network.native import CONFIG_MAP, NAMESPACE
from usernetes_deploy.network.publish import wishes
from usernetes_deploy.network.publish.rootlesskit import PRIVILEGED, Forward, PortError, Ports
from usernetes_deploy.network.publish.wishes import Refusal, Wish

RETRY = 30.0  # seconds until a port that could not be had is tried again
MOST_INGRESS = 32  # addresses in a Service's status; more hosts answer all the same


class LocalNode(NamedTuple):
    """Where an exposer stands: `services` is False on a node whose host another node publishes for."""

    node: str
    node_ip: str
    services: bool
    leader: bool


class Exposer:
    """Keeps the published ports of one node equal to what its objects ask for.

    `objects()` returns all Services and this node's pods as they are now; `changed` is set when they changed.
    """

    def __init__(
        self,
        place: LocalNode,
        ports: Ports,
        api: Api,
        objects: Callable[[], tuple[list[Any], list[Any]]],
        changed: threading.Event,
    ) -> None:
        self.place = place
        self.ports = ports
        self.api = api
        self.objects = objects
        self.published: dict[Forward, int] = {}
        self.failed: dict[Forward, str] = {}
        self._told: set[tuple[str, str, str]] = set()
        self._changed = changed

    def run(self) -> None:
        """Work until the process ends; sleeps while nothing changes."""
        while True:
            self._changed.wait(RETRY if self.failed else None)
            self._changed.clear()
            time.sleep(0.02)  # let a burst of changes become one
            try:
                self.reconcile()
            except Exception as error:
                # Mostly the API or rootlesskit is away for a moment: try again, though nothing may change.
                print(f"expose: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
                time.sleep(1)
                self._changed.set()

    def reconcile(self) -> None:
        """Publish what is missing, take back what is no longer asked for, and say what cannot be."""
        services, pods = self.objects()
        by_uid = {item["metadata"]["uid"]: (kind, item) for kind, items in (("Service", services), ("Pod", pods))
                  for item in items}  # fmt: skip
        asked, refusals = wishes.of_services(services, self.place.node_ip) if self.place.services else ([], [])
        granted, clashes = wishes.without_clashes([*asked, *wishes.of_pods(pods, self.place.node_ip)])
        wanted = {wish.forward: wish for wish in granted.values()}
        self._take_back(set(wanted))
        failures = self._publish(wanted)
        if self.place.leader:
            failures += refusals
        for refusal in failures + clashes:
            if refusal.owner in by_uid:
                self._tell(refusal, *by_uid[refusal.owner])
        if self.place.leader:
            for service in services:
                self._fill_status(service, {refusal.owner for refusal in refusals})

    def _take_back(self, wanted: set[Forward]) -> None:
        for forward in set(self.published) - wanted:
            self.ports.remove(self.published[forward])
            del self.published[forward]  # only now: what was not taken back is tried again
        for forward in set(self.failed) - wanted:
            del self.failed[forward]

    def _publish(self, wanted: dict[Forward, Wish]) -> list[Refusal]:
        failures = []
        for forward, wish in wanted.items():
            if forward in self.published:
                continue
            try:
                self.published[forward] = self.ports.add(forward)
                self.failed.pop(forward, None)
            except PortError as error:
                self.failed[forward] = error.kind
                # Every node of a cluster would say the same of a privileged port: one is enough.
                if error.kind != PRIVILEGED or self.place.leader or not wish.instead:
                    message = wishes.failure_message(wish, self.place.node, error.reason)
                    failures.append(Refusal(wish.owner, error.kind, message))
        return failures

    def _tell(self, refusal: Refusal, kind: str, item: Any) -> None:
        if refusal in self._told:
            return
        self._told.add(refusal)
        metadata = item["metadata"]
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{metadata['name']}.", "namespace": metadata["namespace"]},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": kind,
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
            },
            "type": "Warning",
            "reason": refusal.reason,
            "message": refusal.message,
            "source": {"component": "usernetes", "host": self.place.node},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        self.api.request("POST", f"/api/v1/namespaces/{metadata['namespace']}/events", event)

    def _fill_status(self, service: Any, refused: set[str]) -> None:
        spec, metadata = service["spec"], service["metadata"]
        ours = spec.get("loadBalancerClass", wishes.LOAD_BALANCER_CLASS) == wishes.LOAD_BALANCER_CLASS
        present = service.get("status", {}).get("loadBalancer", {}).get("ingress") or []
        if spec.get("type") != "LoadBalancer" or not ours:
            return
        wanted = []
        if metadata["uid"] not in refused:
            failed = {forward.port: kind for forward, kind in self.failed.items()}
            wanted = wishes.ingress(service, self._hosts()[:MOST_INGRESS], failed)
        if present != wanted:
            path = f"/api/v1/namespaces/{metadata['namespace']}/services/{metadata['name']}/status"
            body = {"status": {"loadBalancer": {"ingress": wanted}}}
            self.api.request("PATCH", path, body, "application/merge-patch+json")

    def _hosts(self) -> list[str]:
        """The hosts' real addresses, each once, in the order of the nodes."""
        data = self.api.get(f"/api/v1/namespaces/{NAMESPACE}/configmaps/{CONFIG_MAP}").get("data") or {}
        return list(dict.fromkeys(address for _, address in sorted(data.items())))
