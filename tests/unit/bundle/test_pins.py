"""Pins: made from what somebody has checked, never changed in silence."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from usernetes_deploy.bundle import components, pins
from usernetes_deploy.errors import BundleError, UsageError

PARTS = components.load().components
ETCD = next(component for component in PARTS if component.name == "etcd")
assert ETCD.release
URL = ETCD.release.url
NAME = pins.file_name(URL)
SUM = hashlib.sha256(b"etcd").hexdigest()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A file of pins that is not there yet."""
    return tmp_path / "config" / "pins.yaml"


def test_an_archive_pins_its_own_url(tmp_path: Path, target: Path) -> None:
    (tmp_path / NAME).write_bytes(b"etcd")
    assert pins.pin([tmp_path / NAME], PARTS, target) == {URL: SUM}
    assert pins.load(target) == {URL: SUM}


@pytest.mark.parametrize("line", ["{sum}  {name}", "{sum} *dist/{name}", "{sum}  ./{name}\nffff  other"])
def test_a_list_of_sums_pins_what_it_names(line: str, tmp_path: Path, target: Path) -> None:
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  other.tar.gz\n{line.format(sum=SUM.upper(), name=NAME)}\n")
    assert pins.pin([tmp_path / "SHA256SUMS"], PARTS, target) == {URL: SUM}


def test_a_bare_sum_beside_an_archive_is_understood(tmp_path: Path, target: Path) -> None:
    (tmp_path / f"{NAME}.sha256").write_text(f"{SUM}\n")
    assert pins.pin([tmp_path / f"{NAME}.sha256"], PARTS, target) == {URL: SUM}


@pytest.mark.parametrize("content", [b"hello\n", b"", b"\xff\xfe", b"x" * (2 << 20)])
def test_a_file_that_belongs_to_no_component_is_wrong_use(content: bytes, tmp_path: Path, target: Path) -> None:
    (tmp_path / "other").write_bytes(content)
    with pytest.raises(UsageError, match="neither an archive of a component nor a list") as error:
        pins.pin([tmp_path / "other"], PARTS, target)
    assert NAME in (error.value.remedy or "")
    assert not target.exists()


def test_a_file_that_is_not_there_is_wrong_use(tmp_path: Path, target: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing: No such file"):
        pins.pin([tmp_path / "nothing"], PARTS, target)


def test_a_pin_is_kept_and_added_to_but_not_replaced(tmp_path: Path, target: Path) -> None:
    target.parent.mkdir()
    target.write_text(f"https://example.org/a: '{'1' * 64}'\n")
    (tmp_path / NAME).write_bytes(b"etcd")
    pins.pin([tmp_path / NAME], PARTS, target)
    assert set(pins.load(target)) == {"https://example.org/a", URL}
    (tmp_path / NAME).write_bytes(b"another")
    with pytest.raises(BundleError, match="which is not"):
        pins.pin([tmp_path / NAME], PARTS, target)
    assert pins.load(target)[URL] == SUM


def test_a_later_file_of_pins_overrides_and_a_missing_one_is_empty(tmp_path: Path) -> None:
    for name, digit in (("one", "1"), ("two", "2")):
        (tmp_path / name).write_text(f"{URL}: '{digit * 64}'\n")
    assert pins.load(tmp_path / "one", tmp_path / "two", tmp_path / "none") == {URL: "2" * 64}


@pytest.mark.parametrize("text", ["- a", "a: b", "a: [", "just words", f"{URL}: {'g' * 64}"])
def test_a_bad_file_of_pins_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "pins.yaml").write_text(text)
    with pytest.raises(BundleError, match=r"pins.yaml"):
        pins.load(tmp_path / "pins.yaml")


def test_the_shipped_pins_can_be_read() -> None:
    pins.load(pins.SHIPPED)


def test_a_sites_pins_are_where_the_xdg_rules_say() -> None:
    assert pins.site_file({"XDG_CONFIG_HOME": "/etc/x"}) == Path("/etc/x/usernetes/pins.yaml")
