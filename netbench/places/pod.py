"""The places inside pods: one pod a node, which sleeps; programs are run in it with ``kubectl exec``.

``native``: the host's own network (RuntimeClass `native`); ``mesh`` and ``flannel``: the pod network of the cluster
that is there. By default the host's own software is mounted read-only, so that the same bytes run as on bare metal.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from netbench.places.base import Front, PlaceError
from netbench.start.mpi import Seat

SYSTEM_MOUNTS = ("/usr", "/lib", "/lib64", "/bin", "/sbin", "/opt")
LABEL = "netbench.usernetes.dev/place"
OWN_SOFTWARE = "pause"
HOPELESS = ("ErrImageNeverPull", "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError")


@dataclass(frozen=True)
class Kubectl:
    """kubectl against one cluster and namespace."""

    argv: tuple[str, ...]

    def __call__(self, *args: str, stdin: str = "", timeout: float = 60) -> str:
        """Its standard output. Raises `PlaceError` with its last line."""
        try:
            done = subprocess.run(
                [*self.argv, *args], input=stdin, capture_output=True, text=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise PlaceError(f"kubectl {args[0]} gave no answer within {timeout:g} s") from error
        except OSError as error:
            raise PlaceError(f"kubectl cannot be run: {error}") from error
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise PlaceError(f"kubectl {args[0]}: {said[-1] if said else f'exit code {done.returncode}'}")
        return done.stdout

    def version(self) -> dict[str, str]:
        """The API server's version, as far as it tells."""
        try:
            return {"kubernetes": str(json.loads(self("version", "-o", "json"))["serverVersion"]["gitVersion"])}
        except (PlaceError, ValueError, KeyError):
            return {}


class PodPlace:
    """Pods on the cluster's nodes, which are named as the plan's hosts are."""

    def __init__(
        self,
        name: str,
        hosts: Sequence[Seat],
        kubectl: Kubectl,
        *,
        image: str,
        mounts: Sequence[str] = (),
        ready_within: float = 90,
    ) -> None:
        self.name = name
        self._network = name.partition("-")[2]
        self._nodes = [host.name for host in hosts]
        self._host_addresses = {host.name: host.address for host in hosts}
        self._kubectl = kubectl
        self._image = image
        self._mounts = tuple(mounts)
        self._ready_within = ready_within
        self._seats: list[Seat] = []

    @property
    def front(self) -> Front | None:
        """The launcher runs beside netbench."""
        return None

    def open(self) -> None:
        """Start one pod a node and wait until all are ready. Raises `PlaceError` that names the pod and the reason."""
        if self._seats:
            return
        if self._image == OWN_SOFTWARE:
            self._image = self._pause_image()
        pods = [self.manifest(self._pod(i), node) for i, node in enumerate(self._nodes)]
        self._delete([pod["metadata"]["name"] for pod in pods])
        self._kubectl("create", "-f", "-", stdin=_list(pods))
        states = self._wait_ready([pod["metadata"]["name"] for pod in pods])
        self._seats = [self._seat(states[self._pod(i)], node) for i, node in enumerate(self._nodes)]

    def seats(self) -> Sequence[Seat]:
        """The pods, with their addresses."""
        return self._seats

    def done(self) -> None:
        """The pods are those of the next run, too."""

    def trouble(self) -> str | None:
        """A pod that is gone, failed, was evicted or started anew; it is replaced at the next `open`."""
        try:
            states = self._states([self._pod(i) for i in range(len(self._nodes))])
        except PlaceError as error:
            self._seats = []
            return str(error)
        for i in range(len(self._nodes)):
            pod = states.get(self._pod(i))
            wrong = "is gone" if pod is None else _wrong(pod)
            if wrong:
                self.close()
                return f"pod {self._pod(i)} on {self._nodes[i]} {wrong}"
        return None

    def close(self) -> None:
        """Delete the pods, if the cluster still answers."""
        self._seats = []
        try:
            self._delete([self._pod(i) for i in range(len(self._nodes))])
        except PlaceError:
            return

    def start_pods(self, mark: str, nodes: Sequence[str], limit: float) -> str:
        """The `pod_start` case: start a pod on each of `nodes` at once; ``started NODE SECONDS`` lines.

        The clock starts before ``kubectl create`` and stops when a watch that was open before shows the pod ready.
        """
        names = {f"{self._pod(i)}-{mark}"[:63].rstrip("-").lower(): node for i, node in enumerate(nodes)}
        watch = subprocess.Popen(
            [*self._kubectl.argv, "get", "pods", "--watch", "-o", "json", f"--request-timeout={limit:g}s"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            started = time.monotonic()
            self._kubectl("create", "-f", "-", stdin=_list([self.manifest(n, node) for n, node in names.items()]))
            took = self._watch_ready(watch, dict(names), started)
        finally:
            watch.kill()
            watch.communicate()
            self._delete(list(names))
        return "".join(f"started {node} {seconds:.3f}\n" for node, seconds in took.items())

    def manifest(self, name: str, node: str) -> dict[str, Any]:
        """A pod that sleeps on `node`."""
        own_software = self._image_is_empty()
        paths = (*SYSTEM_MOUNTS, *self._mounts) if own_software else self._mounts
        volumes: list[dict[str, Any]] = [
            {"name": f"v{i}", "hostPath": {"path": path, "type": "Directory"}} for i, path in enumerate(paths)
        ]
        volumes.append({"name": "tmp", "emptyDir": {}})
        spec: dict[str, Any] = {
            "nodeSelector": {"kubernetes.io/hostname": node},
            "tolerations": [{"operator": "Exists"}],
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "enableServiceLinks": False,
            "automountServiceAccountToken": False,
            "containers": [
                {
                    "name": "netbench",
                    "image": self._image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["/usr/bin/sleep", "infinity"] if own_software else ["sleep", "infinity"],
                    "volumeMounts": [
                        *({"name": f"v{i}", "mountPath": path, "readOnly": True} for i, path in enumerate(paths)),
                        {"name": "tmp", "mountPath": "/tmp"},
                    ],
                }
            ],
            "volumes": volumes,
        }
        if own_software:
            # root of the user namespace is the user itself on the host: the same rights to files as on bare metal
            spec["securityContext"] = {"runAsUser": 0, "runAsGroup": 0}
        if self._network == "native":
            spec |= {"hostNetwork": True, "runtimeClassName": "native"}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {LABEL: self.name}},
            "spec": spec,
        }

    def _seat(self, pod: Mapping[str, Any], node: str) -> Seat:
        return Seat(node, self._address(pod, node), (*self._kubectl.argv, "exec", pod["metadata"]["name"], "--"))

    def _address(self, pod: Mapping[str, Any], node: str) -> str:
        """A native pod has the host's addresses, though Kubernetes knows it by that of the node in the mesh."""
        return self._host_addresses[node] if self._network == "native" else str(pod["status"]["podIP"])

    def _pause_image(self) -> str:
        """The image that every node has: it holds nothing but a program that sleeps."""
        nodes = json.loads(self._kubectl("get", "nodes", "-o", "json"))["items"]
        names = sorted({n for node in nodes for image in node["status"].get("images", ()) for n in image["names"]})
        found = [name for name in names if "/pause:" in name]
        if not found:
            raise PlaceError(f"image missing: no node has a pause image; give cluster.image (there are {names})")
        return str(found[0])

    def _image_is_empty(self) -> bool:
        return self._image.rpartition("/")[2].partition(":")[0] == "pause"

    def _pod(self, index: int) -> str:
        return f"netbench-{self._network}-{index}"

    def _delete(self, names: Sequence[str]) -> None:
        self._kubectl("delete", "pod", *names, "--ignore-not-found", "--grace-period=0", "--force", "--wait=true")

    def _states(self, names: Sequence[str]) -> dict[str, Any]:
        return {name: pod for name, pod in self._listed().items() if name in names}

    def _listed(self) -> dict[str, Any]:
        """All pods of this place by name."""
        listed = json.loads(self._kubectl("get", "pods", "-l", f"{LABEL}={self.name}", "-o", "json"))
        return {pod["metadata"]["name"]: pod for pod in listed["items"]}

    def _wait_ready(self, names: Sequence[str]) -> dict[str, Any]:
        deadline = time.monotonic() + self._ready_within
        while True:
            states = self._states(names)
            missing = [name for name in names if name not in states or not _is_ready(states[name])]
            if not missing:
                return states
            for name in missing:
                wrong = _wrong(states[name]) if name in states else None
                if wrong:
                    raise PlaceError(f"pod {name} {wrong}")
            if time.monotonic() > deadline:
                phase = states.get(missing[0], {}).get("status", {}).get("phase", "not there")
                raise PlaceError(f"pod {missing[0]} is not ready after {self._ready_within:g} s: {phase}")
            time.sleep(0.3)

    def _watch_ready(self, watch: subprocess.Popen[str], names: Mapping[str, str], started: float) -> dict[str, float]:
        took: dict[str, float] = {}
        decoder, text = json.JSONDecoder(), ""
        if watch.stdout is None:
            raise PlaceError("the watch has no output")
        for line in watch.stdout:
            text += line
            if not line.startswith("}"):
                continue
            pod, _ = decoder.raw_decode(text)
            text = ""
            name = pod["metadata"]["name"]
            if name in names and names[name] not in took:
                if _is_ready(pod):
                    took[names[name]] = time.monotonic() - started
                elif wrong := _wrong(pod):
                    raise PlaceError(f"pod {name} {wrong}")
            if len(took) == len(names):
                return took
        missing = [name for name, node in names.items() if node not in took]
        raise PlaceError(f"pod {missing[0]} was not seen ready before the time limit")


def _is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _wrong(pod: Mapping[str, Any]) -> str | None:
    """Why this pod will not (or no longer) run, or None."""
    status = pod.get("status", {})
    if pod["metadata"].get("deletionTimestamp"):
        return "is being deleted"
    if status.get("reason") == "Evicted":
        return f"was evicted: {status.get('message', '')}".rstrip(": ")
    for state in status.get("containerStatuses", ()):
        waiting = state.get("state", {}).get("waiting", {})
        if waiting.get("reason") in HOPELESS:
            return f"cannot start: {waiting['reason']}: {waiting.get('message', '')}".rstrip(": ")
        ended = state.get("state", {}).get("terminated")
        if ended:
            said = str(ended.get("message", "")).strip().rpartition("\n")[2]
            return f"ended: {ended.get('reason', '')} (exit code {ended.get('exitCode')}): {said}".removesuffix(": ")
    if status.get("phase") in ("Failed", "Succeeded"):
        return f"{status['phase'].lower()}: {status.get('reason', '')} {status.get('message', '')}".rstrip(": ")
    return None


def _list(items: Sequence[Mapping[str, Any]]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(items)})
