"""CPU lists of the kernel and of a spec: read, or refused before they take all memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usernetes_deploy import cpus


@given(st.sets(st.integers(0, cpus.MOST - 1), min_size=1))
def test_what_is_written_is_read(numbers: set[int]) -> None:
    assert cpus.parse(cpus.text_of(numbers)) == numbers


@pytest.mark.parametrize("text", ["", "a", "3-1", "0-99999999", "99999999999999999999", "-1", "1,", "0--1", "٣"])
def test_what_is_no_list_is_refused_with_what_was_given(text: str) -> None:
    with pytest.raises(ValueError, match="expected CPUs as in 0-1,8"):
        cpus.parse(text)
