"""Verbs about container images: load archives on all nodes, list what is there."""

from __future__ import annotations

import os
from pathlib import Path

from invoke.context import Context
from invoke.tasks import task

from usernetes_deploy import status as statuses
from usernetes_deploy.commands.common import CLUSTER_HELP, chosen, node_program, report, show
from usernetes_deploy.errors import CommandFailed, UsageError
from usernetes_deploy.launch.base import Host, on_all
from usernetes_deploy.launchers import launcher_from_state
from usernetes_deploy.node.config import CONTAINERD_SOCKET
from usernetes_deploy.nodes import members_of, staged_root
from usernetes_deploy.text import table

LOAD_DEADLINE = 1800.0


@task(
    positional=["archive"],
    help={"archive": "a docker or OCI archive (tar), or the name of an image of the bundle", "cluster": CLUSTER_HELP},
)
def load(_: Context, archive: str, cluster: str | None = None) -> None:
    """Load a docker or OCI archive on every node, side by side.

    Examples:

      usernetes images load app.tar
      usernetes images load traefik
    """
    path = Path(archive).absolute()
    named = not path.exists() and "/" not in archive and not path.suffix
    if not named and not path.is_file():
        raise UsageError(
            f"{archive} is not a file", remedy="docker save -o app.tar IMAGE, or skopeo copy ... oci-archive:app.tar"
        )
    state = chosen(cluster)
    document = state.read()
    if named:
        offered = sorted(item.stem for item in Path(document["bundle"]["root"], "images").glob("*.tar"))
        if archive not in offered:
            raise UsageError(
                f"{archive} is neither a file nor an image of the cluster's bundle ({', '.join(offered)})",
                remedy=f"usernetes bundle build --with {archive}, and bring the cluster up with it",
            )
    launcher = launcher_from_state(document["launcher"], node_program())
    members = {member.host.name: member for member in members_of(document)}

    def put(host: Host) -> None:
        member = members[host.name]
        staged = staged_root(document, member)
        # Not under its own name: `etcd` is a folder there.
        there = str(staged / "images" / f"{archive}.tar") if named else f"{member.directory}/load-{os.getpid()}.tar"
        if not named:
            launcher.send(host, path, there, timeout=LOAD_DEADLINE)
        ctr = str(staged / "bin" / "ctr")
        argv = [
            *launcher.node_program(host), "enter", member.directory, "--",
            ctr, "--namespace=k8s.io", f"--address={CONTAINERD_SOCKET}", "images", "import", there,
        ]  # fmt: skip
        try:
            done = launcher.run(host, argv, timeout=LOAD_DEADLINE)
            if done.returncode:
                said = "\n".join(line for line in done.stderr.splitlines() if not line.startswith("time="))
                raise CommandFailed(["ctr", "images", "import", path.name], done.returncode, said, node=host.name)
        finally:
            if not named:
                launcher.run(host, ["rm", "-f", there])

    try:
        on_all((member.host for member in members.values()), put, deadline=LOAD_DEADLINE).check(f"load {path.name}")
    finally:
        launcher.close()
    report().line(f"{path.name} is on {len(members)} {'node' if len(members) == 1 else 'nodes'}")


@task(name="list", help={"cluster": CLUSTER_HELP, "json": "as JSON"})
def list_images(_: Context, cluster: str | None = None, json: bool = False) -> None:
    """List the images on each node.

    Examples:

      usernetes images list
    """
    found = statuses.collect(chosen(cluster), node_program())
    names = sorted({image for node in found["nodes"] for image in node["images"]})
    where = {name: [node["name"] for node in found["nodes"] if name in node["images"]] for name in names}
    if json:
        show([{"image": name, "nodes": nodes} for name, nodes in where.items()])
        return
    everywhere = len(found["nodes"])
    print(
        table(
            [["IMAGE", "NODES"]]
            + [[name, "all" if len(nodes) == everywhere else ", ".join(nodes)] for name, nodes in where.items()]
        )
    )


TASKS = (load, list_images)
