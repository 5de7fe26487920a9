"""One node without XDG_RUNTIME_DIR under AppArmor: limits of processes and memory, and evictions, one by one.

For a machine so slow that a cluster for each of them takes too long.
"""

from __future__ import annotations

from tests.vm.clusters import cluster
from tests.vm.machine import Machine
from tests.vm.scenarios import eviction_disk, eviction_memory, limits, no_runtime_dir, pids


def run(machine: Machine) -> None:
    """See it, or raise `AssertionError`; what fails does not keep the rest from being seen."""
    spec = {**eviction_disk.spec(machine), **eviction_memory.spec(machine)}
    failed = []
    pids.prepare(machine)
    with cluster(machine, "alice", "together", begin=no_runtime_dir.BEGIN, **spec) as made:
        print("  up", flush=True)
        for part in (no_runtime_dir, pids, eviction_memory, limits, eviction_disk):
            try:
                part.see(machine, made)
                print(f"  seen: {part.__doc__}", flush=True)
            except AssertionError as error:
                failed.append(f"{part.__name__}: {error}")
                print(f"  FAIL {failed[-1][-3000:]}", flush=True)
            made.kubectl("delete", "pods", "--all", "--wait=false")
    assert not failed, "\n".join(failed)
