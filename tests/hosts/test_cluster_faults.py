"""Faults under load, a short choice of what `benchmarks/faults.py` strikes with: nothing acknowledged is lost."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.clusters import Cluster, wait_for
from usernetes_deploy.bundle import locate
from usernetes_deploy.cluster.state import ClusterState

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from faults import FAULTS, Broken, struck
from faults_load import NAMESPACE, Load

pytestmark = pytest.mark.cluster


@pytest.fixture
def broken(cluster: Cluster) -> Iterator[Broken]:
    wait_for(lambda: cluster.usernetes("status").returncode == 0, "the cluster is well")

    def cli(verb: str, *words: str) -> list[str]:
        return cluster.account.argv(verb, "--cluster", cluster.name, *words)

    yield Broken(ClusterState(cluster.account.state, cluster.name), cli, cluster.status)
    cluster.kubectl("delete", "namespace", NAMESPACE)


def test_what_was_acknowledged_outlives_the_api_its_store_and_a_worker(cluster: Cluster, broken: Broken) -> None:
    image = locate(cluster.account.bundle).image("busybox")[0]
    load = Load(lambda: broken.state.api(5), broken.cli, image, "node0", cluster.account.python)
    try:
        load.begin()
        seconds = {name: struck(broken, FAULTS[name], load) for name in ("kube-apiserver", "two", "mesh")}
    finally:
        tally = load.end()
    print(seconds, tally)
    assert (tally.lost, tally.unfinished) == (0, 0)
    assert tally.written > 20
    assert tally.asked > 50
    assert tally.failed <= tally.asked / 5
