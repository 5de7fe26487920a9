"""Examples in docstrings are tests; those marked ``+SKIP`` show what needs a cluster or a bundle, and are only read."""

from __future__ import annotations

import doctest

import pytest

collect_ignore_glob = ["tests/**/fake_*.py"]  # scripts: they import what stands beside them


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out examples that run nothing."""
    items[:] = [item for item in items if not (isinstance(item, pytest.DoctestItem) and _runs_nothing(item))]


def _runs_nothing(item: pytest.DoctestItem) -> bool:
    return item.dtest is not None and all(example.options.get(doctest.SKIP) for example in item.dtest.examples)
