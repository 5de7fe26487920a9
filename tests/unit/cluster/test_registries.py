"""What nodes are told about registries, and which files a spec cannot name."""

from __future__ import annotations

import base64
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from usernetes_deploy.cluster import registries
from usernetes_deploy.cluster.pki import Authority
from usernetes_deploy.cluster.spec import load
from usernetes_deploy.errors import SpecError

FOLDER = "/run/usernetes/registries"


def written(path: Path, text: str, mode: int = 0o600) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def docker(path: Path, document: dict[str, Any]) -> str:
    return written(path, json.dumps(document))


def encoded(words: str) -> str:
    return base64.b64encode(words.encode()).decode()


def told(registry: dict[str, Any]) -> dict[str, Any]:
    """hosts.toml of r.example, as containerd's TOML has it."""
    found = registries.files(load({"registries": [{"name": "r.example", **registry}]}))
    return tomllib.loads(found[f"{FOLDER}/r.example/hosts.toml"])


def problem(registry: dict[str, Any]) -> str:
    with pytest.raises(SpecError) as failed:
        told(registry)
    [(path, words)] = failed.value.problems
    return f"{path}: {words}"


def test_mirrors_come_in_their_order_and_the_registry_itself_last() -> None:
    found = told({"mirrors": ["https://b.example", "http://a.example:5000"]})
    assert list(found["host"]) == ["https://b.example", "http://a.example:5000"]
    assert found["server"] == "https://r.example"


def test_the_authority_and_skip_verify_count_for_all_of_them(tmp_path: Path) -> None:
    pem = Authority.make("test").pair.certificate
    spec = load(
        {
            "registries": [
                {
                    "name": "r.example",
                    "mirrors": ["https://m.example"],
                    "ca": written(tmp_path / "ca", pem),
                    "skipVerify": True,
                }
            ]
        }
    )
    found = registries.files(spec)
    assert found[f"{FOLDER}/r.example/ca.crt"] == pem
    document = tomllib.loads(found[f"{FOLDER}/r.example/hosts.toml"])
    for part in (document, document["host"]["https://m.example"]):
        assert (part["ca"], part["skip_verify"]) == ("ca.crt", True)


def test_a_pull_through_projects_path_is_taken_as_it_is() -> None:
    found = told({"url": "https://harbor.example/v2/hub", "mirrors": ["https://m.example/root"]})
    assert found["override_path"] is True
    assert "override_path" not in found["host"]["https://m.example/root"]


def test_one_login_goes_to_the_registry_and_its_mirrors(tmp_path: Path) -> None:
    found = told({"mirrors": ["https://m.example"], "credentials": written(tmp_path / "login", "reader:a:b\n")})
    expected = {"Authorization": f"Basic {encoded('reader:a:b')}"}
    assert found["header"] == expected
    assert found["host"]["https://m.example"]["header"] == expected


def test_dockers_logins_go_to_the_hosts_that_they_are_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker(tmp_path / "config.json", {"auths": {"https://m.example/v2/": {"auth": encoded("me:mine")}}})
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    found = told({"mirrors": ["https://m.example", "https://other.example"], "credentials": "docker"})
    assert found["host"]["https://m.example"]["header"] == {"Authorization": f"Basic {encoded('me:mine')}"}
    assert "header" not in found["host"]["https://other.example"]
    assert "header" not in found


def test_dockers_own_hub_is_asked_where_it_is_with_the_login_that_docker_has_for_it(tmp_path: Path) -> None:
    file = docker(tmp_path / "c", {"auths": {"https://index.docker.io/v1/": {"auth": encoded("me:mine")}}})
    found = registries.files(load({"registries": [{"name": "docker.io", "credentials": file}]}))
    document = tomllib.loads(found[f"{FOLDER}/docker.io/hosts.toml"])
    assert document["server"] == "https://registry-1.docker.io"
    assert document["header"] == {"Authorization": f"Basic {encoded('me:mine')}"}


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path / "login", "me:mine", 0o640)
    assert f"others may read {file} (mode 0640); fix: chmod 600 {file}" in problem({"credentials": file})


def test_no_password_travels_unencrypted(tmp_path: Path) -> None:
    file = written(tmp_path / "login", "me:mine")
    words = problem({"mirrors": ["http://m.example"], "credentials": file})
    assert words.endswith("the password would go to http://m.example unencrypted: expected https://...")


@pytest.mark.parametrize("text", ["me", "me:", ":mine", "me:mine\nyou:yours", ""])
def test_a_file_that_is_no_login_is_refused_without_its_content(tmp_path: Path, text: str) -> None:
    words = problem({"credentials": written(tmp_path / "login", text)})
    assert "expected one line, USER:PASSWORD, or docker's config.json" in words
    assert "mine" not in words


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"auths": {"other.example": {"auth": encoded("a:b")}}}, "has no login for r.example; fix: docker login"),
        (
            {"auths": {"r.example": {}}, "credsStore": "pass"},
            "leaves the login for r.example to docker-credential-pass",
        ),
        ({"auths": {}, "credHelpers": {"r.example": "gcr"}}, "leaves the login for r.example to docker-credential-gcr"),
        ({"auths": {"r.example": {"identitytoken": "x"}}}, "has a token for r.example that ends"),
        ({"auths": {"r.example": {"auth": "*"}}}, "the login for r.example is not"),
        ({"auths": []}, "begins as docker's config.json does, and is none"),
    ],
)
def test_a_docker_config_without_a_usable_login_says_why(tmp_path: Path, document: dict[str, Any], words: str) -> None:
    assert words in problem({"credentials": docker(tmp_path / "config.json", document)})


def test_all_files_that_are_of_no_use_are_named_at_once(tmp_path: Path) -> None:
    lost = str(tmp_path / "none")
    spec = load({"registries": [{"name": "a", "ca": lost, "credentials": lost}, {"name": "b", "ca": "/dev/null"}]})
    with pytest.raises(SpecError) as failed:
        registries.files(spec)
    assert dict(failed.value.problems) == {
        "registries[0].ca": f"{lost}: No such file or directory",
        "registries[0].credentials": f"{lost}: No such file or directory",
        "registries[1].ca": "/dev/null: expected certificates (PEM)",
    }
