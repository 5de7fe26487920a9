"""Building: the same bytes twice, resumed where it stopped, and clear about what went wrong."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from usernetes_deploy.bundle import build, components, go_build, locate, stage, store
from usernetes_deploy.bundle.components import Component, Components, GoBuild
from usernetes_deploy.errors import BundleError

needs_go = pytest.mark.skipif(shutil.which("go") is None, reason="no Go here")
LEAST_GO = "1.21"


def hello(folder: Path, name: str = "hello", text: str = "hello") -> Component:
    """A component that is one Go command without dependencies, whose version is stamped."""
    (folder / name).mkdir(parents=True)
    (folder / "go.mod").write_text(f"module example.org/{name}\n\ngo {LEAST_GO}\n")
    (folder / name / "main.go").write_text(
        f'package main\n\nvar version = "none"\n\nfunc main() {{ println("{text}", version) }}\n'
    )
    recipe = GoBuild(folder, f"example.org/{name}", {f"bin/{name}": f"example.org/{name}/{name}"})
    return Component(name, "v7", "MIT", "a test", go=replace(recipe, stamps={"main.version": "v7"}))


def quiet(line: str) -> None:
    """A report that nobody reads."""


def maker_of(content: bytes, made: list[str]) -> build.Maker:
    """Makes a component by writing `content`, and writes down that it was asked to."""

    def make(component: Component, out: Path) -> Mapping[str, str]:
        made.append(component.name)
        (out / "bin").mkdir()
        (out / "bin" / component.name).write_bytes(content)
        (out / "bin" / component.name).chmod(0o755)
        return {"built": "here"}

    return make


def plain(name: str) -> Component:
    """A component that only a test's maker can make."""
    return Component(name, "v1", "MIT", "a test")


@needs_go
def test_two_builds_in_different_places_give_the_same_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = set()
    for number, home in enumerate(("one", "another/and/longer")):
        monkeypatch.setenv("CGO_CFLAGS", f"-O{number}")
        monkeypatch.setenv("GOFLAGS", "-race" if number else "")
        old = os.umask(0o077 if number else 0o022)
        try:
            parts = Components(LEAST_GO, [hello(tmp_path / home / "src")])
            made = build.build(parts, tmp_path / home / "cache", quiet, jobs=1 + number)
        finally:
            os.umask(old)
        digests.add(made.digest)
        said = subprocess.run([made.binary("hello")], capture_output=True, text=True, check=True)
        assert said.stderr == "hello v7\n"
        assert str(tmp_path).encode() not in made.binary("hello").read_bytes()
        assert stage.verify(made.root, again=True)
    assert len(digests) == 1


@needs_go
def test_a_command_that_is_to_be_an_image_is_there_as_one_and_not_besides(tmp_path: Path) -> None:
    component = replace(hello(tmp_path / "src"), image=True)
    made = build.build(Components(LEAST_GO, [component]), tmp_path / "cache", quiet, jobs=1)
    assert made.image("hello") == ("localhost/usernetes/hello:v7", made.root / "images" / "hello.tar")
    assert sorted(made.manifest.files) == ["images/hello.tar"]


@needs_go
def test_two_builds_of_our_helpers_give_the_same_digest(tmp_path: Path) -> None:
    helpers = next(component for component in components.load().components if component.name == "helpers")
    assert helpers.go
    offline = {**os.environ, "GOFLAGS": "-mod=readonly", "GOPROXY": "off"}
    listed = subprocess.run(
        ["go", "list", "-deps", "./..."], cwd=helpers.go.folder, env=offline, capture_output=True, check=False
    )
    if listed.returncode:
        pytest.skip("the helpers' modules are not in Go's cache")
    digests = set()
    for name in ("one", "two"):
        folder = shutil.copytree(helpers.go.folder, tmp_path / name / "go")
        parts = Components(LEAST_GO, [replace(helpers, go=replace(helpers.go, folder=folder))])
        digests.add(build.build(parts, tmp_path / name / "cache", quiet).digest)
    assert len(digests) == 1


@needs_go
def test_a_build_that_fails_shows_the_command_and_the_compilers_words(tmp_path: Path) -> None:
    component = hello(tmp_path / "src")
    (tmp_path / "src/hello/main.go").write_text("package main\n\nfunc main() { nonsense() }\n")
    with pytest.raises(BundleError, match="hello v7 cannot be built") as error:
        build.build(Components(LEAST_GO, [component]), tmp_path / "cache", quiet)
    assert "undefined: nonsense" in str(error.value)
    assert f"cd {tmp_path}/src && go build" in str(error.value)
    assert list((tmp_path / "cache" / "built").iterdir()) == []
    with pytest.raises(BundleError, match="there is no bundle"):
        locate(None, tmp_path / "cache")


@needs_go
def test_without_a_module_proxy_the_remedy_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    component = hello(tmp_path / "src")
    (tmp_path / "src/go.mod").write_text(
        f"module example.org/hello\n\ngo {LEAST_GO}\n\nrequire example.org/absent v1.0.0\n"
    )
    (tmp_path / "src/hello/main.go").write_text('package main\n\nimport _ "example.org/absent"\n\nfunc main() {}\n')
    (tmp_path / "src/go.sum").write_text(
        f"example.org/absent v1.0.0 h1:{'A' * 43}=\nexample.org/absent v1.0.0/go.mod h1:{'A' * 43}=\n"
    )
    monkeypatch.setenv("GOPROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("GONOSUMDB", "*")
    with pytest.raises(BundleError) as error:
        build.build(Components(LEAST_GO, [component]), tmp_path / "cache", quiet)
    assert "set GOPROXY" in (error.value.remedy or "")


def test_a_held_cache_is_not_built_in(tmp_path: Path) -> None:
    script = (
        "import sys, fcntl; f = open(sys.argv[1], 'a'); fcntl.lockf(f, fcntl.LOCK_EX)\n"
        "print(flush=True); sys.stdin.read()"
    )
    argv = [sys.executable, "-c", script, str(tmp_path / "lock")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout and other.stdout.readline()
        with pytest.raises(BundleError, match="is in use by"):
            build.build(Components(LEAST_GO, []), tmp_path, quiet)
        other.kill()


def test_what_is_built_and_sound_is_not_built_again(tmp_path: Path) -> None:
    made: list[str] = []
    lines: list[str] = []
    chosen = [plain("a"), plain("b")]
    makers = {name: (maker_of(name.encode(), made), "key") for name in "ab"}
    first = build.make_bundle(chosen, makers, tmp_path, lines.append, workers=2)
    again = build.make_bundle(chosen, makers, tmp_path, lines.append, workers=2)
    assert sorted(made) == ["a", "b"]
    assert first.digest == again.digest
    assert sum("there already" in line for line in lines) == 2
    assert any(line.startswith("[ 2/2] ") for line in lines)


def test_an_interrupted_build_goes_on_where_it_stopped(tmp_path: Path) -> None:
    made: list[str] = []

    def fails(component: Component, out: Path) -> Mapping[str, str]:
        (out / "half").write_text("made")
        raise BundleError("out of memory")

    makers: dict[str, tuple[build.Maker, str]] = {"a": (maker_of(b"a", made), "key"), "b": (fails, "key")}
    with pytest.raises(BundleError, match="out of memory"):
        build.make_bundle([plain("a"), plain("b")], makers, tmp_path, quiet, workers=1)
    assert [path.name for path in (tmp_path / "built").iterdir()] == ["a-key"]
    makers["b"] = (maker_of(b"b", made), "key")
    found = build.make_bundle([plain("a"), plain("b")], makers, tmp_path, quiet, workers=1)
    assert made == ["a", "b"]
    assert set(found.manifest.files) == {"bin/a", "bin/b"}


def test_one_failure_ends_the_others(tmp_path: Path) -> None:
    made: list[str] = []
    cancelled: list[bool] = []

    def fails(component: Component, out: Path) -> Mapping[str, str]:
        raise BundleError("no")

    chosen = [plain("a"), plain("b"), plain("c")]
    makers: dict[str, tuple[build.Maker, str]] = {"a": (fails, "k")}
    makers |= {name: (maker_of(b"", made), "k") for name in "bc"}
    with pytest.raises(BundleError, match="no"):
        build.make_bundle(chosen, makers, tmp_path, quiet, workers=1, cancel=lambda: cancelled.append(True))
    assert cancelled == [True]
    assert made == []


def test_a_damaged_binary_in_the_cache_is_built_again(tmp_path: Path) -> None:
    made: list[str] = []
    lines: list[str] = []
    makers = {"a": (maker_of(b"sound", made), "key")}
    first = build.make_bundle([plain("a")], makers, tmp_path, quiet, workers=1)
    for path in (tmp_path / "built/a-key/bin/a", first.binary("a")):
        path.write_bytes(b"wrong")
    again = build.make_bundle([plain("a")], makers, tmp_path, lines.append, workers=1)
    assert made == ["a", "a"]
    assert again.digest == first.digest
    assert again.binary("a").read_bytes() == b"sound"
    assert any("damaged, so it is built again" in line for line in lines)


def test_a_changed_recipe_is_another_bundle_and_the_current_one(tmp_path: Path) -> None:
    made: list[str] = []
    old = build.make_bundle([plain("a")], {"a": (maker_of(b"old", made), "k1")}, tmp_path, quiet, workers=1)
    new = build.make_bundle([plain("a")], {"a": (maker_of(b"new", made), "k2")}, tmp_path, quiet, workers=1)
    assert old.digest != new.digest
    assert locate(None, tmp_path).digest == new.digest
    assert {found.digest for found in store.bundles(tmp_path)} == {old.digest, new.digest}


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc here")
def test_a_dynamic_binary_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    shutil.copy(shutil.which("sh") or "/bin/sh", tmp_path / "bin/sh")
    with pytest.raises(BundleError, match="sh is not static: it needs"):
        build._check_static(tmp_path)


def test_a_homeless_user_gets_gos_caches_in_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.delenv("GOCACHE", raising=False)
    monkeypatch.delenv("GOPATH", raising=False)
    environment = go_build.go_environment(tmp_path)
    assert environment["GOCACHE"] == str(tmp_path / "go-build")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "GOCACHE" not in go_build.go_environment(tmp_path)


@pytest.mark.parametrize(
    ("cores", "gigabytes", "jobs", "threads"),
    [(1, 1, 1, 1), (2, 20, 2, 2), (2, 3, 1, 1), (16, 64, 4, 8), (64, 8, 4, 1)],
)
def test_jobs_and_threads_follow_cores_and_memory(
    cores: int, gigabytes: int, jobs: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    monkeypatch.setattr(build, "_free_memory", lambda: gigabytes << 30)
    assert build.default_jobs() == jobs
    assert build.threads_for(jobs) == threads


@pytest.mark.parametrize(
    ("package", "name"), [("go.etcd.io/etcd/server/v3", "server"), ("k8s.io/kubernetes/cmd/kubelet", "kubelet")]
)
def test_a_command_is_called_as_go_calls_it(package: str, name: str) -> None:
    assert go_build.command_name(package) == name
