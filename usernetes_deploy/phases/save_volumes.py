"""Have the nodes write down the volumes that are to be saved; pods go on using them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from usernetes_deploy.changes.context import Saving
from usernetes_deploy.cluster.manifests import VOLUMES
from usernetes_deploy.cluster.resumed import local_volumes
from usernetes_deploy.cluster.savefile import Volume
from usernetes_deploy.errors import UsageError
from usernetes_deploy.launch.base import Host, on_all
from usernetes_deploy.phases.save_objects import SECONDS, ask


class SaveVolumes:
    """Fills in `volumes`: all that lie on nodes' disks, those with a file whose data is saved."""

    title = "save the volumes"

    def check(self, saving: Saving) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def apply(self, saving: Saving) -> str:
        """Raise `UsageError` for a name that is no volume's, `NodeFailures` for nodes that could not write theirs."""
        there = local_volumes(saving.documents["volumes"], VOLUMES)
        meant = chosen(there, saving.wanted)
        by_host = {member.host.name: member for member in saving.members.running()}
        folders = {
            name: [volume.folder for volume in meant if volume.node == member.name] for name, member in by_host.items()
        }
        lost = [volume.claim for volume in meant if volume.node not in {member.name for member in by_host.values()}]
        if lost:
            raise UsageError(
                f"{', '.join(lost)}: the node that has the data does not run", remedy="--volumes without them"
            )

        def write(host: Host) -> dict[str, int]:
            return ask(saving, by_host[host.name], {"volumes": folders[host.name]})

        outcome = on_all(
            [member.host for name, member in by_host.items() if folders[name]], write, deadline=SECONDS + 60
        )
        outcome.check("save the volumes")
        sizes = {folder: size for answer in outcome.results.values() for folder, size in answer.items()}
        names = {volume.name for volume in meant}
        saving.volumes = [
            replace(item, file=f"volumes/{item.name}.tar", size=sizes[item.folder]) if item.name in names else item
            for item in there
        ]
        left = [item.claim for item in there if item.name not in names]
        if left:
            saving.report.line(f"  without the data of {', '.join(left)}: they come back empty")
        size = sum(item.size for item in saving.volumes)
        return f"{len(meant)} of {len(there)}" + (f", {size / 1e6:.1f} MB" if meant else "")

    def undo(self, saving: Saving) -> None:
        """What the nodes have written goes with the objects."""


def chosen(there: Sequence[Volume], wanted: str) -> Collection[Volume]:
    """The volumes that ``--volumes`` means: none, all, or NAMESPACE/NAME,... Raises `UsageError`.

    >>> chosen([Volume("pvc-1", "default/data", "node0", "pvc-1_default_data")], "default/date")
    Traceback (most recent call last):
    usernetes_deploy.errors.UsageError: --volumes: there is no volume default/date on a node; there are default/data
    """
    if wanted in ("none", "all"):
        return list(there) if wanted == "all" else []
    names = [name for name in wanted.split(",") if name]
    claims = {volume.claim: volume for volume in there}
    unknown = [name for name in names if name not in claims]
    if unknown or not names:
        raise UsageError(
            f"--volumes: there is no volume {', '.join(unknown) or wanted} on a node; "
            f"there are {', '.join(sorted(claims)) or 'none'}"
        )
    return [claims[name] for name in dict.fromkeys(names)]
