"""What shells are offered: verbs of groups, flags of the verb at hand, names of clusters; files are left to them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.made_up import MadeUp
from usernetes_deploy import cli
from usernetes_deploy.commands import COLLECTION
from usernetes_deploy.console.completion import completions


@pytest.mark.parametrize(
    ("words", "offered", "not_offered"),
    [
        ([], ["up", "status", "bundle", "images"], ["bundle.build", "--help"]),
        (["sta"], ["status"], []),
        (["bundle"], ["build", "import", "list"], ["up", "load"]),
        (["bundle", "bu"], ["build"], ["up"]),
        (["bundle", "build", "--w"], ["--with", "--jobs"], ["--nodes"]),
        (["up"], ["--nodes", "--wait", "--no-wait"], ["status"]),
        (["up", "--nodes", "3", "--"], ["--file"], ["--json"]),
        (["status", "--cluster"], ["demo"], ["--json"]),
        (["status", "--cluster", "d"], ["demo"], ["--json"]),
    ],
)
def test_what_fits_is_offered_and_nothing_else(words: list[str], offered: list[str], not_offered: list[str]) -> None:
    found = completions(words, COLLECTION, ["demo"])
    assert set(offered) <= set(found)
    assert not set(not_offered) & set(found)


@pytest.mark.parametrize(
    "words", [["kubectl", "get", "po"], ["run", "--", "ls", "-"], ["images", "load", "ap"], ["up", "--file", "cl"]]
)
def test_files_and_other_programs_words_are_left_to_the_shell(words: list[str]) -> None:
    assert completions(words, COLLECTION, ["demo"]) == []


def test_the_program_answers_the_shells_script(made_up: MadeUp, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["usernetes", "--complete", "--", "usernetes", "status", "--cluster"]) == 0
    assert capsys.readouterr().out == f"{made_up.state.name}\n"


def test_bash_completes_with_the_script_that_is_printed(tmp_path: Path) -> None:
    program = tmp_path / "usernetes"
    program.write_text(f"#!{sys.executable}\nfrom usernetes_deploy.cli import main\nmain()\n")
    program.chmod(0o755)
    script = """
source <(usernetes --print-completion-script bash)
COMP_WORDS=(usernetes bundle bu) COMP_CWORD=2
_complete_usernetes usernetes bu bundle
echo "${COMPREPLY[@]}"
"""
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, env=env)
    assert (done.stdout, done.stderr) == ("build\n", "")
