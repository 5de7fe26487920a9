"""The site's file: whose it has to be, and that a spec only adds to it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from usernetes_deploy.access.policies import site
from usernetes_deploy.errors import SpecError, UsageError, UsernetesError

TEXT = "apiVersion: usernetes.dev/v1alpha1\nkind: Policies\npolicies: [no-privileged]\n"


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    file = tmp_path / "policy.yaml"
    file.write_text(TEXT)
    file.chmod(0o644)
    return file


def test_no_file_is_no_policy(tmp_path: Path) -> None:
    assert site.site_policies(tmp_path / "policy.yaml") == []


def test_the_sites_come_first_and_the_specs_are_added(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site.site_policies, "__defaults__", (file, os.getuid()))
    found = site.in_force(["no-privileged", "no-host-network"], file)
    assert [(one.name, one.source) for one in found] == [
        ("no-privileged", "site"),
        ("no-privileged", "spec"),
        ("no-host-network", "spec"),
    ]


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_a_file_that_others_could_have_written_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    with pytest.raises(UsernetesError, match="could have been written by others") as failed:
        site.site_policies(file, os.getuid())
    assert failed.value.exit_code == 1
    assert f"chmod go-w {file}" in str(failed.value)


def test_a_folder_that_others_can_write_is_refused_and_so_is_a_strangers_file(file: Path) -> None:
    with pytest.raises(UsernetesError, match="could have been written"):
        site.site_policies(file, os.getuid() + 1)
    file.parent.chmod(0o777)
    with pytest.raises(UsernetesError, match="could have been written"):
        site.site_policies(file, os.getuid())


def test_a_link_is_not_followed(file: Path) -> None:
    link = file.with_name("link.yaml")
    link.symlink_to(file)
    with pytest.raises(UsernetesError, match="read the site's policies"):
        site.site_policies(link, os.getuid())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected a mapping"),
        ("policies: [no-privileged]", "kind: expected Policies"),
        (TEXT + "extra: 1", "unknown field"),
        (TEXT.replace("no-privileged", "no-such"), "there is no such policy"),
        ("a: [", "not YAML"),
    ],
)
def test_a_file_that_is_wrong_stops_everything(file: Path, text: str, said: str) -> None:
    file.write_text(text)
    with pytest.raises((SpecError, UsageError), match=said):
        site.site_policies(file, os.getuid())
