"""A cluster within ``salloc``: brought up by hand from the login host, and gone with the allocation."""

from __future__ import annotations

import shlex

from tests.slurm.clusters import Clusters


def test_within_salloc_up_uses_the_hosts_at_hand(clusters: Clusters) -> None:
    slurm = clusters.slurm
    up = shlex.join(
        ["usernetes", "up", "--launcher", "slurm", "--cluster", "by-hand", "--nodes", "2", *clusters.settings]
    )
    script = f"{up} >/dev/null && usernetes kubectl --cluster by-hand get nodes --no-headers && exit 5"
    done = slurm.run(["salloc", "--nodes=2", "--time=10", "sh", "-c", script], timeout=300)
    assert done.returncode == 5, done.stderr
    nodes = [line.split()[:2] for line in done.stdout.splitlines()]  # which hosts is for Slurm to say
    assert [state for _, state in nodes] == ["Ready", "Ready"]
    assert {name for name, _ in nodes} <= set(slurm.members)
    clusters.nothing_left()
