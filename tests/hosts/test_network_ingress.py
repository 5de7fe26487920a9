"""A real Ingress controller from its manifest: requests from outside reach the right back end on every host."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.hosts.conftest import ROOT
from tests.hosts.meshed import Meshed, eventually

pytestmark = pytest.mark.cluster
FILES = ROOT / "docs" / "ingress"
OUTSIDER = 2


def kubectl(meshed: Meshed, verb: str, file: Path, *flags: str) -> None:
    """``kubectl VERB -f`` of a file of the documentation, with the busybox that this bundle has.

    It goes in on stdin: a test host has folders of its own, and need not see this checkout.
    """
    text = file.read_text().replace("localhost/usernetes/busybox:1.35.0", meshed.busybox())
    argv = meshed.argv(0, meshed.python, "-m", "usernetes_deploy.cli", "kubectl", verb, "-f", "-", *flags)
    done = subprocess.run(argv, text=True, capture_output=True, check=False, input=text, timeout=60)
    assert done.returncode == 0, done.stderr


def get(meshed: Meshed, where: str, host: str, path: str = "/") -> str:
    """The status and the first line that the outsider gets, e.g. "200 apples"."""
    url = f"http://{where}{path}"
    done = meshed.on(OUTSIDER, "curl", "-s", "-m", "5", "-H", f"Host: {host}", "-w", "\n%{http_code}", url)
    *body, code = done.stdout.rsplit("\n", 1)
    return f"{code} {body[0].splitlines()[0] if body and body[0] else ''}".strip()


@pytest.fixture(scope="module")
def web(meshed: Meshed) -> Iterator[list[str]]:
    """Where the controller answers for plain HTTP, on both hosts, with the example behind it."""
    if not (meshed.bundle / "images" / "traefik.tar").exists():
        pytest.skip("the bundle was built without traefik: usernetes bundle build --with traefik")
    assert "is on 2 nodes" in meshed.usernetes("images", "load", "traefik").stderr
    kubectl(meshed, "apply", FILES / "traefik.yaml")
    kubectl(meshed, "apply", FILES / "example.yaml")
    for name in ("deployment/apples", "deployment/pears", "deployment/traefik"):
        namespace = "traefik" if name.endswith("traefik") else "default"
        meshed.kubectl("rollout", "status", name, "-n", namespace, "--timeout=90s")
    yield [line for line in meshed.ok("expose", "traefik", "--namespace", "traefik").split() if line.endswith(":8000")]
    meshed.kubectl("delete", "secret", "pears", "--ignore-not-found")
    kubectl(meshed, "delete", FILES / "example.yaml", "--now", "--wait=false")
    kubectl(meshed, "delete", FILES / "traefik.yaml", "--wait=false")


def test_hosts_and_paths_lead_to_their_back_ends_on_every_hosts_address(meshed: Meshed, web: list[str]) -> None:
    assert web == [f"{meshed.address(0)}:8000", f"{meshed.address(1)}:8000"]

    def fruit(where: str) -> bool:
        apples, pears = get(meshed, where, "apples.example"), get(meshed, where, "pears.example", "/fruit/")
        return (apples, pears) == ("200 apples", "200 pears")

    for where in web:
        eventually(partial(fruit, where), 20, f"{where} answers")


def test_unknown_hosts_and_paths_are_not_found(meshed: Meshed, web: list[str]) -> None:
    for host, path in (("plums.example", "/"), ("pears.example", "/"), ("pears.example", "/fruitless")):
        assert get(meshed, web[0], host, path) == "404 404 page not found", (host, path)


def test_the_ingress_says_where_it_answers(meshed: Meshed, web: list[str]) -> None:
    def addresses() -> list[str]:
        status = json.loads(meshed.kubectl("get", "ingress", "fruit", "-o", "json"))["status"]["loadBalancer"]
        return [entry["ip"] for entry in status.get("ingress", ())]

    eventually(lambda: addresses() == [meshed.address(0), meshed.address(1)], 20, "the addresses in the status")


def test_a_certificate_in_a_secret_is_the_one_that_is_shown(meshed: Meshed, web: list[str], tmp_path: Path) -> None:
    host, where = "pears.example", web[0].replace(":8000", ":8443")
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout key -out crt"
    words = [*make.split(), "-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}"]
    subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    data = {f"tls.{name}": (tmp_path / name).read_text() for name in ("key", "crt")}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pears"}, "type": "kubernetes.io/tls",
              "stringData": data}  # fmt: skip
    assert meshed.apply(secret).returncode == 0
    patch = {"spec": {"tls": [{"hosts": [host], "secretName": "pears"}]}}
    meshed.kubectl("patch", "ingress", "fruit", f"--patch={json.dumps(patch)}")
    resolve = f"{host}:8443:{where.partition(':')[0]}"
    script = f"cat > ~/ca.pem; curl -sS -m 5 --cacert ~/ca.pem --resolve {resolve} https://{host}:8443/fruit/ 2>&1"

    def trusted() -> str:
        argv = meshed.argv(OUTSIDER, "sh", "-c", script)
        return subprocess.run(argv, input=data["tls.crt"], text=True, capture_output=True, check=False).stdout.strip()

    eventually(lambda: trusted() == "pears", 20, "an answer under the certificate")
    assert get(meshed, web[0], host, "/fruit/") == "200 pears"


def test_a_change_of_the_ingress_is_seen(meshed: Meshed, web: list[str]) -> None:
    patch = [{"op": "replace", "path": "/spec/rules/0/host", "value": "plums.example"}]
    meshed.kubectl("patch", "ingress", "fruit", "--type=json", f"--patch={json.dumps(patch)}")
    eventually(lambda: get(meshed, web[0], "plums.example") == "200 apples", 20, "the new host")
    assert get(meshed, web[0], "apples.example") == "404 404 page not found"
    assert get(meshed, web[0], "pears.example", "/fruit/") == "200 pears"
