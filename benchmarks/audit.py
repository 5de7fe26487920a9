"""What the audit trail costs: writes a second through the API, and the API server's CPU at rest, with it and without.

Brings up two clusters of one node on this host, one whose spec says ``access.audit: false`` (the baseline). They take
turns, so that both see the same machine::

    python benchmarks/audit.py [--rounds 6] [--seconds 5] [--rest 60]

A write is a ConfigMap made and deleted again by the administrator, which the trail has in full. CPU is the API server's
own, in percent of one core, counted over `--rest` seconds in which both are left alone. It cleans up after itself.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

from verbs import usernetes

from usernetes_deploy.api import Api
from usernetes_deploy.cluster.state import choose, state_root

NAMES = {"without": False, "with": True}
TICK = os.sysconf("SC_CLK_TCK")
SETTLE = 60.0  # seconds: a cluster that has just come up is not at rest


def rate(api: Api, seconds: float) -> float:
    """Requests a second of the administrator's, one after the other, for so long."""
    path, made, began = "/api/v1/namespaces/default/configmaps", 0, time.perf_counter()
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "audited"}, "data": {"x": "y" * 200}}
    while time.perf_counter() - began < seconds:
        api.request("POST", path, body)
        api.request("DELETE", f"{path}/audited")
        made += 2
    return made / (time.perf_counter() - began)


def api_server(cluster: str) -> int:
    """The process id of a cluster's API server, as this machine numbers it."""
    folder = json.loads(usernetes("status", "--cluster", cluster, "--json"))["nodes"][0]["directory"]
    wanted = f"{folder}/logs/"
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            argv = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            log = str((entry / "fd" / "2").readlink())
        except OSError:
            continue
        if argv[0].endswith("/kube-apiserver") and (log.startswith(wanted) or wanted in " ".join(argv)):
            return int(entry.name)
    raise SystemExit(f"{cluster}: no kube-apiserver that logs to {wanted}")


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rest", type=float, default=60)
    options = parser.parse_args()
    try:
        for name, audited in NAMES.items():
            with tempfile.NamedTemporaryFile("w", suffix=".yaml") as spec:
                spec.write(f"access: {{audit: {str(audited).lower()}}}\n")
                spec.flush()
                usernetes("up", "--cluster", f"audit-{name}", "--file", spec.name)
        apis = {name: choose(state_root(os.environ), f"audit-{name}", os.environ).api() for name in NAMES}
        rates: dict[str, list[float]] = {name: [] for name in NAMES}
        for api in apis.values():
            rate(api, 1)
        for number in range(options.rounds):
            for name in NAMES if number % 2 else reversed(NAMES):
                rates[name].append(rate(apis[name], options.seconds))
        time.sleep(SETTLE)
        pids = {name: api_server(f"audit-{name}") for name in NAMES}
        before = {name: cpu(pid) for name, pid in pids.items()}
        time.sleep(options.rest)
        rest = {name: 100 * (cpu(pid) - before[name]) / options.rest for name, pid in pids.items()}
        pairs = [one / two for one, two in zip(rates["with"], rates["without"], strict=True)]
        print("                            without     with   ratio")
        one, two = (statistics.median(rates[name]) for name in NAMES)
        print(f"writes a second (median)  {one:9.0f}{two:9.0f}{statistics.median(pairs):8.3f}")
        print(f"  ratios of {options.rounds} rounds: {' '.join(f'{pair:.3f}' for pair in sorted(pairs))}")
        print(
            f"API server at rest, %     {rest['without']:9.2f}{rest['with']:9.2f}{rest['with'] / rest['without']:8.2f}"
        )
        print("goal: within 3 %")
    finally:
        for name in NAMES:
            usernetes("down", "--cluster", f"audit-{name}")


if __name__ == "__main__":
    main()
