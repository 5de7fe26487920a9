"""The control plane of a cluster, on its first node: what it is made of, and in which order it comes to life."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from usernetes_deploy.api import Api
from usernetes_deploy.errors import TimedOut, UsernetesError
from usernetes_deploy.node import audit, control, control_plane, saved
from usernetes_deploy.node.cluster_api import identity, wait_for_api
from usernetes_deploy.node.config import PKI, RUN, NodeConfig
from usernetes_deploy.node.node_status import NodeStatus
from usernetes_deploy.node.process import SOON, Component
from usernetes_deploy.waiting import retry, until

Spawn = Callable[..., Component]  # `Supervisor.spawn`


class FirstNode:
    """Starts the control plane by `spawn`, and applies the cluster's own objects once the API answers."""

    def __init__(self, config: NodeConfig, netns: Path, status: NodeStatus, spawn: Spawn) -> None:
        self.config = config
        self.netns = netns
        self.status = status
        self._spawn = spawn
        self._manifests = threading.Event()

    def start(self) -> None:
        """All at once: each tries again on its own until what it needs is there."""
        config = self.config
        env = control_plane.environment(len(os.sched_getaffinity(0)))
        (config.root / "etcd").mkdir(mode=0o700, exist_ok=True)
        if config.audit:
            audit.POLICY.write_text(json.dumps(audit.policy()))
        # An API server that finds no etcd asks again only after a second; etcd itself listens after a fraction of that.
        etcd = self._run("etcd", control_plane.etcd(config), env, started=self._etcd_started)
        self._run(
            "kube-apiserver",
            control_plane.apiserver(config),
            env,
            prepare=lambda: self._before_api(etcd),
            started=self._api_started,
        )
        for name, argv in (
            ("kube-controller-manager", control_plane.controller_manager(config)),
            ("kube-scheduler", control_plane.scheduler(config)),
        ):
            self._run(name, argv, env, prepare=lambda: wait_for_api(config))
        (RUN / "Corefile").write_text(control_plane.corefile(config))
        further = [("coredns", control_plane.coredns(config))]
        further += [("local-path-provisioner", control_plane.local_path(config))]
        if config.metrics:
            further += [("metrics-server", control_plane.metrics_server(config))]
        for name, argv in further:
            self._spawn(name, argv, env=env, prepare=self._wait_for_manifests)

    def _run(
        self,
        name: str,
        argv: list[str],
        env: dict[str, str],
        *,
        prepare: Callable[[], Any] | None = None,
        started: Callable[[subprocess.Popen[bytes]], None] | None = None,
    ) -> Component:
        slack = control_plane.TIMER_SLACK
        return self._spawn(name, argv, env=env, prepare=prepare, started=started, timer_slack=slack)

    def _before_api(self, etcd: Component) -> None:
        """Nobody may ask the store before it has what was saved of an earlier cluster."""
        until(etcd.ready.is_set, self.config.patience, "etcd listens", pause=SOON)
        if saved.load(self.config, self.netns):
            self.status.mark("resumed")

    def _etcd_started(self, process: subprocess.Popen[bytes]) -> None:
        def listening() -> bool:
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                return probe.connect_ex(("127.0.0.1", control_plane.ETCD_PORT)) == 0

        def look() -> bool:
            return control.in_netns(self.netns, listening)

        patience = self.config.patience
        until(look, patience, "etcd listens", pause=SOON, longest=0.1, alive=lambda: process.poll() is None)

    def _api_started(self, process: subprocess.Popen[bytes]) -> None:
        alive = lambda: process.poll() is None  # noqa: E731
        wait_for_api(self.config, serving=True, alive=alive)
        admin = Api(self.config.api_outside, identity("admin"), timeout=30)
        for manifest in self.config.manifests:
            # What names the cluster's authority is applied at each start: the authority may be another since.
            if _is_signed(manifest) or not self._manifests.is_set():
                self._apply(admin, manifest, alive)
        admin.close()
        if not self._manifests.is_set():
            self._manifests.set()
            self.status.mark("manifests")
        wait_for_api(self.config, alive=alive)
        self.status.mark("api ready")

    def _apply(self, admin: Api, manifest: dict[str, Any], alive: Callable[[], bool]) -> None:
        """An API that has just become ready may still refuse a kind of its own; what it refuses is told meanwhile."""

        def apply() -> None:
            try:
                admin.apply(_signed_now(manifest))
            except UsernetesError as error:
                words = f"{manifest.get('kind')} {manifest.get('metadata', {}).get('name')} is refused: {error}"
                self._says("kube-apiserver", words)
                raise

        retry(apply, self.config.patience, pause=0.05, longest=2.0, alive=alive)

    def _says(self, component: str, words: str) -> None:
        if component in self.status.components:
            self.status.components[component].last_exit = words

    def _wait_for_manifests(self) -> None:
        if not self._manifests.wait(self.config.patience):
            raise TimedOut(f"not within {self.config.patience:g} s: the cluster's own objects are applied")


def _is_signed(manifest: dict[str, Any]) -> bool:
    """Whether a manifest names the cluster's authority, as metrics-server's APIService does."""
    return bool(manifest.get("spec", {}).get("caBundle"))


def _signed_now(manifest: dict[str, Any]) -> dict[str, Any]:
    """A manifest with the authority of now, where it names one."""
    if not _is_signed(manifest):
        return manifest
    authority = base64.b64encode((PKI / "ca.crt").read_bytes()).decode()
    return {**manifest, "spec": {**manifest["spec"], "caBundle": authority}}
