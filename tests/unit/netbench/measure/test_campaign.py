"""Campaigns with stand-ins: resumed, locked, and every way in which a run can break named, with the others going on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from netbench.measure import probe
from netbench.measure.campaign import CampaignResult, locked, run_plan
from netbench.plan.document import Plan
from netbench.plan.runs import known_times
from netbench.records.record import Record, load_dir
from netbench.start import mpi as launch
from tests.unit.netbench.fakes import install, kubectl, program, small_plan
from usernetes_deploy.errors import HostNotFit, UsageError

ROOT = Path(__file__).parents[4]


def campaign(plan: Plan, out: Path, **options: Any) -> tuple[CampaignResult, list[Record], list[str]]:
    said: list[str] = []
    outcome = run_plan(plan, out, say=said.append, **options)
    records, problems = load_dir(out)
    assert not problems
    return outcome, sorted(records, key=lambda record: record.order or 0), said


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    install(tmp_path / "mpi")
    return tmp_path / "mpi"


def test_every_run_leaves_a_record_with_its_conditions_and_its_raw_output(prefix: Path, tmp_path: Path) -> None:
    outcome, records, _ = campaign(small_plan(prefix), tmp_path / "out")
    assert (len(outcome.done), outcome.exit_code) == (2, 0)
    first = records[0]
    assert [s.value for s in first.samples] == [4.25]
    assert (first.case.label, first.case.tool_version, first.place) == ("OSU", "7.4", "bare-metal")
    assert [(r.rank, r.node) for r in first.affinity] == [(0, "node0"), (1, "node1")]
    assert all(rank.cpus for rank in first.affinity)
    assert [node.name for node in first.nodes] == ["node0", "node1"]
    assert first.nodes[0].kernel == os.uname().release
    assert list(first.binaries) == ["osu_barrier"]
    assert first.argv[-3:] == (str(prefix / "bin/osu_barrier"), "-i", "10000")
    assert first.interleaved
    folder = tmp_path / "out" / "runs" / first.id
    assert "Barrier Latency" in (folder / "stdout.txt").read_text()
    assert first.raw == ("stderr.txt", "stdout.txt")
    assert any("no -x 1000" in note for note in first.notes)


@pytest.mark.parametrize(
    ("body", "figure", "reason"),
    [
        ("", "nan", "not understood"),
        ("", "-1.00", "latency is -1.0"),
        ("echo 'cannot allocate a buffer' >&2; exit 3", "1", "exit code 3"),
        ('[ "$PMI_RANK" = 1 ] && kill -9 $$', "1", "a rank was lost on node1"),
        ("echo 'write error: No space left on device' >&2; exit 1", "1", "^disk full: No space left on device"),
        ("exit 0", "1", "no output of osu-micro-benchmarks"),
    ],
)
def test_a_run_that_breaks_is_named_and_gives_no_figure(tmp_path: Path, body: str, figure: str, reason: str) -> None:
    install(tmp_path / "mpi", body, figure)
    outcome, records, said = campaign(small_plan(tmp_path / "mpi"), tmp_path / "out")
    assert outcome.exit_code == 1
    assert [record.sanity.ok for record in records] == [False, False]
    assert all(not record.samples for record in records)
    assert re.search(reason, records[0].sanity.reason), records[0].sanity.reason
    assert sum("FAILED" in line for line in said) == 2
    assert (records[0].case.name, records[0].case.label) == ("osu_barrier", "OSU")


def test_a_run_that_hangs_is_ended_at_its_limit_with_all_it_started(tmp_path: Path) -> None:
    install(tmp_path / "mpi", "exec env MARK=1 sleep 61")
    started = time.monotonic()
    outcome, records, _ = campaign(small_plan(tmp_path / "mpi", repeats=1, timeLimit=1), tmp_path / "out")
    assert time.monotonic() - started < 15
    assert outcome.exit_code == 4
    assert records[0].sanity.reason.startswith("hangs: no end within 1 s")
    search = probe.sweep_script(records[0].id)
    assert subprocess.run(["sh", "-c", search], capture_output=True, text=True, check=True).stdout == ""


def test_what_a_broken_run_left_on_a_node_is_found_and_ended(tmp_path: Path) -> None:
    install(tmp_path / "mpi", "setsid sleep 61 </dev/null >/dev/null 2>&1 & [ $PMI_RANK = 0 ] || exit 5; wait")
    _, records, _ = campaign(small_plan(tmp_path / "mpi", repeats=1, timeLimit=1), tmp_path / "out")
    assert re.search(r"ended what it left behind: sleep on node\d", records[0].sanity.reason)
    search = probe.sweep_script(records[0].id)
    assert subprocess.run(["sh", "-c", search], capture_output=True, text=True, check=True).stdout == ""


@pytest.mark.parametrize(
    ("there", "reason"),
    [(None, "benchmark missing: {path} is not on b"), ("exit 0", "{path} on b is another file than on a")],
)
def test_a_benchmark_that_one_node_lacks_or_has_otherwise_is_named_with_the_node(
    prefix: Path, tmp_path: Path, there: str | None, reason: str
) -> None:
    path, elsewhere = prefix / "bin" / "osu_barrier", tmp_path / "elsewhere"
    if there:
        program(elsewhere, f"#!/bin/sh\n{there}\n")
    there, back = f"s|{path}|{elsewhere}|g", f"s|{elsewhere}|{path}|g"
    reach = program(tmp_path / "reach", f"""#!/bin/sh\nsh -c "$(printf '%s' "$3" | sed '{there}')" | sed '{back}'\n""")
    hosts = [{"name": "a", "address": "10.0.0.1"}, {"name": "b", "address": "10.0.0.2", "run": [str(reach)]}]
    outcome, records, _ = campaign(small_plan(prefix, hosts=hosts, repeats=1), tmp_path / "out")
    assert records[0].sanity.reason == reason.format(path=path)
    assert outcome.exit_code == 1


def test_a_benchmark_that_is_missing_fails_its_runs_and_the_others_go_on(prefix: Path, tmp_path: Path) -> None:
    plan = small_plan(prefix, cases=["osu_barrier", {"case": "lammps_hns"}],
                      software={"prefixes": [str(prefix)], "hns": str(tmp_path)})  # fmt: skip
    outcome, records, _ = campaign(plan, tmp_path / "out")
    assert outcome.exit_code == 1
    assert len(outcome.done) == 2
    assert set(outcome.failed) == {record.id for record in records if record.case.name == "lammps_hns"}
    assert all("was not found" in reason for reason in outcome.failed.values())


def test_a_finished_campaign_makes_nothing_again(prefix: Path, tmp_path: Path) -> None:
    campaign(small_plan(prefix), tmp_path / "out")
    (prefix / "bin/mpiexec.hydra").unlink()
    outcome, _, _ = campaign(small_plan(prefix), tmp_path / "out")
    assert (len(outcome.resumed), len(outcome.done), outcome.exit_code) == (2, 0, 0)


def test_failed_runs_stand_until_they_are_asked_for_again_and_are_kept(tmp_path: Path) -> None:
    install(tmp_path / "mpi", figure="nan")
    plan = small_plan(tmp_path / "mpi", repeats=1)
    campaign(plan, tmp_path / "out")
    install(tmp_path / "mpi")
    outcome, _, said = campaign(plan, tmp_path / "out")
    assert outcome.exit_code == 1
    assert any("stands as failed" in line for line in said)
    outcome, records, _ = campaign(plan, tmp_path / "out", retry=True)
    assert outcome.exit_code == 0
    assert len(records) == 1
    assert any("kept in" in note for note in records[0].notes)
    assert (tmp_path / "out" / "runs" / f"{records[0].id}.attempt-1" / "stdout.txt").is_file()


def test_a_record_edited_by_hand_is_named_with_its_path_and_the_others_go_on(prefix: Path, tmp_path: Path) -> None:
    _, records, _ = campaign(small_plan(prefix), tmp_path / "out")
    path = tmp_path / "out" / "runs" / records[0].id / f"{records[0].id}.record.json"
    path.write_text(path.read_text().replace('"value": 4.25', '"value": "fast"'))
    outcome = run_plan(small_plan(prefix), tmp_path / "out", say=lambda _: None)
    assert outcome.exit_code == 1
    assert "samples[0].value: expected a number" in outcome.failed[records[0].id]
    assert len(outcome.resumed) == 1
    outcome, _, _ = campaign(small_plan(prefix), tmp_path / "out", retry=True)
    assert outcome.exit_code == 0


def test_a_folder_of_another_plan_is_refused_with_the_difference(prefix: Path, tmp_path: Path) -> None:
    campaign(small_plan(prefix), tmp_path / "out")
    with pytest.raises(UsageError, match='first difference: \'"repeats": 2'):
        run_plan(small_plan(prefix, repeats=3), tmp_path / "out", say=lambda _: None)


def test_the_times_of_runs_that_are_there_make_the_next_estimate(prefix: Path, tmp_path: Path) -> None:
    campaign(small_plan(prefix), tmp_path / "out")
    times = known_times(tmp_path / "out")
    assert list(times) == [("osu_barrier", 0)]
    assert 0 < times["osu_barrier", 0] < 30


def test_two_campaigns_do_not_share_a_folder(prefix: Path, tmp_path: Path) -> None:
    with (
        locked(tmp_path),
        pytest.raises(UsageError, match=f"in use by another netbench, process {os.getpid()}"),
    ):
        run_plan(small_plan(prefix), tmp_path, say=lambda _: None)


def test_an_interrupted_campaign_goes_on_where_it_was(tmp_path: Path) -> None:
    install(tmp_path / "mpi", f"[ -e {tmp_path}/go ] || {{ touch {tmp_path}/here; sleep 60; }}")
    plan_file = tmp_path / "plan.yaml"
    plan_file.write_text(
        "apiVersion: usernetes.dev/v1alpha1\nkind: Benchmark\ncases: [osu_barrier]\nplaces: [bare-metal]\nrepeats: 2\n"
        f"warmups: 0\nmpi: {{transport: default}}\nsoftware: {{prefixes: [{tmp_path}/mpi]}}\n"
    )
    argv = [sys.executable, "-m", "netbench.cli", "run", str(plan_file), "--out", str(tmp_path / "out")]
    process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not (tmp_path / "here").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "goes on from here" in said
    (tmp_path / "go").touch()
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    records, _ = load_dir(tmp_path / "out")
    assert len(records) == 2
    assert sum("was interrupted; kept in" in note for record in records for note in record.notes) == 1


def test_a_full_disk_is_named_and_the_next_run_is_tried(
    prefix: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Record.save

    def save(self: Record, folder: Path) -> Path:
        if self.repeat == 1:
            raise OSError(28, "No space left on device")
        return real(self, folder)

    with monkeypatch.context() as patch:
        patch.setattr(Record, "save", save)
        outcome, records, _ = campaign(small_plan(prefix), tmp_path / "out")
    assert outcome.exit_code == 1
    assert [reason.startswith("disk full") for reason in outcome.failed.values()] == [True]
    assert len(records) == 1
    outcome, records, _ = campaign(small_plan(prefix), tmp_path / "out")
    assert (outcome.exit_code, len(outcome.done), len(outcome.resumed)) == (0, 1, 1)


def test_no_run_is_begun_after_the_deadline(prefix: Path, tmp_path: Path) -> None:
    outcome, records, _ = campaign(small_plan(prefix, repeats=3), tmp_path / "out", deadline=1e-9)
    assert (outcome.missing, len(records), outcome.exit_code) == (3, 0, 1)


def test_messages_that_did_not_use_the_network_are_refused_where_tcp_was_asked_for(
    prefix: Path, tmp_path: Path
) -> None:
    plan = small_plan(prefix, mpi={"transport": "tcp"}, repeats=1,
                      cases=[{"case": "osu_barrier", "parameters": {"iterations": "1000000000000"}}])  # fmt: skip
    _, records, _ = campaign(plan, tmp_path / "out")
    assert records[0].transport == "shm"
    assert "held to TCP" in records[0].sanity.reason


@pytest.mark.parametrize("hidden", [True, False])
def test_ranks_that_the_launcher_starts_by_itself_are_in_no_place(
    prefix: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hidden: bool
) -> None:
    if not hidden:
        monkeypatch.setattr(launch, "alias", lambda index: [os.uname().nodename, "other"][index])
    hosts = [{"name": os.uname().nodename, "address": "127.0.0.1"}, {"name": "other", "address": "127.0.0.1"}]
    _, records, _ = campaign(small_plan(prefix, repeats=1, hosts=hosts), tmp_path / "out")
    assert records[0].sanity.ok == hidden
    if not hidden:
        assert "ranks ran on outside-the-agent,other" in records[0].sanity.reason


def test_a_host_that_cannot_get_our_programs_is_refused_before_the_first_run(prefix: Path, tmp_path: Path) -> None:
    program(prefix / "bin" / "mpicc", '#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done; echo "#!/bin/sh" > "$2"\n')
    deaf = program(tmp_path / "deaf", f"#!/bin/sh\nexec {sys.executable} -c 'raise SystemExit(\"no shell here\")'\n")
    hosts = [{"name": name, "address": "10.0.0.1", "run": [str(deaf)]} for name in ("a", "b")]
    with pytest.raises(HostNotFit, match="cannot be handed out: a: no shell here"):
        run_plan(small_plan(prefix, cases=["noise"], hosts=hosts), tmp_path / "out", say=lambda _: None)
    assert not (tmp_path / "out" / "runs").exists()


def test_what_a_record_lacks_it_says_why(prefix: Path, tmp_path: Path) -> None:
    program_, pods = kubectl(tmp_path)
    _, records, _ = campaign(pod_plan(prefix, program_, repeats=1), tmp_path / "out")
    for record in records:
        assert record.versions["kubernetes"] == "v1.36.3"
        assert "not recorded: the cluster was not made by this campaign" in " ".join(record.notes)
        assert all(node.governor for node in record.nodes)
    (pods / "trouble").write_text("image")
    _, records, _ = campaign(pod_plan(prefix, program_, repeats=1), tmp_path / "out2")
    failed = next(record for record in records if not record.sanity.ok)
    assert "it failed before the nodes could be looked at" in failed.notes


def test_a_run_whose_benchmark_is_missing_still_says_on_which_nodes(prefix: Path, tmp_path: Path) -> None:
    plan = small_plan(prefix, cases=["lammps_hns"], repeats=1,
                      software={"prefixes": [str(prefix)], "hns": str(tmp_path)})  # fmt: skip
    _, records, _ = campaign(plan, tmp_path / "out")
    assert [node.name for node in records[0].nodes] == ["node0", "node1"]


def pod_plan(prefix: Path, program: list[str], **fields: Any) -> Plan:
    cluster = {"kubectl": program, **fields.pop("cluster", {})}
    return small_plan(prefix, places=["bare-metal-beside", "pod-native"], cluster=cluster, **fields)


def test_the_same_command_runs_beside_and_in_pods(prefix: Path, tmp_path: Path) -> None:
    program, pods = kubectl(tmp_path)
    plan = pod_plan(prefix, program, cases=["osu_barrier", "pod_start"])
    outcome, records, _ = campaign(plan, tmp_path / "out")
    assert outcome.exit_code == 0, outcome.failed
    barriers = [record for record in records if record.case.name == "osu_barrier"]
    assert {record.place for record in barriers} == {"bare-metal-beside", "pod-native"}
    assert len({tuple(record.binaries.items()) for record in barriers}) == 1
    assert not list(pods.glob("*.json"))


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ("image", "pod netbench-native-0 cannot start: ErrImageNeverPull: image is not there"),
        ("gone", "kubectl get: error: the server could not be reached"),
    ],
)
def test_a_place_that_cannot_be_opened_fails_its_own_runs_only(
    prefix: Path, tmp_path: Path, trouble: str, reason: str
) -> None:
    program, pods = kubectl(tmp_path)
    (pods / "trouble").write_text(trouble)
    outcome, records, _ = campaign(pod_plan(prefix, program, repeats=3), tmp_path / "out")
    failed = [record.sanity.reason for record in records if record.place == "pod-native"]
    assert len(failed) == 3
    assert failed[0] == failed[1] == reason
    assert failed[2] == f"given up after 2 attempts: {reason}"
    assert all(record.sanity.ok for record in records if record.place == "bare-metal-beside")
    assert outcome.exit_code == 1


def test_an_evicted_pod_is_named_and_replaced_for_the_next_run(prefix: Path, tmp_path: Path) -> None:
    program, pods = kubectl(tmp_path)
    (pods / "trouble").write_text("evict")
    _, records, _ = campaign(pod_plan(prefix, program), tmp_path / "out")
    first, second = (record for record in records if record.place == "pod-native")
    assert re.match(
        r"pod netbench-native-(\d) on node\1 was evicted: The node was low on resource: memory\.", first.sanity.reason
    )
    assert second.sanity.ok


def test_a_cluster_is_brought_up_and_down_between_blocks(prefix: Path, tmp_path: Path) -> None:
    program, _ = kubectl(tmp_path)
    log = tmp_path / "log"
    cluster = {
        "up": ["sh", "-c", f"echo up {{network}} >> {log}"],
        "down": ["sh", "-c", f"echo down {{network}} >> {log}"],
        "settle": 0,
    }
    plan = small_plan(prefix, places=["bare-metal", "pod-native"], cluster={**cluster, "kubectl": program})
    outcome, records, _ = campaign(plan, tmp_path / "out")
    assert outcome.exit_code == 0
    states = log.read_text().splitlines()
    assert states.count("up mesh") == 1 + (records[0].place == "pod-native")
    assert states[-1] == "down mesh"
    places = [record.place for record in records]
    assert places[0] == places[3] != places[1] == places[2]


def test_a_cluster_that_does_not_come_up_is_quoted(prefix: Path, tmp_path: Path) -> None:
    program, _ = kubectl(tmp_path)
    cluster = {"up": ["sh", "-c", "echo no subordinate ids >&2; exit 3"], "down": ["true"], "kubectl": program}
    plan = small_plan(prefix, places=["bare-metal", "pod-native"], cluster=cluster)
    outcome, records, _ = campaign(plan, tmp_path / "out")
    assert outcome.exit_code == 1
    failed = [record.sanity.reason for record in records if record.place == "pod-native"]
    assert failed[0] == "cluster up failed with exit code 3: no subordinate ids"
    assert all(record.sanity.ok for record in records if record.place == "bare-metal")
