"""Subordinate ids that are a real user's are found by the script itself, with this host's own /etc/subuid."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from usernetes_deploy.facts import Need, subid

SAY = 'say() { printf "%s=%s\\n" "$1" "$2"; }\n'


def first_range() -> tuple[str, int, int]:
    """The first owner of /etc/subuid with its range; skipped where there is none."""
    try:
        lines = Path("/etc/subuid").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        owner, first, count = line.split(":")
        return owner, int(first), int(count)
    pytest.skip("nobody has subordinate ids here")


def ask(tmp_path: Path, owner: str, passwd: str) -> subid.Subid:
    """What the question answers for `owner` where ``getent passwd`` prints `passwd`."""
    getent = tmp_path / "getent"
    getent.write_text(f"#!/bin/sh\n[ $1 = passwd ] && printf '{passwd}'\nexit 0\n")
    getent.chmod(0o755)
    script = f"{SAY}me={owner}; uid=-\n{subid.COMMAND}"
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["sh"], input=script, capture_output=True, text=True, check=True, env=environment)
    assert done.stderr == ""
    return subid.parse(done.stdout)


def test_a_range_that_holds_a_real_user_is_a_warning_that_names_the_user(tmp_path: Path) -> None:
    owner, first, count = first_range()
    answer = ask(tmp_path, owner, f"root:x:0:0::/root:/bin/sh\\nann:x:{first + count - 1}:1::/home/ann:/bin/sh\\n")
    assert answer.real == ("uid of ann",)
    (found,) = [problem for problem in subid.judge(answer, Need(subids=1)) if "real" in problem.what]
    assert found.severity == "warning"
    assert "uid of ann" in found.what


def test_users_beside_the_range_are_no_matter(tmp_path: Path) -> None:
    owner, first, count = first_range()
    answer = ask(tmp_path, owner, f"ann:x:{first - 1}:1::/:/bin/sh\\neve:x:{first + count}:1::/:/bin/sh\\n")
    assert answer.real == ()
