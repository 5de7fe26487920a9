"""cluster.json: what was asked for and what was made of it, and what is shown of members that were lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from usernetes_deploy import __version__
from usernetes_deploy.cluster.membership import Member, Membership, Place, State
from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.launch.base import Host

FIELDS: Mapping[str, type] = {
    "name": str, "id": str, "phase": str, "created": str, "version": str, "spec": dict, "launcher": dict,
    "bundle": dict, "members": list, "phases": dict,
}  # fmt: skip


@dataclass
class Record:
    """What cluster.json says. `bundle` has name, digest and root; `phases` are seconds by phase, of all changes.

    `phase` is starting, growing, running, degraded or stopped.
    """

    name: str
    id: str
    created: str  # ISO 8601, UTC
    spec: Mapping[str, Any]
    bundle: Mapping[str, str]
    launcher: Mapping[str, Any]
    members: Membership
    phase: str = "starting"
    phases: Mapping[str, float] = field(default_factory=dict)
    version: str = __version__

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Record:
        """That of a cluster.json; raises `UsernetesError` that names every field which is not as `document` made it."""
        need_fields(document)
        record = cls(**{**{name: document[name] for name in FIELDS}, "members": members_of(document)})
        _ = record.server  # or it says what keeps it from being known
        return record

    @property
    def server(self) -> str:
        """The API's address on the hosts' network."""
        first = self.members.first.at
        return f"https://{first.address}:{first.api_port}"

    def document(self) -> dict[str, Any]:
        """The cluster.json."""
        fields = {name: getattr(self, name) for name in FIELDS}
        return {**fields, "server": self.server, "members": written(self.members)}


def need_fields(document: Mapping[str, Any]) -> None:
    """Raise `UsernetesError` that names every field of a cluster.json which is not there, or of another type."""
    lacking = [name for name, kind in FIELDS.items() if not isinstance(document.get(name), kind)]
    if not lacking:
        lacking += [f"launcher.{name}" for name in ("launcher",) if name not in document["launcher"]]
        lacking += [f"bundle.{name}" for name in ("name", "root") if name not in document["bundle"]]
    if lacking:
        raise UsernetesError(f"it has no proper {', '.join(lacking)}")


def members_of(document: Mapping[str, Any]) -> Membership:
    """The members of a cluster.json; raises `UsernetesError` for a member that is not as `written` wrote it."""
    members = []
    for number, entry in enumerate(document["members"]):
        try:
            members.append(_member(entry))
        except (KeyError, TypeError, ValueError) as error:
            raise UsernetesError(f"members[{number}] is not complete: {error!r}") from error
    return Membership(members)


def written(members: Membership) -> list[dict[str, Any]]:
    """The members for cluster.json."""
    return [
        {
            "name": member.name,
            "index": member.index,
            "state": str(member.state),
            "since": member.since,
            "why": member.why,
            "lost": member.lost,
            "silent": member.silent,
            "replacedBy": member.replaced_by,
            "certificatesEnd": member.certificates_end,
            "host": {"name": member.host.name, "address": member.host.address, "where": member.host.where},
            **(_place_written(member.place) if member.place else {}),
            "publicKey": member.public_key,
            "handle": dict(member.handle),
        }
        for member in members
    ]


def losses_of(members: Membership) -> list[dict[str, Any]]:
    """What `status` says of members that were lost, or removed without their help (see schema/status.json).

    >>> gone = Member("node2", 2, Host("node2"), State.LEFT, lost="2026-01-02T03:04:05+00:00", why="its broker is lost")
    >>> losses_of(Membership([gone]))[0]["action"]
    'removed'
    """
    return [_loss(member) for member in members if member.state in (State.LOST, State.LEFT)]


def loss_words(loss: Mapping[str, Any]) -> str:
    """One loss for people."""
    done = {
        "waiting": "it is removed when the cluster misses it as well",
        "removed": f"removed at {loss['acted']}",
        "replaced": f"removed, and replaced by {', '.join(loss['by'])} at {loss['acted']}",
        "dismissed": f"removed by force at {loss['acted']}",
    }
    return f"{loss['node']} at {loss['seen']}: {loss['why']}; {done[loss['action']]}"


def _loss(member: Member) -> dict[str, Any]:
    left = member.state is State.LEFT
    removed = "replaced" if member.replaced_by else "removed" if member.lost else "dismissed"
    return {
        "node": member.name,
        "why": member.why,
        "seen": member.lost or member.since,
        "action": removed if left else "waiting",
        "acted": member.since if left else None,
        "by": [member.replaced_by] if member.replaced_by else [],
    }


def _member(entry: Mapping[str, Any]) -> Member:
    host = entry["host"]
    return Member(
        name=str(entry["name"]),
        index=int(entry["index"]),
        host=Host(str(host["name"]), str(host["address"]), str(host["where"])),
        state=State(entry["state"]),
        place=_place(entry) if "directory" in entry else None,
        public_key=str(entry["publicKey"]),
        handle=dict(entry["handle"]),
        since=str(entry["since"]),
        why=str(entry["why"]),
        lost=str(entry["lost"]),
        silent=bool(entry["silent"]),
        replaced_by=str(entry["replacedBy"]),
        certificates_end=str(entry.get("certificatesEnd", "")),  # records of earlier versions have none
    )


def _place(entry: Mapping[str, Any]) -> Place:
    return Place(
        address=str(entry["address"]),
        interface=str(entry["interface"]),
        why=str(entry["interfaceWhy"]),
        mtu=int(entry["mtu"]),
        base=Path(str(entry["base"])),
        node_dir=Path(str(entry["directory"])),
        outer=str(entry["outer"]),
        cgroups=str(entry["cgroups"]),
        manager=str(entry["manager"]),
        nameservers=tuple(map(str, entry["nameservers"])),
        mesh_port=int(entry["meshPort"]),
        api_port=None if entry["apiPort"] is None else int(entry["apiPort"]),
    )


def _place_written(place: Place) -> dict[str, Any]:
    return {
        "address": place.address,
        "interface": place.interface,
        "interfaceWhy": place.why,
        "mtu": place.mtu,
        "directory": str(place.node_dir),
        "base": str(place.base),
        "outer": place.outer,
        "cgroups": place.cgroups,
        "manager": place.manager,
        "nameservers": list(place.nameservers),
        "meshPort": place.mesh_port,
        "apiPort": place.api_port,
    }
