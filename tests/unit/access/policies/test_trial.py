"""Files of objects to try."""

from __future__ import annotations

import pytest

from usernetes_deploy.access.policies.trial import Outcome, read_tests
from usernetes_deploy.errors import UsageError


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "there is no object to try"),
        ("passed: []", "unknown field"),
        ("taken: 3", "expected a list of objects"),
        ("taken: [3]", r"taken\[0\]: expected an object with"),
        ("refused: [{apiVersion: v1, kind: Pod}]", r"refused\[0\]: expected an object with"),
        ("- a", "expected a mapping"),
    ],
)
def test_a_file_that_is_wrong_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_tests(text, "tests.yaml")


def test_an_outcome_is_right_when_it_went_as_wanted() -> None:
    assert Outcome("pod a", "taken", None).is_right
    assert Outcome("pod a", "refused", "policy x").is_right
    assert not Outcome("pod a", "taken", "policy x").is_right
    assert not Outcome("pod a", "refused", None).is_right
