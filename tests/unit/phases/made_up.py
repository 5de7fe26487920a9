"""A whole `up` over simulated hosts: recorded preflight answers, a small bundle, and nothing that really runs."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.unit.bundle.conftest import FILES, write_bundle
from usernetes_deploy.bundle import contents, locate
from usernetes_deploy.changes.context import BringUp
from usernetes_deploy.changes.phase import Report
from usernetes_deploy.cluster import spec
from usernetes_deploy.cluster.state import ClusterState
from usernetes_deploy.launch.base import Completed, Host
from usernetes_deploy.launch.fake import Behaviour, FakeLauncher

RECORDED = Path(__file__).parents[2] / "data" / "facts"


def answers(case: str) -> str:
    """What a host of this recorded case answers."""
    return (RECORDED / case / "answer.txt").read_text()


def preflight(recorded: Mapping[str, str]) -> object:
    """Answers the preflight script with recorded answers (by host; "" for the others), all ports free."""

    def answer(host: Host, argv: Sequence[str], stdin: bytes) -> Completed:
        text = recorded.get(host.name, recorded[""])
        asked = re.findall(r"(?:udp|tcp)/\d+", stdin.decode())
        free = "".join(f"{port}=free\n" for port in dict.fromkeys(asked))
        text = re.sub(r"(?m)^(@usernetes \d+ ports)$", lambda match: match[1] + "\n" + free.rstrip(), text)
        # Recorded hosts are one machine: give each its own address, and today's clock.
        text = text.replace("192.0.2.13", f"192.0.2.{20 + int(host.where)}")
        text = re.sub(r"(?m)^epoch=\d+$", f"epoch={int(time.time())}", text)
        return Completed(argv, 0, text, "")

    return answer


def make(
    tmp_path: Path,
    nodes: int = 3,
    *,
    recorded: Mapping[str, str] | None = None,
    behaviours: Mapping[str, Behaviour] | None = None,
    optional: Sequence[str] = ("flanneld", "metrics-server"),
    **fields: object,
) -> BringUp:
    """An `up` of `nodes` simulated hosts, as the recorded Debian unless `recorded` says otherwise."""
    files = {**FILES, "images/busybox.tar": b"busybox", **{f"bin/{name}": b"" for name in optional}}
    root = write_bundle(tmp_path / "bundle", files)
    component = {"name": "kubernetes", "version": "v1.36.3", "module": "k8s.io/kubernetes", "licence": "Apache-2.0"}
    images = {f"localhost/usernetes/{name}:1": f"images/{name}.tar" for name in ("pause", "busybox")}
    (root / "manifest.json").unlink()
    contents.write_manifest(root, contents.describe(root, components=[component], images=images))
    wanted = spec.load({"nodes": nodes, "name": "demo", "waitSeconds": 1, **fields})
    table = {"": answers("debian-12-ready"), **(recorded or {})}
    launcher = FakeLauncher(nodes, behaviours=behaviours, answers={"sh": preflight(table)})  # type: ignore[dict-item]
    return BringUp(
        spec=wanted,
        launcher=launcher,
        state=ClusterState(tmp_path / "state", "demo"),
        found_bundle=locate(root, None),
        report=Report(io.StringIO()),
    )
