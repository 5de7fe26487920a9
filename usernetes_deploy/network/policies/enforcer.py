"""Keeps a node's nftables as the cluster's NetworkPolicies say. Where there are none, it is one idle connection."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from usernetes_deploy import threads
from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.network.policies import translate
from usernetes_deploy.network.watch import Watch
from usernetes_deploy.node.cluster_api import identity, wait_for_api
from usernetes_deploy.node.config import API_PORT, NodeConfig
from usernetes_deploy.threads import Begin

SETTLE = 0.05  # seconds: pods come many at a time
PATH = "/apis/networking.k8s.io/v1/networkpolicies"
BRIDGED = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


class Enforcer:
    """Watches policies, and pods and namespaces from the first policy on. `nr` runs in the node's network namespace."""

    def __init__(self, config: NodeConfig, nr: Run, problem: Callable[[str], None]) -> None:
        self._config = config
        self._nr = nr
        self._problem = problem
        self._changed = threading.Event()
        self._loaded = translate.NONE
        self._watches: list[Watch] = []

    def start(self, begin: Begin = threads.begin) -> None:
        """Begin, in a thread that lives as long as the process."""
        begin("network policies", self._run)

    def _run(self) -> None:
        wait_for_api(self._config)
        if not self._watches:  # once: after a failure they are there still
            self._watches.append(self._watch(PATH))
        self._changed.set()
        while True:
            self._changed.wait()
            time.sleep(SETTLE)
            self._changed.clear()
            if self._watches[0].objects and len(self._watches) == 1:
                self._watches += [self._watch("/api/v1/pods"), self._watch("/api/v1/namespaces")]
                self._look_at_the_bridge()
            # What is not known yet is not empty: until then the table stays as it is.
            while not all(one.synced(self._config.patience) for one in self._watches):
                pass
            known = [list(one.objects.values()) for one in self._watches]
            policies, pods, namespaces = known if len(known) == 3 else (known[0], [], [])
            dns = self._config.api_url.partition("//")[2].rpartition(f":{API_PORT}")[0]
            script = translate.script(policies, pods, namespaces, self._config.name, dns)
            if script != self._loaded:
                self._load(script)

    def _watch(self, path: str) -> Watch:
        watch = Watch(self._config.api_outside, lambda: identity("kube-proxy"), path, self._changed.set)
        watch.start()
        return watch

    def _load(self, script: str) -> None:
        done = self._nr(["nft", "-f", "-"], stdin=script.encode())
        if done.returncode:
            raise UsernetesError(
                done.stderr.decode().strip().splitlines()[0], tried="load the NetworkPolicies with nft"
            )
        self._loaded = script

    def _look_at_the_bridge(self) -> None:
        """Pods of one node meet on a bridge, whose packets are judged only where the kernel shows them to nftables."""
        if self._say(["sh", "-c", f"echo 1 > {BRIDGED} && cat {BRIDGED}"]).strip() != "1":
            self._problem(
                "NetworkPolicies do not hold between pods of this node: the kernel shows no bridged packets; "
                "fix (root): modprobe br_netfilter"
            )

    def _say(self, argv: Sequence[str]) -> str:
        return self._nr(argv).stdout.decode()
