"""The members in cluster.json: written and read again as they were, and what is said of those that were lost."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.cluster.made_up import SINCE, member
from usernetes_deploy.cluster.membership import Member, Membership, State
from usernetes_deploy.cluster.record import loss_words, losses_of, members_of, written
from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.launch.base import Host


def test_members_are_read_as_they_were_written() -> None:
    members = Membership(
        [
            member(0, cgroups="delegated"),
            replace(member(1, State.LEFT), silent=True, lost=SINCE, why="no answer", replaced_by="node3"),
            Member("node2", 2, Host("node2", "192.0.2.3", "2"), State.GIVEN_UP, why="not fit"),
        ]
    )
    document = json.loads(json.dumps({"members": written(members)}))
    assert list(members_of(document)) == list(members)


@pytest.mark.parametrize("break_it", [{"state": "flying"}, {"index": "first"}, {"host": None}, {"meshPort": None}])
def test_a_member_that_is_not_complete_is_named(break_it: dict[str, Any]) -> None:
    entries = written(Membership([member(0), member(1)]))
    entries[1] = {**entries[1], **break_it}
    with pytest.raises(UsernetesError, match=r"members\[1\] is not complete"):
        members_of({"members": entries})


LOSSES = {
    "waiting": replace(member(2, State.LOST), lost=SINCE),
    "removed": replace(member(2, State.LEFT), lost=SINCE),
    "replaced": replace(member(2, State.LEFT), lost=SINCE, replaced_by="node3"),
    "dismissed": member(2, State.LEFT),
}


@pytest.mark.parametrize("action", LOSSES)
def test_a_loss_says_what_was_done_about_it(action: str) -> None:
    (loss,) = losses_of(Membership([member(0), replace(LOSSES[action], why="its broker is lost")]))
    assert (loss["node"], loss["action"], loss["seen"]) == ("node2", action, SINCE)
    assert (loss["acted"] is None) == (action == "waiting")
    assert loss["by"] == (["node3"] if action == "replaced" else [])
    assert loss_words(loss).startswith(f"node2 at {SINCE}: its broker is lost; ")
