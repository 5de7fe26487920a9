"""`usernetes init` writes a script and a spec that are right as they are."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import yaml
from invoke.context import Context

from usernetes_deploy.cluster import spec
from usernetes_deploy.commands.init import init, refused, spec_text
from usernetes_deploy.errors import UsageError
from usernetes_deploy.jobs import systems
from usernetes_deploy.launch.site import Wanted
from usernetes_deploy.launch.slurm.system import SlurmSystem


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Slurm with two partitions, without accounting."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("squeue", "scontrol", "srun", "sbatch", "sinfo"):
        (folder / name).write_text("#!/bin/sh\nprintf 'n1|debug*|30:00\\nn1|batch|infinite\\nn2|batch|infinite\\n'\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(systems, "every", lambda: [SlurmSystem()])


@pytest.mark.parametrize("nodes", [None, 3])
@pytest.mark.parametrize(("interface", "shared"), [(None, None), ("hsn0", "/p/scratch/me")])
def test_the_spec_is_valid(nodes: int | None, interface: str | None, shared: str | None) -> None:
    loaded = spec.load(yaml.safe_load(spec_text(nodes, interface, shared)))
    assert loaded.network.interface == interface
    assert loaded.storage.shared == shared
    assert loaded.nodes == (nodes or 1)  # a job counts its own hosts


def test_without_a_batch_system_wishes_for_a_job_are_refused(tmp_path: Path) -> None:
    assert refused(None, Wanted(0, "1h", "night", "me"), str(tmp_path / "nowhere")) == [
        "--nodes: expected a whole number >= 1, got 0",
        "--queue: no batch system answers here",
        "--account: no batch system answers here",
        f"--shared: {tmp_path}/nowhere is no directory that you can write",
    ]
    assert refused(None, Wanted(8, "1h"), str(tmp_path)) == []


@pytest.mark.usefixtures("slurm")
def test_where_slurm_is_one_script_is_written_that_carries_the_spec(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "mine"
    init(Context(), folder=str(target), nodes=2, queue="batch", shared=str(tmp_path))
    assert [path.name for path in target.iterdir()] == ["usernetes.sh"]
    assert stat.S_IMODE((target / "usernetes.sh").stat().st_mode) == 0o755
    text = (target / "usernetes.sh").read_text()
    assert f'  shared: "{tmp_path}"\n' in text
    said = capsys.readouterr()
    assert said.out == f"{target}/usernetes.sh\n"
    assert f"next: cd {target} && sbatch usernetes.sh" in said.err


@pytest.mark.usefixtures("slurm")
def test_what_cannot_be_here_is_refused_all_at_once_and_nothing_is_written(tmp_path: Path) -> None:
    target = tmp_path / "mine"
    with pytest.raises(UsageError) as caught:
        init(Context(), folder=str(target), nodes=2, time="2h", account="a b", shared=str(tmp_path / "nowhere"))
    assert caught.value.reason.split("; ") == [
        "--nodes: 2 were asked for, the partition debug has 1 hosts",
        "--account: 'a b' is no name of an account",
        "--time: 2h were asked for, the partition debug allows 0:30:00",
        f"--shared: {tmp_path}/nowhere is no directory that you can write",
    ]
    assert not target.exists()


@pytest.mark.usefixtures("slurm")
def test_a_file_that_is_there_is_replaced_only_when_asked_for(tmp_path: Path) -> None:
    (tmp_path / "usernetes.sh").write_text("mine\n")
    with pytest.raises(UsageError, match=r"usernetes\.sh exist in"):
        init(Context(), folder=str(tmp_path), nodes=1, time="10m")
    assert (tmp_path / "usernetes.sh").read_text() == "mine\n"
    init(Context(), folder=str(tmp_path), nodes=1, time="10m", force=True)
    assert "#SBATCH --time=10\n" in (tmp_path / "usernetes.sh").read_text()
