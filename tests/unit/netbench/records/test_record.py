"""Records: JSON there and back, problems named by their path, the published schema."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netbench.records.record import (
    SCHEMA_FILE,
    Case,
    Record,
    RecordError,
    Sample,
    Sanity,
    load,
    load_dir,
    published_schema,
)
from tests.unit.netbench.made_up import record
from usernetes_deploy.errors import UsageError

VALIDATOR = jsonschema.Draft202012Validator(published_schema())


def changed(**fields: Any) -> str:
    return json.dumps({**json.loads(record().to_json()), **fields})


def problems(text: str) -> list[tuple[str, str]]:
    with pytest.raises(RecordError) as caught:
        Record.from_json(text, "a.record.json")
    assert str(caught.value).startswith("a.record.json is not a record")
    return caught.value.problems


def test_a_record_survives_json() -> None:
    assert Record.from_json(record().to_json()) == record()


@settings(deadline=None)
@given(
    st.builds(
        Record,
        id=st.just("r"),
        campaign=st.text(),
        case=st.builds(Case, name=st.just("x"), family=st.just("y"), parameters=st.dictionaries(st.text(), st.text())),
        place=st.sampled_from(["bare-metal", "pod-native"]),
        node_count=st.integers(1, 10**6),
        ranks=st.integers(1, 10**6),
        repeat=st.integers(0, 10**6),
        sanity=st.just(Sanity(ok=True)),
        samples=st.builds(
            lambda value: (Sample("m", "us", value, "lower", 8),), st.floats(allow_nan=False, allow_infinity=False)
        ),
        env=st.dictionaries(st.text(), st.text()),
        seed=st.none() | st.integers(),
        notes=st.lists(st.text()).map(tuple),
    )
)
def test_any_record_survives_json(made: Record) -> None:
    assert Record.from_json(made.to_json()) == made
    VALIDATOR.validate(json.loads(made.to_json()))


def test_the_published_schema_is_the_one_of_the_classes() -> None:
    published = json.loads(SCHEMA_FILE.read_text())
    assert published == published_schema(), "run: python -m netbench.records.record"
    jsonschema.Draft202012Validator.check_schema(published)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"ranks": 0}, "ranks"),
        ({"ranks": "2"}, "ranks"),
        ({"ranks": True}, "ranks"),
        ({"place": "Bare Metal"}, "place"),
        ({"case": {"name": "osu_latency"}}, "case.family"),
        ({"nodes": [{"name": "a", "cpus": 1.5}, {"name": "b"}]}, "nodes[0].cpus"),
        ({"nodes": "a,b"}, "nodes"),
        ({"env": {"UCX_TLS": 1}}, "env.UCX_TLS"),
        ({"samples": [{"metric": "latency", "unit": "us", "value": "4.2", "better": "lower"}]}, "samples[0].value"),
        ({"samples": [{"metric": "latency", "unit": "us", "value": 4.2, "better": "small"}]}, "samples[0].better"),
        ({"start": "yesterday"}, "start"),
        ({"affinity": [{"rank": 0, "node": "node1", "cpus": "all"}]}, "affinity[0].cpus"),
        ({"colour": "red"}, "colour"),
        ({"schema": "usernetes.dev/netbench-record/v0"}, "schema"),
    ],
)
def test_an_edited_record_is_refused_by_path_and_by_the_published_schema(fields: dict[str, Any], path: str) -> None:
    text = changed(**fields)
    assert problems(text)[0][0] == path
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(json.loads(text), published_schema())


def test_all_problems_are_listed_at_once() -> None:
    assert [path for path, _ in problems(changed(ranks=0, place="X", colour=1))] == ["place", "ranks", "colour"]


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_a_figure_that_is_no_number_is_refused(value: str) -> None:
    text = record().to_json().replace('"value": 10.0', f'"value": {value}')
    assert problems(text)[0][0] == "samples[0].value"


def test_a_failed_run_has_a_reason_and_no_figures() -> None:
    failed = replace(record(), sanity=Sanity(ok=False, reason=""))
    assert [path for path, _ in problems(failed.to_json())] == ["samples", "sanity.reason"]


def test_two_figures_of_one_size_are_refused() -> None:
    twice = replace(record(), samples=record().samples * 2)
    assert problems(twice.to_json()) == [("samples[1]", "a second latency of size 8")]


def test_nodes_are_as_many_as_said() -> None:
    assert problems(replace(record(), node_count=3).to_json())[0][0] == "nodes"


def test_a_record_is_written_whole_under_its_id(tmp_path: Path) -> None:
    path = record().save(tmp_path)
    assert path.name == "made-up.bare-metal.001.record.json"
    assert load(path) == record()
    assert list(tmp_path.iterdir()) == [path]


def test_a_record_that_contradicts_itself_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="samples: is empty"):
        replace(record(), samples=()).save(tmp_path)
    assert not list(tmp_path.iterdir())


def test_unusable_files_are_named_and_the_others_are_read(tmp_path: Path) -> None:
    record().save(tmp_path)
    (tmp_path / "cut.record.json").write_text(record().to_json()[:100])
    (tmp_path / "bytes.record.json").write_bytes(b"\xff\xfe")
    (tmp_path / "notes.txt").write_text("no record")
    records, errors = load_dir(tmp_path)
    assert records == [record()]
    assert {Path(error.source).name for error in errors} == {"cut.record.json", "bytes.record.json"}


def test_a_folder_that_is_not_there_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder of records"):
        load_dir(tmp_path / "absent")
