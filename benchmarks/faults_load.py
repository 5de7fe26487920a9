"""The load under which `faults` breaks a cluster: objects written, a Service asked, jobs started; what came of it."""

from __future__ import annotations

import json
import math
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from usernetes_deploy.api import Api, ApiError
from usernetes_deploy.errors import UsernetesError

NAMESPACE = "faults"
OBJECTS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
JOBS = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
DEPLOYMENT = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/web"
HOST = "kubernetes.io/hostname"
WRITE_PAUSE, START_PAUSE = 0.1, 3.0  # seconds between writes, and between jobs
FINISH = 120.0  # seconds that jobs have to be done after the last fault
# Asks the Service 20 times a second, a connection each. Prints when it asked (as `time.monotonic` of all processes of
# this machine has it) and how many seconds the answer took, -1 where there was none within 2 s.
CLIENT = """
import http.client, sys, time
while True:
    began = time.monotonic()
    try:
        c = http.client.HTTPConnection(sys.argv[1], 8080, timeout=2)
        c.request("GET", "/"); r = c.getresponse()
        took = time.monotonic() - began if r.status == 200 and r.read() == b"served\\n" else -1
        c.close()
    except (OSError, http.client.HTTPException):
        took = -1
    print(f"{began:.3f} {took:.4f}", flush=True)
    time.sleep(max(0, 0.05 - (time.monotonic() - began)))
"""


@dataclass
class Tally:
    """What came of the load: of writes that the API acknowledged, of requests to the Service, of jobs it took."""

    written: int = 0
    lost: int = 0
    asked: int = 0
    failed: int = 0
    jobs: int = 0
    unfinished: int = 0

    def add(self, other: Tally) -> None:
        """Count the other's as well."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


class Load:
    """The load on one cluster. `cli` makes the argv of a verb on it, `client` is the node that asks."""

    def __init__(self, api: Callable[[], Api], cli: Callable[..., Sequence[str]], image: str, client: str, python: str):
        self._new_api, self._cli, self._image, self._client, self._python = api, cli, image, client, python
        self.acknowledged: list[tuple[float, str]] = []  # (when it was, name)
        self.jobs: list[str] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=body, daemon=True) for body in (self._write, self._start_jobs)]
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115  it lives as long as the load
        self._process: subprocess.Popen[str] | None = None

    def begin(self) -> None:
        """Make the Service with its two replicas, and begin; returns when all of it goes."""
        api = self._new_api()
        api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        for manifest in servers(self._image):
            api.apply(manifest)
        until(lambda: (api.get(DEPLOYMENT).get("status") or {}).get("readyReplicas") == 2, 90, "the two servers")
        address = api.get(f"/api/v1/namespaces/{NAMESPACE}/services/web")["spec"]["clusterIP"]
        argv = self._cli("run", "--node", self._client, "--", self._python, "-c", CLIENT, address)
        self._process = subprocess.Popen(argv, stdout=self._said, stderr=subprocess.DEVNULL, text=True)
        for thread in self._threads:
            thread.start()
        began = time.monotonic()
        until(lambda: self.answered_since(began) and self.wrote_since(began), 60, "the first answer and write")
        api.close()

    def end(self) -> Tally:
        """End it and wait for the jobs; what came of it all."""
        tally = Tally()
        if self._process:  # first: it asks no Service whose jobs we only wait for
            self._process.terminate()
            self._process.wait()
            answers = self.answers()
            tally.asked, tally.failed = len(answers), sum(1 for _, took in answers if took < 0)
        self._said.close()
        self._over.set()
        for thread in filter(threading.Thread.is_alive, self._threads):
            thread.join(30)
        api = self._new_api()
        ends = time.monotonic() + FINISH
        while time.monotonic() < ends and set(self.jobs) - finished(api):
            time.sleep(0.5)
        tally.jobs, tally.unfinished = len(self.jobs), len(set(self.jobs) - finished(api))
        there = {item["metadata"]["name"] for item in api.get(OBJECTS)["items"]}
        tally.written = len(self.acknowledged)
        tally.lost = sum(1 for _, name in self.acknowledged if name not in there)
        api.close()
        return tally

    def answers(self) -> list[tuple[float, float]]:
        """Every request so far: when it was sent, and the seconds it took, -1 where it failed."""
        self._said.flush()
        with Path(f"/proc/self/fd/{self._said.fileno()}").open() as said:  # with a place of its own in the file
            lines = said.read().split("\n")[:-1]
        return [(float(when), float(took)) for when, took in (line.split() for line in lines)]

    def answered_since(self, moment: float) -> bool:
        """Whether of the requests since then the last ten have been answered."""
        after = [took for when, took in self.answers() if when > moment]
        return len(after) >= 10 and min(after[-10:]) >= 0

    def wrote_since(self, moment: float) -> bool:
        """Whether a write was acknowledged since then."""
        return bool(self.acknowledged) and self.acknowledged[-1][0] > moment

    def _write(self) -> None:
        api, number = self._new_api(), 0
        while not self._over.wait(WRITE_PAUSE):
            number += 1
            name = f"w{number}"
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"n": str(number)}}
            if posted(api, OBJECTS, body):
                self.acknowledged.append((time.monotonic(), name))
        api.close()

    def _start_jobs(self) -> None:
        api, number = self._new_api(), 0
        while not self._over.wait(START_PAUSE):
            number += 1
            if posted(api, JOBS, job(f"j{number}", self._image)):
                self.jobs.append(f"j{number}")
        api.close()


def posted(api: Api, path: str, body: dict[str, Any]) -> bool:
    """Whether the API acknowledged a new object; one that is there already was sent twice, and taken the first time."""
    try:
        api.request("POST", path, body)
    except UsernetesError as error:
        return isinstance(error, ApiError) and error.status == 409
    return True


def finished(api: Api) -> set[str]:
    """The names of the jobs that are complete."""
    return {item["metadata"]["name"] for item in api.get(JOBS)["items"] if item.get("status", {}).get("succeeded")}


def servers(image: str) -> list[dict[str, Any]]:
    """A Service of two replicas on two nodes, rather not on the first."""
    script = "mkdir -p /tmp/w; echo served > /tmp/w/index.html; exec httpd -f -p 8080 -h /tmp/w"
    probe = {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1, "failureThreshold": 2}
    container = {"name": "web", "image": image, "command": ["sh", "-c", script], "readinessProbe": probe}
    labels = {"app": "web"}
    apart = {"labelSelector": {"matchLabels": labels}, "topologyKey": HOST}
    later = {"matchExpressions": [{"key": HOST, "operator": "NotIn", "values": ["node0"]}]}
    affinity = {
        "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [apart]},
        "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 9, "preference": later}]},
    }
    pod = {"containers": [container], "affinity": affinity, "terminationGracePeriodSeconds": 0}
    metadata = {"name": "web", "namespace": NAMESPACE}
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": labels, "ports": [{"port": 8080}]},
        },
    ]


def job(name: str, image: str) -> dict[str, Any]:
    """A job of half a second."""
    container = {"name": "main", "image": image, "command": ["sleep", "0.5"]}
    pod = {"containers": [container], "restartPolicy": "OnFailure", "terminationGracePeriodSeconds": 0}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 20, "template": {"spec": pod}},
    }


def until(holds: Callable[[], Any], seconds: float, what: str) -> float:
    """Wait until it holds, errors of the API aside; returns when it did. Raises `UsernetesError` after `seconds`."""
    ends = time.monotonic() + seconds
    said = ""
    while time.monotonic() < ends:
        try:
            if holds():
                return time.monotonic()
        except (UsernetesError, OSError, json.JSONDecodeError, KeyError) as error:
            said = f" ({error})"
        time.sleep(0.1)
    raise UsernetesError(f"not within {seconds:g} s{said}", tried=what)


def percentile(values: Sequence[float], part: float) -> float:
    """The smallest of `values` that `part` of them do not exceed.

    >>> percentile([3, 1, 2], 0.5), percentile([3, 1, 2], 0.99)
    (2, 3)
    """
    return sorted(values)[max(0, math.ceil(part * len(values)) - 1)]
