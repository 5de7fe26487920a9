"""The verbs import, report and compare: what they print, where, and how they end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from invoke.context import Context

from netbench.commands import data
from tests.unit.netbench.made_up import campaign
from tests.unit.netbench.paper import EXCERPTS
from usernetes_deploy.errors import UsageError, UsernetesError


def call(verb: Any, *arguments: Any, **flags: Any) -> None:
    verb.body(Context(), *arguments, **flags)


@pytest.fixture
def records(tmp_path: Path) -> Path:
    folder = tmp_path / "records"
    folder.mkdir()
    for record in campaign({"bare-metal": 1.0, "pod-native": 1.2}):
        record.save(folder)
    return folder


def test_import_says_how_many_records_it_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call(data.import_, str(EXCERPTS), str(tmp_path))
    assert capsys.readouterr().out == f"9 records from 8 files in {tmp_path}\n"


def test_import_names_what_it_cannot_read_and_fails_though_it_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "results-osu" / "bare-metal"
    source.mkdir(parents=True)
    (source / "osu_barrier-4-64-1.out").write_text("# OSU MPI Barrier Latency Test v5.8\n 40.58\n")
    (source / "osu_barrier-4-64-2.out").write_text("# OSU MPI Barrier Latency Test v5.8\n inf\n")
    with pytest.raises(UsernetesError, match="1 of 2 files could not be read"):
        call(data.import_, str(tmp_path), str(tmp_path / "records"))
    printed = capsys.readouterr()
    assert printed.out.startswith("1 records from 2 files")
    assert "osu_barrier-4-64-2.out:2: not understood: ' inf'" in printed.err


def test_report_prints_the_pages_path_and_the_verdict_beside_it(
    records: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call(data.report, str(records))
    printed = capsys.readouterr()
    assert printed.out == f"{records / 'report.html'}\n"
    assert "Slower than bare-metal: pod-native" in printed.err
    assert {p.name for p in records.iterdir() if p.name.startswith("report.")} == {
        "report.html",
        "report.md",
        "report.csv",
    }


def test_report_as_json_has_every_verdict(records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call(data.report, str(records), out=str(tmp_path / "out"), json=True)
    [verdict] = json.loads(capsys.readouterr().out)["verdicts"]
    assert (verdict["place"], verdict["overall"], len(verdict["sizes"])) == ("pod-native", "slower", 5)
    assert verdict["sizes"][0]["low"] < 1.2 < verdict["sizes"][0]["high"]


def test_report_names_a_record_edited_by_hand_and_fails_after_writing(
    records: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edited = next(records.glob("*.020.record.json"))
    edited.write_text(edited.read_text().replace('"ranks": 2', '"ranks": 0'))
    with pytest.raises(UsernetesError, match="1 records could not be used"):
        call(data.report, str(records))
    printed = capsys.readouterr()
    assert f"{edited} is not a record" in printed.err
    assert "ranks: expected >= 1, got 0" in printed.err
    assert (records / "report.html").is_file()


@pytest.mark.parametrize("margin", [0.0, 100.0, -3.0])
def test_a_margin_that_is_no_percentage_is_wrong_use(records: Path, margin: float) -> None:
    with pytest.raises(UsageError, match="--margin is a percentage"):
        call(data.report, str(records), margin=margin)


def test_compare_prints_its_page_and_the_result(
    records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call(data.compare, str(records), str(records), out=str(tmp_path), names="may,june")
    printed = capsys.readouterr()
    assert printed.out == f"{tmp_path / 'compare.html'}\n"
    assert "Of 1 costs against bare-metal: 1 the same within 3 %." in printed.err


@pytest.mark.parametrize("names", ["one", "a,b,c", ",b"])
def test_compare_wants_two_names(records: Path, names: str) -> None:
    with pytest.raises(UsageError, match="two names"):
        call(data.compare, str(records), str(records), names=names)


def test_a_report_without_its_extra_says_what_to_install(records: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "find_spec", lambda name: None if name == "matplotlib" else object())
    with pytest.raises(UsageError, match="reports need matplotlib") as caught:
        call(data.report, str(records))
    assert caught.value.remedy == "pip install 'usernetes-deploy[report]'"
