"""What Slurm's commands print is understood, and what they cannot say is a plain error."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from usernetes_deploy.errors import CommandFailed, UsageError, UsernetesError
from usernetes_deploy.jobs import records
from usernetes_deploy.launch.slurm.commands import Commands, notes_of, parse_queue, seconds_of
from usernetes_deploy.launch.slurm.job import SlurmJob
from usernetes_deploy.launch.slurm.launcher import SlurmLauncher
from usernetes_deploy.launch.slurm.system import SlurmSystem

RUNNING = "12|12|1000|RUNNING|None|n[1-2]|2026-11-27T06:30:00|n1|usernetes=ready mine\n"
PENDING = "13|13|1000|PENDING|Resources||2026-11-27T08:00:00|n/a|(null)\n"
Say = Callable[..., None]


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Say:
    """Have a command of Slurm print this, and write down how it was called."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def put(name: str, stdout: str = "", stderr: str = "", code: int = 0) -> None:
        (tmp_path / f"{name}.out").write_text(stdout)
        (tmp_path / f"{name}.err").write_text(stderr)
        command = tmp_path / name
        command.write_text(
            f'#!/bin/sh\necho "$0 $*" >>{tmp_path}/calls\ncat >>{tmp_path}/stdin\n'
            f"cat {tmp_path}/{name}.out\ncat {tmp_path}/{name}.err >&2\nexit {code}\n"
        )
        command.chmod(command.stat().st_mode | stat.S_IXUSR)

    for name in ("squeue", "scontrol", "sbatch", "srun", "sacct"):
        put(name, stderr=f"{name}: not said\n", code=1)
    return put


def test_a_comment_may_hold_anything() -> None:
    entry = parse_queue("12|12|1000|RUNNING|None|n1|N/A|n1|usernetes=ready a|b |c\n")[0]
    assert (entry.comment, entry.notes) == ("usernetes=ready a|b |c", {"usernetes": "ready"})


def test_a_line_that_is_not_understood_is_quoted() -> None:
    with pytest.raises(UsernetesError, match="not understood: 'what'"):
        parse_queue("what\n")


@pytest.mark.parametrize("text", ["", "N/A", "NOT_SET", "1:2:3:4"])
def test_a_time_that_is_none_is_no_limit(text: str) -> None:
    assert seconds_of(text) == float("inf")


def test_a_job_that_slurm_has_forgotten_is_a_wrong_call(say: Say) -> None:
    say("squeue", stderr="slurm_load_jobs error: Invalid job id specified\n", code=1)
    with pytest.raises(UsageError, match="there is no job 99 "):
        Commands().job("99")


def test_a_job_that_only_the_accounting_knows_has_ended(say: Say) -> None:
    say("squeue", stderr="slurm_load_jobs error: Invalid job id specified\n", code=1)
    say("sacct", "99|1000|CANCELLED by 1000\n")
    job = SlurmSystem().job("99")
    assert (job.state, job.result) == ("ended", "cancelled")


def test_a_slurmctld_that_is_down_is_no_wrong_call(say: Say) -> None:
    say("squeue", stderr="slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n", code=1)
    with pytest.raises(CommandFailed, match="Unable to contact slurm controller"):
        Commands().job("12")


def test_an_array_is_several_jobs_of_which_one_has_to_be_named(say: Say) -> None:
    say("squeue", "12_1|14|0|RUNNING|None|n1|N/A|n1|(null)\n12_2|12|0|RUNNING|None|n2|N/A|n2|(null)\n")
    with pytest.raises(UsageError, match=r"job 12 is several \(12_1, 12_2\): name one of them"):
        Commands().job("12")  # though the last task of an array has its number, too
    assert Commands().job("12_1").number == "14"
    assert SlurmSystem().job("12_2").slug == "12-2"


def test_a_pending_job_says_why_and_until_when(say: Say) -> None:
    say("squeue", PENDING)
    job = SlurmSystem().job("13")
    assert (job.state, job.word) == ("pending", "PENDING (Resources, expected to start 2026-11-27T08:00:00)")


def test_a_job_that_was_put_back_has_no_cluster_any_more(say: Say, tmp_path: Path) -> None:
    say("squeue", RUNNING.replace("RUNNING", "PENDING"))
    assert (SlurmSystem().job("12").state, SlurmSystem().job("12").cluster) == ("pending", "")
    root = tmp_path / "state"
    (root / "job-12").mkdir(parents=True)
    document = {"schema": 1, "name": "job-12", "launcher": {"launcher": "slurm", "job": "12"}}
    (root / "job-12" / "cluster.json").write_text(json.dumps(document))
    say("squeue", RUNNING)
    assert records.forget_ended(root) == []
    say("squeue", RUNNING.replace("RUNNING", "PENDING"))
    assert records.forget_ended(root) == ["job-12"]


def test_before_slurm_kills_it_a_job_says_that_it_ends(
    say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    say("squeue", RUNNING)
    say("scontrol")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    SlurmSystem().before_cancel({})
    assert not (tmp_path / "calls").exists()
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    SlurmSystem().before_cancel({})
    assert "update JobId=12 Comment=usernetes=ending mine\n" in (tmp_path / "calls").read_text()


def test_a_host_that_slurm_took_out_of_the_job_is_lost_though_it_is_back(say: Say) -> None:
    hosts = [{"name": name, "where": name} for name in ("n1", "n2", "n3")]
    launcher = SlurmLauncher.from_state({"job": "12", "hosts": hosts}, Path("/node.pyz"))
    say("scontrol", "slurm-wlm 22.05.8\n")
    say("sinfo", "n1|mixed\nn2|down*\nn3|idle\n")
    say("squeue", RUNNING)
    assert launcher.lost() == {"n2": "Slurm's node is down*", "n3": "Slurm took its host out of job 12"}
    say("squeue")
    assert launcher.lost() == dict.fromkeys(("n1", "n2", "n3"), "job 12, which held its host, has ended")


def test_the_states_of_a_job(say: Say) -> None:
    say("squeue", RUNNING)
    job = SlurmSystem().job("12")
    assert (job.id, job.state, job.cluster, job.hosts, job.result) == ("12", "running", "ready", "n[1-2]", "")
    say("squeue", RUNNING.replace("RUNNING", "FAILED"))
    say("scontrol", "JobId=12 JobName=usernetes ExitCode=3:0 StdOut=/nowhere\n")
    assert (job.again().state, job.again().result) == ("ended", "failed (exit code 3)")
    assert job.last_words() == []


def test_a_note_leaves_the_users_own_comment(say: Say, tmp_path: Path) -> None:
    say("squeue", RUNNING)
    say("scontrol")
    SlurmSystem().job("12").announce("ending")
    assert "update JobId=12 Comment=usernetes=ending mine\n" in (tmp_path / "calls").read_text()
    assert notes_of("usernetes=ready usernetes_joins=7") == {"usernetes": "ready", "usernetes_joins": "7"}


@pytest.mark.parametrize(
    ("text", "fine"), [("slurm 20.02.7", False), ("slurm-wlm 22.05.8", True), ("slurm 24.11.0", True)]
)
def test_a_slurm_that_is_too_old_is_refused(say: Say, text: str, fine: bool) -> None:
    say("scontrol", text)
    if fine:
        Commands().version()
    else:
        with pytest.raises(UsageError, match="too old: its srun has no --overlap"):
            Commands().version()


def test_a_refused_submission_says_why(say: Say) -> None:
    say(
        "sbatch",
        stderr="sbatch: error: invalid partition specified: x\nsbatch: error: Batch job submission failed\n",
        code=1,
    )
    with pytest.raises(UsageError, match="invalid partition specified: x; Batch job submission failed"):
        SlurmSystem().submit(2, [], name="usernetes", time_limit=None, queue="x")


def test_submitting_passes_the_arguments_unharmed(say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    say("sbatch", "12;cluster\n")
    say("squeue", RUNNING)
    job = SlurmSystem().submit(2, ["--set", "name=a b"], name="usernetes", time_limit="2h", queue="short")
    assert job.id == "12"
    call = (tmp_path / "calls").read_text()
    assert "--nodes=2" in call
    assert "--time=120 --partition=short" in call
    assert (tmp_path / "stdin").read_text().endswith("\nexec usernetes job --set 'name=a b'\n")


def test_a_record_that_others_could_read_is_refused(say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    place = tmp_path / "state" / "usernetes" / ".jobs"
    place.mkdir(parents=True)
    (place / "12.json").write_text('{"kubeconfig": "the-key"}')
    job = SlurmJob(Commands(), parse_queue(RUNNING)[0])
    (place / "12.json").chmod(0o644)
    with pytest.raises(UsernetesError, match="it is not yours alone"):
        job.record()
    (place / "12.json").chmod(0o600)
    record = job.record()
    assert record is not None
    assert record["kubeconfig"].reveal() == "the-key"
    job.withdraw()
    assert not (place / "12.json").exists()
