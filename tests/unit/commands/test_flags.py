"""Flags that verbs share: each is a verb's own on its page, and reaches it as it was said."""

from __future__ import annotations

from typing import Any

import pytest
from invoke.context import Context
from invoke.tasks import task

from usernetes_deploy.console.flags import SPEC_HELP, SpecFlags, assigned, flags_of, with_spec_flags
from usernetes_deploy.errors import UsageError


@task(iterable=["set"], help={**SPEC_HELP, "quick": "do hurry"})
@with_spec_flags
def verb(_: Context, flags: SpecFlags, quick: bool = False) -> None:
    """Return what it was told, as no verb does."""
    TOLD.append((flags, quick))


TOLD: list[Any] = []


def test_a_verb_with_a_specs_flags_takes_them_beside_its_own() -> None:
    alone, valued = flags_of(verb)
    assert alone == {"--accept-new", "-a", "--quick", "-q"}
    assert {"--file", "-f", "--nodes", "-n", "--launcher", "-l", "--set", "-s"} <= valued
    values = dict.fromkeys(SPEC_HELP)
    verb(Context(), **{**values, "nodes": "3", "set": ["network.mtu=1400"]}, quick=True)
    flags, quick = TOLD.pop()
    said = {path: value for path, value in flags.fields().items() if value is not None}
    assert (said, quick) == ({"nodes": 3, "network.mtu": 1400}, True)


def test_asking_for_a_verbs_flags_leaves_its_page_their_texts() -> None:
    flags_of(verb)
    assert {**SPEC_HELP, "quick": "do hurry"}.items() <= verb.help.items()


def test_a_field_that_is_set_counts_more_than_its_flag() -> None:
    assert SpecFlags(nodes="3", set=["nodes=4"]).fields()["nodes"] == 4


@pytest.mark.parametrize("wrong", ["mtu", ""])
def test_what_sets_no_field_is_quoted(wrong: str) -> None:
    with pytest.raises(UsageError, match=f"--set {wrong}: expected FIELD=VALUE"):
        assigned([wrong])
