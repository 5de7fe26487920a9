"""A cluster of this product under a campaign: brought up from a spec file for each network, one name each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netbench.plan.document import ClusterPlan
from usernetes_deploy.cluster.state import ClusterState, state_root


@dataclass(frozen=True)
class Managed:
    """Commands and files of the clusters that a campaign makes for itself."""

    plan: ClusterPlan

    def name(self, network: str) -> str:
        """One cluster a network, so that a campaign can be interrupted in either."""
        return f"{self.plan.name}-{network}"

    def up(self, network: str) -> list[str]:
        """The command that brings it up."""
        # without the product's own check of DNS and pod network: the runs themselves prove what they need
        argv = [*_usernetes(), "up", "--no-wait", "--cluster", self.name(network)]
        argv += ["--set", f"network.backend={network}"]
        argv += ["--file", str(Path(self.plan.spec).absolute())] if self.plan.spec else []
        return [*argv, *(part for setting in self.plan.settings for part in ("--set", setting))]

    def down(self, network: str) -> list[str]:
        """The command that takes it down, or nothing where there is none."""
        return [*_usernetes(), "down", "--cluster", self.name(network)] if self._state(network).exists() else []

    def kubeconfig(self, network: str) -> str:
        """Its kubeconfig."""
        return str(self._state(network).kubeconfig)

    def kubectl(self, network: str) -> tuple[str, ...]:
        """The kubectl of its bundle."""
        return (f"{self._state(network).read()['bundle']['root']}/bin/kubectl",)

    def directories(self, network: str) -> Mapping[str, str]:
        """Node to the folder of its files on its host; what cannot be asked is left out."""
        argv = [*_usernetes(), "status", "--cluster", self.name(network), "--json"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        try:
            nodes: list[dict[str, Any]] = json.loads(done.stdout)["nodes"]
        except (ValueError, KeyError):
            return {}
        return {str(node["name"]): str(node["directory"]) for node in nodes if node.get("directory")}

    def versions(self, network: str) -> Mapping[str, str]:
        """What is to be said of the cluster in a record."""
        held = self._state(network).read()
        cpus = {"system_cpus": str(held["spec"]["systemCpus"])} if "systemCpus" in held["spec"] else {}
        return {"usernetes_bundle": Path(str(held["bundle"]["root"])).name, "network": network, **cpus}

    def _state(self, network: str) -> ClusterState:
        return ClusterState(state_root(os.environ), self.name(network))


def _usernetes() -> list[str]:
    return [sys.executable, "-m", "usernetes_deploy.cli"]
