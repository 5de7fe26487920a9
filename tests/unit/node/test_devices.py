"""What is said of device files that cannot be offered."""

from __future__ import annotations

from pathlib import Path

import pytest

from usernetes_deploy.node import devices


def one(*paths: str) -> list[dict[str, object]]:
    return [{"name": "x", "paths": list(paths), "count": 1}]


def test_real_device_files_are_fine() -> None:
    assert devices.problems(one("/dev/nul[l]", "/dev/zero")) == []


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("/dev/nothing*", "matches nothing on this host"),
        ("/dev", "is a directory, no device file"),
        ("/etc/passwd", "is a file, no device file"),
    ],
)
def test_a_path_that_is_no_device_file_is_named(pattern: str, words: str) -> None:
    assert devices.problems(one(pattern)) == [f"device x: {pattern} {words}"]


def test_cdi_needs_a_vendors_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "CDI_FOLDERS", (str(tmp_path),))
    assert "needs a vendor's file" in devices.problems(one("cdi:example.org/gpu=0"))[0]
    (tmp_path / "vendor.json").write_text("{}")
    assert devices.problems(one("cdi:example.org/gpu=0")) == []
