"""What a cluster is to begin with is read before anything is started, and every mistake is named with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from usernetes_deploy.cluster.user_objects import files
from usernetes_deploy.errors import SpecError

GOOD = "apiVersion: v1\nkind: Namespace\nmetadata: {name: jobs}\n"


def test_a_folder_is_its_files_by_name(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yml", "notes.txt"):
        (tmp_path / name).write_text(GOOD)
    assert [path.name for path in files([str(tmp_path)])] == ["a.yml", "b.yaml"]


def test_every_mistake_is_named_with_file_and_document(tmp_path: Path) -> None:
    (tmp_path / "half.yaml").write_text(f"{GOOD}---\nkind: Pod\n---\n- a list\n")
    (tmp_path / "broken.yaml").write_text("a: [\n")
    (tmp_path / "empty").mkdir()
    sources = [str(tmp_path / name) for name in ("half.yaml", "broken.yaml", "empty", "gone.yaml")]
    with pytest.raises(SpecError) as caught:
        files(sources)
    said = str(caught.value)
    assert "manifests[0]" in said
    assert "half.yaml, document 2: it has no apiVersion, metadata.name" in said
    assert "half.yaml, document 3: expected an object, got list" in said
    assert "broken.yaml is not YAML" in said
    assert "has no file that ends in .yaml" in said
    assert "gone.yaml: No such file" in said
