"""Verbs about container images: load archives on all nodes, list what is there."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from invoke.context import Context
from invoke.tasks import task

from usernetes_deploy.cluster import status as statuses
from usernetes_deploy.cluster.launchers import launcher_from_state
from usernetes_deploy.cluster.nodes import staged_root
from usernetes_deploy.commands.common import CLUSTER_HELP, node_program, report, running, show
from usernetes_deploy.console.text import table
from usernetes_deploy.errors import CommandFailed, UsageError, UsernetesError
from usernetes_deploy.launch.base import Host, Launcher, on_all
from usernetes_deploy.node.config import CONTAINERD_SOCKET

LOAD_DEADLINE = 1800.0
SAVE = "docker save -o app.tar NAME:TAG, or skopeo copy ... docker-archive:app.tar:NAME:TAG"
LOADED = "usernetes.dev/loaded"  # a label of images


@task(
    positional=["archive"],
    help={"archive": "a docker or OCI archive (tar), or the name of an image of the bundle", "cluster": CLUSTER_HELP},
)
def load(_: Context, archive: str, cluster: str | None = None) -> None:
    """Load a docker or OCI archive on every node, side by side, and print the names of its images.

    Examples:

      usernetes images load app.tar
      usernetes images load traefik
    """
    path = Path(archive).absolute()
    named = not path.exists() and "/" not in archive and not path.suffix
    if not named and not path.is_file():
        raise UsageError(f"{archive} is not a file", remedy=SAVE)
    state = running(cluster)
    document = state.read()
    if named:
        offered = sorted(item.stem for item in Path(document["bundle"]["root"], "images").glob("*.tar"))
        if archive not in offered:
            raise UsageError(
                f"{archive} is neither a file nor an image of the cluster's bundle ({', '.join(offered)})",
                remedy=f"usernetes bundle build --with {archive}, and bring the cluster up with it",
            )
    launcher = launcher_from_state(document["launcher"], node_program())
    record = state.record()
    members = {member.name: member for member in record.members.present()}

    def put(host: Host) -> list[str]:
        member = members[host.name]
        staged = staged_root(record, member)
        ctr = [
            *launcher.node_program(host), "enter", member.directory, "--",
            str(staged / "bin" / "ctr"), "--namespace=k8s.io", f"--address={CONTAINERD_SOCKET}", "images",
        ]  # fmt: skip
        if named:
            return import_archive(launcher, host, ctr, str(staged / "images" / f"{archive}.tar"), path.name)
        # Not under its own name: `etcd` is a folder there.
        there = f"{member.directory}/load-{os.getpid()}.tar"
        launcher.send(host, path, there, timeout=LOAD_DEADLINE)
        try:
            return import_archive(launcher, host, ctr, there, path.name)
        finally:
            launcher.run(host, ["rm", "-f", there])

    try:
        loaded = on_all((member.host for member in members.values()), put, deadline=LOAD_DEADLINE)
    finally:
        launcher.close()
    names = sorted({name for found in loaded.check(f"load {path.name}").results.values() for name in found})
    if not names:
        reason = "no image in it has a name, so none was loaded"
        raise UsernetesError(reason, tried=f"load {path.name}", remedy=SAVE)
    print("\n".join(names))
    report().line(f"{path.name} is on {len(members)} {'node' if len(members) == 1 else 'nodes'}")


def import_archive(launcher: Launcher, host: Host, ctr: Sequence[str], there: str, name: str) -> list[str]:
    """Have `ctr`, ``ctr ... images``, import the file `there`, which users know as `name`; the names of its images.

    Raises `CommandFailed`.
    """
    mark = secrets.token_hex(8)
    done = launcher.run(host, [*ctr, "import", f"--label={LOADED}={mark}", there], timeout=LOAD_DEADLINE)
    if done.returncode:
        said = "\n".join(line for line in done.stderr.splitlines() if not line.startswith("time="))
        raise CommandFailed(["ctr", "images", "import", name], done.returncode, said, node=host.name)
    # What it prints of its progress is cut off when it is done, so the names are asked for.
    listed = launcher.run(host, [*ctr, "list", "--quiet", f'labels."{LOADED}"=={mark}'])
    names = listed.check(host.name).stdout.split()
    for found in names:
        if qualified(found) != found:  # an OCI archive's: the kubelet asks for the full name
            tag = [*ctr, "tag", "--force", found, qualified(found)]
            launcher.run(host, tag, timeout=LOAD_DEADLINE).check(host.name)
    return [qualified(found) for found in names]


def qualified(name: str) -> str:
    """The name under which a kubelet looks for the image `name`.

    >>> [qualified(name) for name in ("app:1", "local/app:1", "localhost/app:1", "quay.io/a/b:1")]
    ['docker.io/library/app:1', 'docker.io/local/app:1', 'localhost/app:1', 'quay.io/a/b:1']
    """
    first, slash, _ = name.partition("/")
    if not slash:
        return f"docker.io/library/{name}"
    return name if "." in first or ":" in first or first == "localhost" else f"docker.io/{name}"


@task(name="list", help={"cluster": CLUSTER_HELP, "json": "as JSON"})
def list_images(_: Context, cluster: str | None = None, json: bool = False) -> None:
    """List the images on each node.

    Examples:

      usernetes images list
    """
    found = statuses.collect(running(cluster), node_program())
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
