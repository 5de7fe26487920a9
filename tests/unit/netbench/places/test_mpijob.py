"""What an MPIJob is made of, and runs in one: placed, launched, ended and refused."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest

from netbench.measure.campaign import CampaignResult, run_plan
from netbench.places import mpijob
from netbench.places.base import PlaceError
from netbench.places.mpijob import MpiJobPlace, split_log
from netbench.places.pod import Kubectl
from netbench.plan.document import Plan
from netbench.plan.runs import runs_of
from netbench.records.record import Record, load_dir
from netbench.start.mpi import Seat
from tests.unit.netbench.fakes import install, kubectl, small_plan
from usernetes_deploy.errors import SpecError, UsageError

HOSTS = [Seat("node0", "10.0.0.1"), Seat("node1", "10.0.0.2")]


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    install(tmp_path / "mpi")
    return tmp_path / "mpi"


def place(tmp_path: Path, network: str = "mesh", **options: Any) -> tuple[MpiJobPlace, Path]:
    argv, pods = kubectl(tmp_path)
    client = Kubectl((*argv, "-n", "default"))
    return MpiJobPlace(f"mpijob-{network}", HOSTS, client, **{"image": "pause", "ready_within": 1, **options}), pods


def campaign(
    tmp_path: Path, prefix: Path, trouble: str = "", **fields: Any
) -> tuple[CampaignResult, list[Record], Path]:
    program, pods = kubectl(tmp_path)
    (pods / "trouble").write_text(trouble)
    plan = small_plan(prefix, **{"places": ["pod-mesh", "mpijob-mesh"], **fields}, cluster={"kubectl": program})
    outcome = run_plan(plan, tmp_path / "out", say=lambda _: None)
    return outcome, load_dir(tmp_path / "out")[0], pods


def spec_of(made: MpiJobPlace, replica: str) -> Any:
    return made.job()["spec"]["mpiReplicaSpecs"][replica]["template"]["spec"]


def test_each_node_has_one_worker_with_the_hosts_software_and_the_launcher_is_on_the_first(tmp_path: Path) -> None:
    made, _ = place(tmp_path, mounts=["/site/osu"])
    made.open()
    worker, launcher = spec_of(made, "Worker"), spec_of(made, "Launcher")
    on = worker["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert on[0]["matchExpressions"][0]["values"] == ["node0", "node1"]
    assert worker["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert launcher["nodeSelector"] == {"kubernetes.io/hostname": "node0"}
    assert worker["volumes"] == launcher["volumes"]
    assert {"/usr", "/site/osu"} <= {mount["mountPath"] for mount in worker["containers"][0]["volumeMounts"]}


def test_an_sshd_listens_on_the_address_that_is_used_and_takes_keys_only(tmp_path: Path) -> None:
    made, _ = place(tmp_path)
    [container] = spec_of(made, "Worker")["containers"]
    script, env = container["command"][-1], {entry["name"]: entry for entry in container["env"]}
    assert env["ADDRESS"]["valueFrom"]["fieldRef"]["fieldPath"] == "status.podIP"
    assert '"ListenAddress=$ADDRESS"' in script
    for word in ("AuthenticationMethods=publickey", "PasswordAuthentication=no", "DisableForwarding=yes"):
        assert word in script


def test_on_the_hosts_network_a_worker_listens_on_its_hosts_address_and_a_port_of_its_own(tmp_path: Path) -> None:
    made, _ = place(tmp_path, "native")
    made.open()
    assert spec_of(made, "Worker")["hostNetwork"] is True
    env = {entry["name"]: entry.get("value") for entry in spec_of(made, "Worker")["containers"][0]["env"]}
    assert env["ADDRESSES"] == "node0=10.0.0.1 node1=10.0.0.2"
    port = int(str(env["PORT"]))
    assert port >= 20000
    # the stand-in puts worker 1 on the first node
    assert [seat.run[-3:] for seat in made.by_ssh(made.seats())] == [
        ("-p", str(port + 1), "root@10.0.0.1"),
        ("-p", str(port), "root@10.0.0.2"),
    ]
    assert made.launcher_address() == "10.0.0.1"


def test_seats_come_in_the_plans_order_wherever_the_scheduler_put_the_workers(tmp_path: Path) -> None:
    made, _ = place(tmp_path)
    made.open()
    assert [(seat.name, seat.run[-2]) for seat in made.seats()] == [
        ("node0", "netbench-mesh-worker-1"),
        ("node1", "netbench-mesh-worker-0"),
    ]


def test_the_lines_of_standard_error_are_told_from_the_others() -> None:
    assert split_log("a\nnetbench stderr: b\nnetbench stderr: \nc") == ("a\nc", "b\n\n")


def test_a_run_in_an_mpijob_has_the_ranks_in_the_plans_order_and_says_how_it_was_launched(
    prefix: Path, tmp_path: Path
) -> None:
    outcome, records, pods = campaign(tmp_path, prefix)
    assert outcome.exit_code == 0, outcome.failed
    for record in records:
        assert [rank.node for rank in record.affinity] == ["node0", "node1"]
    launchers = {record.place: record.launcher for record in records}
    assert launchers == {"pod-mesh": "hydra", "mpijob-mesh": "mpijob (hydra)"}
    assert len({tuple(record.binaries.items()) for record in records}) == 1
    record = next(record for record in records if record.place == "mpijob-mesh")
    assert "root@127.0.0.1" in (tmp_path / "out" / "runs" / record.id / "agent.sh").read_text()
    assert not list(pods.glob("*.json"))


def test_nothing_of_an_mpijob_stays_after_its_run(
    prefix: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[list[Path]] = []
    save = Record.save

    def look_and_save(self: Record, folder: Path) -> Path:
        left.append(list((tmp_path / "pods").glob("*.json")))
        return save(self, folder)

    monkeypatch.setattr(Record, "save", look_and_save)
    outcome, _, _ = campaign(tmp_path, prefix, places=["mpijob-mesh"])
    assert outcome.exit_code == 0
    assert left == [[], []]


@pytest.mark.parametrize(
    ("body", "trouble", "reason"),
    [
        ("echo 'cannot allocate' >&2; exit 3", "", "exit code 3: cannot allocate"),
        ("", "launcher gone", "the launcher's log ended before it did: is gone"),
    ],
)
def test_a_run_that_breaks_is_named_and_its_mpijob_deleted(
    tmp_path: Path, body: str, trouble: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mpijob, "ENDED_WITHIN", 0.1)
    install(tmp_path / "mpi", body)
    outcome, records, pods = campaign(tmp_path, tmp_path / "mpi", trouble, places=["mpijob-mesh"], repeats=1)
    assert outcome.exit_code == 1
    assert re.search(reason, records[0].sanity.reason), records[0].sanity.reason
    assert not list(pods.glob("*.json"))


def test_a_run_that_hangs_is_ended_at_its_limit_with_the_mpijob(tmp_path: Path) -> None:
    install(tmp_path / "mpi", "exec sleep 61")
    started = time.monotonic()
    outcome, records, pods = campaign(tmp_path, tmp_path / "mpi", places=["mpijob-mesh"], repeats=1, timeLimit=1)
    assert time.monotonic() - started < 15
    assert outcome.exit_code == 4
    assert records[0].sanity.reason.startswith("hangs: no end within 1 s")
    assert not list(pods.glob("*.json"))


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("no crd", "mpijob-mesh needs MPIJobs .* the server doesn't have a resource type"),
        ("no operator", "nothing took up an MPIJob within 20 s: is mpi-operator running"),
    ],
)
def test_a_cluster_without_the_operator_is_refused_before_the_first_run(
    prefix: Path, tmp_path: Path, trouble: str, said: str
) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        campaign(tmp_path, prefix, trouble)
    assert "install mpi-operator" in str(caught.value.remedy)
    assert caught.value.exit_code == 2
    assert not (tmp_path / "out" / "runs").exists()


def test_a_worker_that_ends_says_its_last_words(tmp_path: Path) -> None:
    made, pods = place(tmp_path)
    made.open()
    path = pods / "netbench-mesh-worker-1.json"
    words = '{"terminated": {"reason": "Error", "exitCode": 127, "message": "node0 has no /usr/sbin/sshd\\n"}}'
    path.write_text(path.read_text().replace('{"running": {}}', words))
    trouble = "pod netbench-mesh-worker-1 on node0 ended: Error (exit code 127): node0 has no /usr/sbin/sshd"
    assert made.trouble() == trouble
    assert not list(pods.glob("*.json"))


def test_an_mpijob_that_nothing_takes_up_is_no_place(tmp_path: Path) -> None:
    made, pods = place(tmp_path, ready_within=0.1)
    (pods / "trouble").write_text("no operator")
    with pytest.raises(PlaceError, match=r"netbench-mesh-worker-0 is not ready after 0\.1 s: not there"):
        made.open()


def plan_of(tmp_path: Path, **fields: Any) -> Plan:
    return small_plan(tmp_path, **{"places": ["mpijob-mesh"], **fields})


def test_what_is_no_mpi_program_is_left_out(tmp_path: Path) -> None:
    runs, left_out = runs_of(plan_of(tmp_path, cases=["osu_barrier", "tcp_rr", "pod_start"]))
    assert {run.case for run in runs} == {"osu_barrier"}
    assert left_out == [
        f"{case} at mpijob-mesh: an MPIJob starts MPI programs only" for case in ("tcp_rr", "pod_start")
    ]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"cluster": {"managed": True}}, "mpijob-mesh: a cluster that netbench makes has no mpi-operator"),
        ({"mpi": {"launcher": "srun"}}, "srun starts ranks on bare metal only"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(tmp_path: Path, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        plan_of(tmp_path, **fields)
