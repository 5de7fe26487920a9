"""What a build needs is looked for first, and all that is missing is said at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from usernetes_deploy.bundle import components, tools
from usernetes_deploy.errors import BundleError

CHOSEN = components.load().chosen()


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in PATH; programs are put there with `program`."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "bin"


def program(path: Path, name: str, says: str, exit_code: int = 0) -> None:
    """A program that prints a line."""
    (path / name).write_text(f"#!/bin/sh\necho '{says}'\nexit {exit_code}\n")
    (path / name).chmod(0o755)


def test_everything_missing_is_said_at_once_with_its_remedy(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "_static", lambda _: None)
    with pytest.raises(BundleError) as error:
        tools.find(CHOSEN, "1.26.6")
    text = str(error.value)
    assert "the Go compiler is missing" in text and "install Go 1.26.6 or newer" in text
    assert "the C compiler gcc is missing" in text and "Debian: gcc libc6-dev libseccomp-dev pkg-config" in text
    assert "no static busybox" in text and "install busybox-static" in text
    assert "usernetes bundle import FILE" in text or "bundle import FILE" in text


@pytest.mark.parametrize("version", ["go1.21.13", "go1.26.5", "go1.9"])
def test_too_old_a_go_is_said_with_both_versions(version: str, path: Path) -> None:
    program(path, "go", version)
    go_only = [component for component in CHOSEN if component.name == "etcd"]
    with pytest.raises(BundleError, match=rf"Go is too old: .*/go is {version[2:]}, the least is 1.26.6"):
        tools.find(go_only, "1.26.6")


@pytest.mark.parametrize("version", ["go1.26.6", "go1.27", "go1.26.10", "go1.27rc1", "go1.26.8 X:nocoverageredesign"])
def test_a_go_that_is_new_enough_is_taken(version: str, path: Path) -> None:
    program(path, "go", version)
    go_only = [component for component in CHOSEN if component.name == "etcd"]
    assert tools.find(go_only, "1.26.6").go == version


def test_a_go_that_does_not_work_counts_as_missing(path: Path) -> None:
    program(path, "go", "broken", exit_code=1)
    with pytest.raises(BundleError, match="the Go compiler is missing"):
        tools.find([component for component in CHOSEN if component.name == "etcd"], "1.26.6")


def test_a_missing_libseccomp_is_said_before_the_build(path: Path) -> None:
    program(path, "go", "go1.27")
    program(path, "gcc", "gcc 12")
    program(path, "pkg-config", "1.8")
    program(path, "gcc", "cannot find -lseccomp", exit_code=1)
    (path / "gcc").write_text("#!/bin/sh\n[ $1 = --version ] && echo gcc 12 && exit 0\nexit 1\n")
    with pytest.raises(BundleError, match="no static libc and libseccomp to link runc with"):
        tools.find([component for component in CHOSEN if component.name == "runc"], "1.26.6")


def test_nothing_is_asked_for_that_is_not_needed(path: Path) -> None:
    program(path, "go", "go1.27")
    found = tools.find([component for component in CHOSEN if component.name == "etcd"], "1.26.6")
    assert (found.cc, found.busybox) == ("", None)


def test_a_dynamic_busybox_is_not_taken(tmp_path: Path) -> None:
    assert tools._static(["/nowhere/busybox", "/bin/sh"]) is None
    (tmp_path / "script").write_text("#!/bin/sh\n")
    assert tools._static([str(tmp_path / "script")]) is None
