"""Nodes that were lost, as cluster.json keeps them: which, when, why, and what was done about it.

>>> losses = noted([], {"node2": "its broker is lost"}, now="2026-01-02T03:04:05+00:00")
>>> print(words(losses[0]))
node2 at 2026-01-02T03:04:05+00:00: its broker is lost; it is removed when the cluster misses it as well
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

WAITING = "waiting"  # lost, and not yet NotReady
REMOVED = "removed"  # by the cluster's keeper; the cluster is smaller than was asked for
REPLACED = "replaced"
DISMISSED = "dismissed"  # removed by a person, who knows

Loss = Mapping[str, Any]


def noted(losses: Sequence[Loss], lost: Mapping[str, str], now: str = "") -> list[Loss]:
    """`losses` with those of `lost` (node -> why) that are new; nodes that waited and are back are left out."""
    kept = [loss for loss in losses if loss["action"] != WAITING or loss["node"] in lost]
    known = {loss["node"] for loss in kept if loss["action"] == WAITING}
    fresh: list[Loss] = [
        {"node": name, "why": why, "seen": now or _now(), "action": WAITING, "acted": None, "by": []}
        for name, why in lost.items()
        if name not in known
    ]
    return [*kept, *fresh]


def taken_out(losses: Sequence[Loss], removed: Mapping[str, str]) -> list[Loss]:
    """`losses` after nodes were removed without their help (node -> why): awaited ones are removed, others dismissed.

    >>> [loss["action"] for loss in taken_out(noted([], {"a": "lost"}), {"a": "silent", "b": "silent"})]
    ['removed', 'dismissed']
    """
    awaited = {loss["node"] for loss in losses if loss["action"] == WAITING}
    others = {name: why for name, why in removed.items() if name not in awaited}
    return [
        {**loss, "action": DISMISSED if loss["node"] in others else REMOVED, "acted": _now()}
        if loss["action"] == WAITING and loss["node"] in removed
        else loss
        for loss in noted(losses, {**_waiting(losses), **others})
    ]


def replaced(losses: Sequence[Loss], newcomers: Collection[str]) -> list[Loss]:
    """`losses` after nodes came: each stands for one that was removed, the oldest first.

    >>> gone = taken_out(noted([], {"a": "lost"}), {"a": "silent"})
    >>> replaced(gone, ["d", "e"])[0]["by"]
    ['d']
    """
    free = list(newcomers)
    return [
        {**loss, "action": REPLACED, "acted": _now(), "by": [free.pop(0)]}
        if loss["action"] == REMOVED and free
        else loss
        for loss in losses
    ]


def missing(losses: Sequence[Loss]) -> int:
    """How many nodes were removed and not replaced."""
    return sum(loss["action"] == REMOVED for loss in losses)


def words(loss: Loss) -> str:
    """One loss for people."""
    done = {
        WAITING: "it is removed when the cluster misses it as well",
        REMOVED: f"removed at {loss['acted']}",
        REPLACED: f"removed, and replaced by {', '.join(loss['by'])} at {loss['acted']}",
        DISMISSED: f"removed by force at {loss['acted']}",
    }
    return f"{loss['node']} at {loss['seen']}: {loss['why']}; {done[loss['action']]}"


def _waiting(losses: Sequence[Loss]) -> dict[str, str]:
    return {str(loss["node"]): str(loss["why"]) for loss in losses if loss["action"] == WAITING}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
