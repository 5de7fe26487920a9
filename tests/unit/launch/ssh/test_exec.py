"""The command line that travels: read by every shell alike."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usernetes_deploy.launch.ssh.exec import brief, command_line

SHOW = "import json,sys; print(json.dumps(sys.argv[1:]))"


@pytest.mark.parametrize("shell", ["sh", "bash", "tcsh", "fish", "zsh", "busybox"])
def test_every_login_shell_gives_the_words_on_unharmed(shell: str) -> None:
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} is not installed")
    words = ["a b", "", "'\"`$HOME`", "$(id)", "!x", "new\nline\n", "ümläut", "\\n%s\\", "*", "~", "-n", "{a,b}", "^x^"]
    line = command_line([sys.executable, "-c", SHOW, *words], 5, "MARK")
    done = subprocess.run(
        [path, *(["sh"] if shell == "busybox" else []), "-c", line], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("MARK\n")
    assert json.loads(done.stdout.removeprefix("MARK\n")) == words
    assert done.stderr == "MARK\n\nMARK 0\n"


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=4))
def test_any_text_arrives(words: list[str]) -> None:
    line = command_line([sys.executable, "-S", "-c", SHOW, *words], 5, "MARK")
    done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, check=True)
    assert json.loads(done.stdout.removeprefix(b"MARK\n")) == words


def test_the_far_side_ends_what_nobody_waits_for() -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", command_line(["sleep", "60"], -1.5, "MARK")], capture_output=True, text=True, check=True
    )
    assert done.stderr.endswith("\nMARK 124\n")


def test_scripts_are_cut_in_errors() -> None:
    assert brief(["sh", "-c", "\nset -u\nmore\n", "x"]) == "sh -c 'set -u ...' x"
    assert brief(["hostname", "-f"]) == "hostname -f"
