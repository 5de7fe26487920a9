"""Each rule of fairness: a case where it must speak, and one where it must keep silent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netbench.judge.fairness import Finding, Side, check, refused
from netbench.judge.study import Comparison, study
from netbench.records.importer import import_dir
from netbench.records.record import Case, Limits, Node, Rank, Record, Sample, Sanity, Throttling, Traffic
from tests.unit.netbench.made_up import campaign, node, record
from tests.unit.netbench.paper import whole

Change = Callable[[Record], Record]


def side(place: str, change: Change = lambda r: r, runs: int = 12, failed: int = 0) -> Side:
    rng = np.random.default_rng(len(place))
    values = 10 * np.exp(rng.normal(0, 0.005, runs))
    records = [change(record(place, i + 1, float(v))) for i, v in enumerate(values)]
    lost = [replace(r, samples=(), sanity=Sanity(ok=False, reason="rank 1 was lost")) for r in records[:failed]]
    figures = np.array([[r.samples[0].value] for r in records])
    return Side(place, records, figures, lost)


def findings(
    change: Change = lambda r: r, base: Change = lambda r: r, runs: int = 12, failed: int = 0
) -> list[Finding]:
    """What is said of two places that are equal but for `change` at the second and `base` at the first."""
    return check(side("bare-metal", base), side("pod-native", change, runs, failed))


def said(found: list[Finding]) -> list[tuple[str, str]]:
    return [(f.rule, f.level) for f in found]


def both(change: Change) -> list[Finding]:
    return findings(change, change)


def test_two_places_alike_in_everything_pass_without_a_word() -> None:
    assert findings() == []


def test_runs_of_two_campaigns_are_refused() -> None:
    assert said(findings(lambda r: replace(r, campaign="another day"))) == [("campaign", "refuse")]
    assert both(lambda r: replace(r, campaign="another day")) == []


def test_other_numbers_of_ranks_are_refused() -> None:
    found = findings(lambda r: replace(r, ranks=4))
    assert said(found) == [("campaign", "refuse")]
    assert found[0].text == "different numbers of nodes or ranks: 2 nodes / 2 ranks, 2 nodes / 4 ranks"


def others(*names: str) -> Change:
    nodes: tuple[Node, ...] = tuple(node(name) for name in names)
    return lambda r: replace(r, nodes=nodes)


def test_other_nodes_are_refused_and_named() -> None:
    found = findings(others("node1", "node9"))
    assert said(found) == [("nodes", "refuse")]
    assert found[0].text == "other nodes (bare-metal: node1, node2; pod-native: node1, node9)"
    assert both(others("node1", "node9")) == []


def test_the_same_nodes_in_another_order_are_flagged() -> None:
    assert said(findings(others("node2", "node1"))) == [("nodes", "flag")]


def test_nodes_that_were_not_recorded_are_said_to_be_unknown() -> None:
    assert said(findings(lambda r: replace(r, nodes=()))) == [("nodes", "unknown")]


def bound(*cpus: str) -> Change:
    ranks = tuple(Rank(i, f"node{i + 1}", allowed) for i, allowed in enumerate(cpus))
    return lambda r: replace(r, affinity=ranks)


def test_ranks_bound_to_fewer_cpus_in_one_place_are_refused() -> None:
    found = findings(bound("0", "0"))
    assert said(found) == [("affinity", "refuse")]
    assert "rank 0 may use CPUs 0-15 at bare-metal, 0 at pod-native" in found[0].text
    assert both(bound("0", "0")) == []


def test_ranks_bound_to_other_cpus_are_flagged() -> None:
    assert said(findings(bound("3", "3"), bound("2", "2"))) == [("affinity", "flag")]


def launched(by: str | None) -> Change:
    return lambda r: replace(r, launcher=by)


def test_ranks_that_were_started_in_another_way_are_flagged() -> None:
    found = findings(launched("mpijob (hydra)"))
    assert said(found) == [("launcher", "flag")]
    assert found[0].text == "the ranks were started by hydra at bare-metal, by mpijob (hydra) at pod-native"
    assert said(findings(launched(None))) == [("launcher", "unknown")]
    assert both(launched(None)) == both(launched("srun")) == []


def limited(cores: float | None, throttled: int = 0) -> Change:
    limits = (Limits("node1", cores, None, None, Throttling(0, 0, 0), Throttling(100, throttled, 5 * throttled)),)
    return lambda r: replace(r, limits=limits)


def test_a_cpu_limit_in_one_place_is_refused() -> None:
    found = findings(limited(7))
    assert said(found) == [("cpu limit", "refuse")]
    assert found[0].text == "CPU limit: bare-metal none, pod-native 7 cores"
    assert said(findings(limited(7), lambda r: replace(r, limits=None))) == [("cpu limit", "refuse")]


def test_the_same_cpu_limit_in_both_places_is_fair() -> None:
    assert both(limited(7)) == []


def test_limits_that_were_not_recorded_are_said_to_be_unknown() -> None:
    assert said(both(lambda r: replace(r, limits=None))) == [("cpu limit", "unknown")]


def test_throttling_in_one_place_is_refused_and_in_both_flagged() -> None:
    assert said(findings(limited(None, throttled=3))) == [("throttling", "refuse")]
    assert said(both(limited(7, throttled=3))) == [("throttling", "flag")]


def used(percent: float) -> Change:
    return lambda r: replace(r, samples=(*r.samples, Sample("cpu_use", "%", percent, "none")))


def test_an_application_that_got_half_the_cpu_is_refused() -> None:
    found = findings(used(43.7), used(99.8))
    assert said(found) == [("cpu use", "refuse")]
    assert "100 % CPU at bare-metal, 44 % at pod-native" in found[0].text
    assert findings(used(99.3), used(99.8)) == []


def test_shared_memory_on_one_side_is_refused() -> None:
    found = findings(lambda r: replace(r, transport="shm"))
    assert said(found) == [("transport", "refuse")]
    assert found[0].text == "other transport (bare-metal: tcp; pod-native: shm)"
    assert both(lambda r: replace(r, transport="shm")) == []
    assert said(findings(lambda r: replace(r, transport=None))) == [("transport", "unknown")]


def carried(bytes_: int) -> Change:
    return lambda r: replace(r, transport=None, traffic=(Traffic("node1", "eth0", 1500, 10, 10 + bytes_, 0, 0),))


def test_interfaces_that_carried_nothing_on_one_side_give_shared_memory_away() -> None:
    unseen = ("transport", "unknown")
    assert said(findings(carried(1_000), carried(100_000_000))) == [("transport", "refuse"), unseen]
    assert said(findings(carried(110_000_000), carried(100_000_000))) == [unseen]
    assert said(findings(carried(1_000), carried(100_000))) == [unseen]


def test_a_stream_of_a_fixed_time_may_carry_less_where_it_is_slower() -> None:
    def stream(bytes_: int) -> Change:
        return lambda r: replace(carried(bytes_)(r), case=Case("tcp_stream", "tcp"))

    assert said(findings(stream(1_000_000), stream(100_000_000))) == [("transport", "unknown")]


def test_bytes_do_not_count_where_the_transport_was_seen() -> None:
    def seen(bytes_: int) -> Change:
        return lambda r: replace(carried(bytes_)(r), transport="tcp")

    assert findings(seen(1_000), seen(100_000_000)) == []


def test_another_binary_is_refused() -> None:
    found = findings(lambda r: replace(r, binaries={"osu_latency": "b" * 64}))
    assert said(found) == [("binary", "refuse")]
    assert found[0].text == "other binary: osu_latency aaaaaaaaaaaa at bare-metal, bbbbbbbbbbbb at pod-native"
    assert said(findings(lambda r: replace(r, binaries={}))) == [("binary", "unknown")]


def test_a_binary_that_changed_on_the_way_is_refused() -> None:
    def halfway(r: Record) -> Record:
        return replace(r, binaries={"osu_latency": "b" * 64}) if r.repeat > 6 else r

    assert said(findings(halfway)) == [("binary", "refuse")]


def test_another_version_of_the_tool_is_refused() -> None:
    found = findings(lambda r: replace(r, case=replace(r.case, tool_version="5.8")))
    assert said(found) == [("binary", "refuse")]


def test_another_input_is_refused_and_no_input_is_no_matter() -> None:
    def reads(digest: str) -> Change:
        return lambda r: replace(r, inputs={"in.reaxff.hns": digest})

    assert said(findings(reads("1" * 64), reads("2" * 64))) == [("input", "refuse")]
    assert both(reads("1" * 64)) == []
    assert said(findings(reads("1" * 64))) == [("input", "unknown")]


def test_another_unit_is_refused() -> None:
    def milliseconds(r: Record) -> Record:
        return replace(r, samples=(replace(r.samples[0], unit="ms"),))

    found = findings(milliseconds)
    assert said(found) == [("unit", "refuse")]
    assert found[0].text == "latency has several units: ms, lower is better / us, lower is better"
    assert both(milliseconds) == []


def test_another_kernel_or_governor_is_flagged() -> None:
    def nodes(**changed: Any) -> Change:
        return lambda r: replace(r, nodes=tuple(replace(n, **changed) for n in r.nodes))

    assert said(findings(nodes(kernel="6.9"))) == [("machine", "flag")]
    assert said(findings(nodes(governor="powersave"))) == [("machine", "flag")]
    assert both(nodes(governor="powersave")) == []


def test_a_busy_machine_is_flagged_and_its_load_average_is_not() -> None:
    def busy(value: float, load: float = 0.1) -> Change:
        return lambda r: replace(r, nodes=tuple(replace(n, busy_before=value, load_before=load) for n in r.nodes))

    found = findings(busy(9.5))
    assert said(found) == [("machine", "flag")]
    assert "node1 was busy before a run (9.5 of 16 CPUs; 24 such cases)" in found[0].text
    assert findings(busy(0.9, load=12)) == []  # the runs before this one made it


def test_a_drifting_machine_is_flagged_where_places_took_turns_and_refused_where_not() -> None:
    def drifting(r: Record) -> Record:
        return replace(r, samples=(replace(r.samples[0], value=r.samples[0].value * (1 + 0.02 * r.repeat)),))

    assert said(findings(drifting)) == [("drift", "flag")]

    def apart(r: Record) -> Record:
        return replace(drifting(r), interleaved=False)

    assert said(findings(apart)) == [("drift", "refuse"), ("interleaving", "flag")]


@pytest.mark.parametrize(("runs", "level"), [(5, "refuse"), (6, "flag"), (9, "flag")])
def test_too_few_runs(runs: int, level: str) -> None:
    assert said(findings(runs=runs)) == [("too few runs", level)]


def test_ten_runs_are_enough() -> None:
    assert findings(runs=10) == []


def test_failed_runs_are_counted_and_the_first_reason_is_given() -> None:
    found = findings(failed=2)
    assert said(found) == [("failed runs", "flag")]
    assert found[0].text == "pod-native: 2 of 14 runs failed and are missing (rank 1 was lost)"


def test_places_that_did_not_take_turns_are_flagged() -> None:
    assert said(both(lambda r: replace(r, interleaved=False))) == [("interleaving", "flag")]


def test_outliers_that_would_move_a_mean_are_named() -> None:
    def once(r: Record) -> Record:
        return replace(r, samples=(replace(r.samples[0], value=6974.0),)) if r.repeat == 4 else r

    found = findings(once)
    assert said(found) == [("outliers", "flag")]
    assert "outliers: pod-native run 4" in found[0].text


def test_an_outlier_that_moves_nothing_is_not_mentioned() -> None:
    def once(r: Record) -> Record:
        return replace(r, samples=(replace(r.samples[0], value=11.0),)) if r.repeat == 4 else r

    assert findings(once) == []


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int, str], Comparison]:
    """The published campaigns' comparisons by benchmark, nodes and place."""
    records = import_dir(whole(), tmp_path_factory.mktemp("records")).records
    return {(c.key.name, c.key.node_count, c.other.place): c for c in study(records).comparisons}


Published = dict[tuple[str, int, str], Comparison]


def test_the_published_pods_with_a_cpu_limit_are_refused(published: Published) -> None:
    found = published["osu_allreduce", 2, "usernetes"]
    assert ("cpu limit", "refuse") in said(list(found.findings))
    assert "usernetes 10 cores" in found.verdict.text


def test_the_two_published_campaigns_are_never_pooled(published: Published, tmp_path: Path) -> None:
    records = import_dir(whole(), tmp_path).records
    march = [r for r in records if "2024-03" in r.campaign]
    june = [r for r in records if r.case.name == "osu_allreduce" and "2024-06" in r.campaign and r.node_count == 4]
    one, two = (
        Side(name, held, np.array([[r.samples[0].value] for r in held])) for name, held in (("a", march), ("b", june))
    )
    found = check(one, two)
    assert refused(found)
    assert [f.text for f in found if f.rule == "campaign"] == [
        "runs of different campaigns: flux-usernetes 2024-03 follow-up, flux-usernetes 2024-06",
        "different numbers of nodes or ranks: 2 nodes / 32 ranks, 4 nodes / 64 ranks",
    ]
    assert published["osu_allreduce", 2, "usernetes"].base.records[0].campaign.endswith("follow-up")


def test_the_published_lammps_of_two_builds_is_refused(published: Published) -> None:
    found = published["lammps_hns", 32, "usernetes"]
    assert found.verdict.overall == "refused"
    assert "e51a656 at bare-metal" in found.verdict.text
    assert "8819275 at usernetes" in found.verdict.text


def test_the_published_cost_of_an_idle_cluster_beside_lammps(published: Published) -> None:
    assert published["lammps_hns", 4, "bare-metal-with-usernetes"].verdict.text == "same within 3 %"
    assert published["lammps_hns", 32, "bare-metal-with-usernetes"].verdict.text.startswith("slower by 1")


def test_the_published_small_messages_are_slower_in_pods_but_nodes_are_unknown(published: Published) -> None:
    found = published["osu_latency", 2, "usernetes"]
    assert found.verdict.overall == "slower"
    assert ("nodes", "unknown") in said(list(found.findings))


def test_the_published_means_of_the_barrier_are_not_believed(published: Published) -> None:
    texts = [f.text for f in published["osu_barrier", 32, "usernetes"].findings if f.rule == "outliers"]
    assert texts == ["means would say x0.61, medians say x1.73 (outliers: bare-metal run 3, bare-metal run 10)"]


def test_a_made_up_fair_campaign_has_no_findings_at_all() -> None:
    [found] = study(campaign({"bare-metal": 1.0, "pod-native": 1.0})).comparisons
    assert list(found.findings) == []
