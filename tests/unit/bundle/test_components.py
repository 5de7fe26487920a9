"""components.yaml: complete, pinned, and in step with the module files beside it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from usernetes_deploy.bundle import components
from usernetes_deploy.bundle.components import Component
from usernetes_deploy.bundle.contents import SAFE_PATH
from usernetes_deploy.errors import UsageError

PARTS = components.load()
GO = [component for component in PARTS.components if component.go]
NEEDED = {
    "bin/kubelet", "bin/kubeadm", "bin/kube-apiserver", "bin/kube-controller-manager", "bin/kube-scheduler",
    "bin/kube-proxy", "bin/kubectl", "bin/etcd", "bin/coredns", "bin/containerd", "bin/containerd-shim-runc-v2",
    "bin/ctr", "bin/runc", "bin/rootlesskit", "bin/local-path-provisioner", "bin/usernetes-mesh", "bin/usernetes-oci",
    "bin/usernetes-devices",
    "cni/bridge", "cni/host-local", "cni/loopback", "cni/portmap",
}  # fmt: skip


def test_a_bundle_without_extras_has_what_a_node_runs() -> None:
    chosen = PARTS.chosen()
    paths = [path for component in chosen if component.go for path in component.go.files]
    assert set(paths) >= NEEDED
    assert len(paths) == len(set(paths))
    assert {component.name for component in chosen if component.image} == {"pause", "busybox"}


def test_extras_are_chosen_by_name_and_others_refused() -> None:
    assert [component.name for component in PARTS.chosen(["kwok"])][-1] == "kwok"
    with pytest.raises(UsageError, match="no optional component kwak") as error:
        PARTS.chosen(["kwak"])
    assert error.value.remedy == "--with one of: flannel, kwok, metrics-server, traefik"


@pytest.mark.parametrize("component", PARTS.components, ids=lambda component: component.name)
def test_every_component_says_why_it_is_there_and_under_which_licence(component: Component) -> None:
    assert component.why and component.licence and component.version
    assert sum(bool(recipe) for recipe in (component.go, component.c, component.system)) == 1
    for recipe in (component.go, component.release):
        assert all(SAFE_PATH.fullmatch(path) for path in (recipe.files if recipe else ()))
    if component.release and component.go:
        assert set(component.release.files) == set(component.go.files)
        assert component.version.removeprefix("v") in component.release.url
        assert "{" not in component.release.url


@pytest.mark.parametrize("component", GO, ids=lambda component: component.name)
def test_the_go_mod_pins_the_version_that_is_promised(component: Component) -> None:
    assert component.go
    text = (component.go.folder / "go.mod").read_text()
    if component.name != "helpers":
        assert re.search(rf"{re.escape(component.go.module)} {re.escape(component.version)}\b", text)
        sums = (component.go.folder / "go.sum").read_text()
        assert f"{component.go.module} {component.version} h1:" in sums
    else:
        assert f"module {component.go.module}\n" in text


def test_the_least_go_is_what_the_modules_ask_for() -> None:
    def numbers(version: str) -> list[int]:
        return [int(part) for part in version.split(".")]

    asked = [re.search(r"^go (\S+)$", path.read_text(), re.MULTILINE) for path in components.HERE.rglob("go.mod")]
    assert max(numbers(found[1]) for found in asked if found) == numbers(PARTS.go)


def test_whatever_decides_the_bytes_decides_the_key(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text("module a\n")
    (tmp_path / "main.go").write_text("package main\n")
    assert GO[0].go
    component = replace(GO[0], go=replace(GO[0].go, folder=tmp_path))
    keys = [component.key("go1.26"), component.key("go1.27"), replace(component, version="v0").key("go1.26")]
    keys.append(replace(component, go=replace(GO[0].go, folder=tmp_path, tags=("more",))).key("go1.26"))
    (tmp_path / "main.go").write_text("package main // changed\n")
    keys.append(component.key("go1.26"))
    assert len(set(keys)) == len(keys)
    (tmp_path / "main_test.go").write_text("package main\n")
    assert component.key("go1.26") == keys[-1]


def test_the_same_sources_elsewhere_have_the_same_key(tmp_path: Path) -> None:
    assert GO[0].go
    keys = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "go.mod").write_text("module a\n")
        keys.add(replace(GO[0], go=replace(GO[0].go, folder=tmp_path / name)).key())
    assert len(keys) == 1


def test_the_documented_ingress_controller_runs_the_image_that_the_bundle_makes() -> None:
    (traefik,) = (component for component in PARTS.components if component.name == "traefik")
    manifest = Path(__file__).parents[3] / "docs" / "ingress" / "traefik.yaml"
    assert traefik.image
    assert f"image: localhost/usernetes/traefik:{traefik.version}\n" in manifest.read_text()
    assert f"traefik:{traefik.version}`" in (manifest.parents[1] / "bundle.md").read_text()
