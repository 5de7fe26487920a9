"""Command lines of the MPI launchers, and the agents that reach the nodes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from netbench.records.record import Rank
from netbench.start.mpi import RANK_SCRIPT, Seat, cpus_env, mpi_argv, ranks_seen, transport_env, write_agent
from usernetes_deploy.errors import UsageError

SEATS = [Seat("a", "10.0.0.1"), Seat("b", "10.0.0.2", ("env", "WHERE=b"))]
PROGRAM = ("/opt/osu/osu_bw", "-m", "8:16")


def hydra(seats: list[Seat], ranks: int) -> list[str]:
    return mpi_argv("hydra", seats, ranks, PROGRAM, {"UCX_TLS": "tcp,self"}, mpiexec=Path("/opt/mpi/mpiexec"),
                    agent=Path("/out/agent.sh"), localhost="10.0.0.9", folder="/in")  # fmt: skip


def test_hydra_gets_an_agent_the_nodes_in_order_and_an_environment_of_its_own() -> None:
    argv = hydra(SEATS, 4)
    text = " ".join(argv)
    assert "-launcher ssh -launcher-exec /out/agent.sh" in text
    assert "-hosts 198.18.0.1,198.18.0.2 -ppn 2 -n 4 -genvnone" in text
    assert "-genv UCX_TLS tcp,self" in text
    assert argv[-4:] == ["/in", *PROGRAM]


@pytest.mark.parametrize(
    ("launcher", "words"),
    [
        (
            "openmpi",
            ["plm_rsh_agent sh /out/agent.sh", "--host 198.18.0.1:2,198.18.0.2:2", "-x UCX_TLS=tcp,self", "ppr:2:node"],
        ),
        ("flux", ["flux run -N2 -n4", "--requires=hosts:a,b", "--env=UCX_TLS=tcp,self"]),
        ("srun", ["srun -N2 -n4", "--nodelist=a,b", "UCX_TLS=tcp,self"]),
    ],
)
def test_other_launchers_get_the_same_nodes_ranks_and_environment(launcher: str, words: list[str]) -> None:
    argv = mpi_argv(launcher, SEATS, 4, PROGRAM, {"UCX_TLS": "tcp,self"}, mpiexec=Path("mpirun"),
                    agent=Path("/out/agent.sh"))  # fmt: skip
    for word in words:
        assert word in " ".join(argv)
    assert argv[-3:] == list(PROGRAM)


def test_ranks_that_do_not_fill_the_nodes_evenly_are_refused() -> None:
    with pytest.raises(UsageError, match="3 ranks cannot be dealt evenly to 2 nodes"):
        hydra(SEATS, 3)
    with pytest.raises(UsageError, match="no agent with blanks"):
        mpi_argv("openmpi", SEATS, 2, PROGRAM, {}, mpiexec=Path("mpirun"), agent=Path("/my out/agent.sh"))
    with pytest.raises(UsageError, match="no launcher 'pvm'"):
        mpi_argv("pvm", SEATS, 2, PROGRAM, {})


def test_the_agent_runs_on_the_node_it_is_told_with_a_clean_environment(tmp_path: Path) -> None:
    agent = write_agent(tmp_path / "agent.sh", SEATS)
    script = 'echo "$NETBENCH_NODE $WHERE ${SECRET:-clean}" \'it is\' "$((1 + 1))"'
    done = subprocess.run(
        [agent, "-x", "198.18.0.2", script],
        capture_output=True,
        text=True,
        check=True,
        env={"SECRET": "x", "PATH": "/usr/bin:/bin"},
    )
    # `env -i` comes after what the place puts in front, so nothing of it is inherited
    assert done.stdout == "b  clean it is 2\n"


def test_an_agent_asked_for_a_node_it_does_not_know_says_so(tmp_path: Path) -> None:
    agent = write_agent(tmp_path / "agent.sh", SEATS)
    done = subprocess.run([agent, "c", "true"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no node c" in done.stderr


def test_ssh_gets_one_string_that_its_far_shell_reads(tmp_path: Path) -> None:
    fake = tmp_path / "ssh"
    fake.write_text('#!/bin/sh\nshift\nexec sh -c "$*"\n')  # as a login shell on the far side would
    fake.chmod(0o755)
    seat = Seat("c", "10.0.0.3", (str(fake), "c"), joined=True)
    agent = write_agent(tmp_path / "agent.sh", [seat])
    done = subprocess.run(
        [agent, "198.18.0.1", '"/bin/echo" "$NETBENCH_NODE" \'a b\''], capture_output=True, text=True, check=True
    )
    assert done.stdout == "c a b\n"
    done = subprocess.run(seat.argv('echo "it\'s" $((1 + 1))'), capture_output=True, text=True, check=True)
    assert done.stdout == "it's 2\n"


def test_tcp_is_fixed_for_all_libraries_at_once_or_nothing_is_touched() -> None:
    env = transport_env("tcp", "eth0")
    assert env["UCX_TLS"] == "tcp,self"
    assert env["UCX_NET_DEVICES"] == env["FI_TCP_IFACE"] == "eth0"
    assert "UCX_NET_DEVICES" not in transport_env("tcp", None)
    assert transport_env("default", "eth0") == {}


def test_ranks_say_where_they_are_also_with_a_prefix() -> None:
    text = "noise\nnetbench rank 1 node b cpus 0-3,8\n[0] netbench rank 0 node a cpus 2\n"
    assert ranks_seen(text) == [Rank(0, "a", "2"), Rank(1, "b", "0-3,8")]


@pytest.mark.parametrize(("local", "cpu"), [("0", "0"), ("1", "1"), ("2", "0")])
def test_a_rank_is_held_to_its_hosts_next_cpu_and_says_so(tmp_path: Path, local: str, cpu: str) -> None:
    tool = tmp_path / "taskset"
    tool.write_text("#!/bin/sh\ntrue\n")
    tool.chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "NETBENCH_NODE": "b", "PMI_RANK": "5", "MPI_LOCALRANKID": local}
    run = ["sh", "-c", RANK_SCRIPT, "netbench", "/", "echo", "it runs"]
    done = subprocess.run(run, env=env | cpus_env({"a": (7,), "b": (0, 1)}), capture_output=True, text=True, check=True)
    assert done.stdout == "it runs\n"
    assert done.stderr.startswith("netbench rank 5 node b cpus ")  # taskset's stdout is not the program's
    tool.write_text(f'#!/bin/sh\n[ "$2" = {cpu} ]\n')
    subprocess.run(run, env=env | cpus_env({"a": (7,), "b": (0, 1)}), capture_output=True, check=True)
    refused = subprocess.run(run, env=env | cpus_env({"b": (9,)}), capture_output=True, check=False)
    assert refused.returncode == 125
