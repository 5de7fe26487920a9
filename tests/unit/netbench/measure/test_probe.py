"""What is read from a node: counters, limits of both cgroup versions, hashes; unknown lines are refused."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from netbench.measure import probe
from netbench.records.record import Throttling

V2 = """@kernel 6.1.0
@cpus 16
@governor performance
@load 0.25
@mtu eth0 9000
@address eth0 10.0.0.5
@bytes eth0 1000 2000
@words mlx5_0/ports/1 25 50
@seen v2
@cgroup v2 cpu.max 700000 100000
@cgroup v2 memory.max 1073741824
@cgroup v2 cpuset.cpus.effective 0-6
@cgroup v2 cpu.stat usage_usec 5
@cgroup v2 cpu.stat nr_periods 10
@cgroup v2 cpu.stat nr_throttled 4
@cgroup v2 cpu.stat throttled_usec 900
@cgroup v2 cpu.max max 100000
@cgroup v2 memory.max max
@cgroup v2 cpuset.cpus.effective 0-15
"""


def test_the_tightest_limit_on_the_way_to_the_root_counts() -> None:
    view = probe.parse(V2)
    assert (view.cpu_cores, view.memory_bytes, view.cpuset) == (7.0, 1 << 30, "0-6")
    assert view.throttling == Throttling(10, 4, 900)


def test_cgroups_of_version_1_say_the_same_in_other_words() -> None:
    text = """@seen v1
@cgroup v1 cpu.cfs_quota_us -1
@cgroup v1 cpu.cfs_period_us 100000
@cgroup v1 cpu.cfs_quota_us 250000
@cgroup v1 cpu.cfs_period_us 100000
@cgroup v1 memory.limit_in_bytes 9223372036854771712
@cgroup v1 cpuset.cpus 0-3
@cgroup v1 cpu.stat nr_periods 2
@cgroup v1 cpu.stat nr_throttled 1
@cgroup v1 cpu.stat throttled_time 3000000
"""
    view = probe.parse(text)
    assert (view.cpu_cores, view.memory_bytes, view.cpuset) == (2.5, None, "0-3")
    assert view.throttling == Throttling(2, 1, 3000)


def test_a_machine_without_frequency_scaling_says_so() -> None:
    done = subprocess.run(["sh", "-c", probe.look_script()], capture_output=True, text=True, check=True)
    scaled = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    expected = scaled.read_text().strip() if scaled.exists() else "none: no cpufreq here"
    assert probe.parse(done.stdout).governor == expected


def test_infiniband_counts_words_of_four_bytes() -> None:
    view = probe.parse(V2)
    assert view.counters == {"eth0": (1000, 2000), "mlx5_0/ports/1": (100, 200)}
    assert view.rdma == {"mlx5_0/ports/1"}
    assert view.interface_of("10.0.0.5") == "eth0"


def test_what_was_not_seen_is_not_guessed() -> None:
    view = probe.parse("@kernel 6.1.0\n@cpus\n@governor\n@load\n")
    assert (view.cpus, view.governor, view.load, view.cgroups_seen, view.throttling) == (None, None, None, False, None)


@pytest.mark.parametrize("line", ["kernel 6.1", "@what 1", "@bytes eth0 1", "sh: ip: not found"])
def test_a_line_that_is_not_known_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="not understood"):
        probe.parse(line)


def test_the_script_reads_this_machine() -> None:
    done = subprocess.run(["sh", "-c", probe.look_script()], capture_output=True, text=True, check=True)
    view = probe.parse(done.stdout)
    assert view.kernel
    assert view.counters
    assert view.load is not None


def test_busy_cpus_are_those_that_neither_rest_nor_wait_for_a_disk() -> None:
    two = "@cpus 4\n@ticks 100 0 50 800 50 0 0 0 0 0\n@ticks 130 0 60 850 60 0 0 0 0 0\n"
    assert probe.parse(two).busy == 1.6  # 40 of 100 ticks, on 4 CPUs
    assert probe.parse(two.rpartition("@ticks")[0]).busy is None
    assert probe.parse("@cpus 4\n@ticks 1 0 0 9 0 0 0 0\n@ticks 1 0 0 9 0 0 0 0\n").busy is None


def test_this_machine_is_seen_to_be_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "BUSY_SECONDS", 0.3)
    work = subprocess.Popen(["sh", "-c", "while :; do :; done"])
    try:
        done = subprocess.run(["sh", "-c", probe.look_script(busy=True)], capture_output=True, text=True, check=True)
        busy = probe.parse(done.stdout).busy
    finally:
        work.kill()
        work.wait()
    assert busy is not None
    assert busy > 0.5


def test_files_are_hashed_and_missing_ones_named(tmp_path: Path) -> None:
    (tmp_path / "a b").write_bytes(b"x")
    script = probe.hash_script([str(tmp_path / "a b"), "/nope"])
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    files, _ = probe.parse_hashes(done.stdout)
    assert files == {
        str(tmp_path / "a b"): "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
        "/nope": "missing",
    }


def test_what_a_run_left_behind_is_ended_and_nothing_else() -> None:
    left = subprocess.Popen(["env", "NETBENCH_RUN=run-7", "sleep", "60"])
    other = subprocess.Popen(["env", "NETBENCH_RUN=run-77", "sleep", "60"])
    try:
        done = subprocess.run(["sh", "-c", probe.sweep_script("run-7")], capture_output=True, text=True, check=True)
        assert done.stdout == f"@left {left.pid} sleep\n"
        assert left.wait(timeout=5) == -9
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
        left.kill()
        left.wait()
