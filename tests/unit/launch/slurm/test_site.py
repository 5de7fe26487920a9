"""What `usernetes init` learns from Slurm, and the job script it writes there."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.launch.site import Wanted
from usernetes_deploy.launch.slurm.commands import Commands
from usernetes_deploy.launch.slurm.site import accounts, job_files, parse_partitions, seconds_asked
from usernetes_deploy.launch.slurm.system import SlurmSystem

SITE = parse_partitions("n1|debug*|30:00\nn1|batch|infinite\nn2|batch|infinite\n", ("phys", "bio"))
SPEC = 'storage:\n  shared: "/p/$HOME"\n'


def directives(script: str) -> list[str]:
    """What sbatch takes from the script."""
    lines = [line.removeprefix("#SBATCH") for line in script.splitlines() if line.startswith("#SBATCH")]
    return [word for line in lines for word in shlex.split(line, comments=True)]


def script(wanted: Wanted) -> str:
    """The script for these wishes."""
    return job_files(SITE, wanted, SPEC, 90)["usernetes.sh"]


def test_the_script_asks_for_what_was_wished() -> None:
    words = directives(script(Wanted(4, "2h", "batch", "bio")))
    assert {"--nodes=4", "--time=120", "--partition=batch", "--account=bio", "--exclusive", "--no-kill"} <= set(words)
    assert {"--signal=B:USR1@90", "--output=usernetes-%j.out"} <= set(words)


def test_without_a_wish_partitions_and_accounts_are_only_named() -> None:
    text = script(Wanted(1, "10m"))
    assert not any(word.startswith(("--partition", "--account")) for word in directives(text))
    assert "##SBATCH --partition=debug       # the partitions here: debug, batch;" in text
    assert "##SBATCH --account=phys       # the accounts here: phys, bio;" in text


def test_without_a_default_partition_one_is_chosen() -> None:
    site = parse_partitions("n1|night|infinite\nn1|day|infinite\n")
    words = directives(job_files(site, Wanted(1, "1h"), SPEC, 90)["usernetes.sh"])
    assert "--partition=day" in words
    assert not any(word.startswith("--account") for word in words)


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
def test_the_script_hands_over_the_spec_as_it_was_and_the_arguments(tmp_path: Path, shell: str) -> None:
    command = tmp_path / "usernetes"
    command.write_text('#!/bin/sh\necho "$*"\ncat "$3"\n')
    command.chmod(0o755)
    (tmp_path / "slurm_script").write_text(script(Wanted(1, "10m")))
    argv = [shell, str(tmp_path / "slurm_script"), "--", "./flow.sh", "a b"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert done.stdout == f"job --file /dev/stdin -- ./flow.sh a b\n{SPEC}"


def test_what_cannot_be_here_is_refused_all_at_once() -> None:
    slurm = SlurmSystem()
    assert slurm.refuse(SITE, Wanted(2, "2h", account="chem")) == [
        "--nodes: 2 were asked for, the partition debug has 1 hosts",
        "--account: chem is none of yours; they are phys, bio",
        "--time: 2h were asked for, the partition debug allows 0:30:00",
    ]
    assert slurm.refuse(SITE, Wanted(2, "2h", "night")) == [
        "--queue: there is no partition night; there are debug, batch"
    ]
    assert slurm.refuse(SITE, Wanted(2, "2h", "batch", "bio")) == []
    assert slurm.refuse(SITE, Wanted(1, "soon")) == ["--time: expected a time as 90m, 2h, 1d or 1-12:00:00, got 'soon'"]
    assert seconds_asked("1d") == 86400


def test_what_is_not_understood_is_quoted() -> None:
    with pytest.raises(UsernetesError, match="not understood: 'n1 debug'"):
        parse_partitions("n1 debug\n")


def test_accounts_are_those_of_the_accounting_the_default_one_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert accounts(Commands()) == ()
    command = tmp_path / "sacctmgr"
    command.write_text('#!/bin/sh\ncase "$*" in *assoc*) printf "bio\\nphys\\nbio\\n" ;; *) echo phys ;; esac\n')
    command.chmod(0o755)
    assert accounts(Commands()) == ("phys", "bio")
