"""TCP, noise and pod start: what is read, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from netbench.cases import CASES
from netbench.cases.base import NotSane, Setup
from netbench.cases.software import MissingSoftware, Software
from tests.unit.netbench.cases.test_osu import OUTPUTS

NOWHERE = Software(Path("/nonexistent"))


def setup(name: str, **parameters: str) -> Setup:
    return Setup(NOWHERE, 2, 2, {**CASES[name].defaults, **parameters})


def test_a_stream_is_measured_by_what_arrived() -> None:
    parsed = CASES["tcp_stream"].parse((OUTPUTS / "tcp_stream.json").read_text(), setup("tcp_stream", seconds="2"))
    report = json.loads((OUTPUTS / "tcp_stream.json").read_text())
    assert parsed.samples[0].value == report["end"]["sum_received"]["bits_per_second"] / 1e9
    assert (parsed.samples[0].metric, parsed.samples[0].unit) == ("throughput", "Gbit/s")
    assert parsed.tool_version == "3.12"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no JSON"),
        ('{"error": "unable to connect"}', "iperf3 says: unable to connect"),
        ("{}", "lacks 'end'"),
        ('{"start": {"version": "iperf 3"}, "end": {"sum_received": {"bits_per_second": 0, "seconds": 2},'
         ' "sum_sent": {}}}', "0 Gbit/s"),
        ('{"start": {"version": "iperf 3"}, "end": {"sum_received": {"bits_per_second": 1e9, "seconds": 0.4},'
         ' "sum_sent": {}}}', "in 0.4 s, where 2 s"),
    ],
)  # fmt: skip
def test_a_stream_that_broke_is_refused(text: str, reason: str) -> None:
    with pytest.raises(NotSane, match=reason):
        CASES["tcp_stream"].parse(text, setup("tcp_stream", seconds="2"))


def test_a_round_trip_is_the_median() -> None:
    text = (OUTPUTS / "tcp_rr.txt").read_text()
    found = {s.metric: s for s in CASES["tcp_rr"].parse(text, setup("tcp_rr")).samples}
    assert found["latency"].better == "lower"
    assert found["latency"].value <= found["latency_p99"].value
    assert found["latency_mean"].unit == "us"


def test_lost_messages_are_no_round_trips() -> None:
    text = (OUTPUTS / "tcp_rr.txt").read_text().replace("# dropped messages = 0", "# dropped messages = 3")
    with pytest.raises(NotSane, match="lost 3 messages"):
        CASES["tcp_rr"].parse(text, setup("tcp_rr"))


def test_noise_is_the_mean_over_the_ranks() -> None:
    text = "# netbench builtin noise 1\n# rank mean_us min_us p99_us max_us\n0 1000.0 900.0 1500.0 2000.0\n" \
           "1 1100.0 1000.0 1500.0 2000.0\n"  # fmt: skip
    found = {s.metric: s.value for s in CASES["noise"].parse(text, setup("noise")).samples}
    assert found["quantum"] == 1050
    assert found["lost_percent"] == pytest.approx((100 / 9 + 10) / 2)


@pytest.mark.parametrize("cut", ["\n1 ", "0 "])
def test_a_rank_without_a_row_is_missed(cut: str) -> None:
    text = (OUTPUTS / "noise.txt").read_text()
    with pytest.raises(NotSane):
        CASES["noise"].parse(text[: text.index(cut) + 1], setup("noise"))


def test_every_pod_must_become_ready() -> None:
    case = CASES["pod_start"]
    assert case.parse("started a 1.250\nstarted b 0.750\n", setup("pod_start")).samples[0].value == 1.25
    with pytest.raises(NotSane, match="1 of 2 pods"):
        case.parse("started a 1.250\n", setup("pod_start"))


def test_a_tool_that_is_not_there_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netbench.cases.software._runs", lambda _: False)
    for name, package in (("tcp_stream", "iperf3"), ("tcp_rr", "sockperf")):
        with pytest.raises(MissingSoftware, match=f"install the package {package} on every node"):
            CASES[name].command(setup(name))


def test_every_case_has_defaults_that_make_a_guess_of_its_time() -> None:
    for case in CASES.values():
        assert 0 < case.seconds(case.defaults) < 120
        assert case.refuses(2, 2) is None
