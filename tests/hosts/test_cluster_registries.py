"""Registries of the spec on a real cluster: TLS by an authority of its own, logins, mirrors that are away."""

from __future__ import annotations

import base64
import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.hosts.clusters import Account, Cluster, bring_up, host_address, wait_for
from tests.hosts.registry import PASSWORD, USER, Registry, serve_registry
from tests.users import group_of
from usernetes_deploy.cluster.pki import SERVER, Authority

pytestmark = pytest.mark.cluster
LOGIN = f"{USER}:{PASSWORD}"


class Site(NamedTuple):
    """A cluster beside a registry with TLS that asks for a login."""

    cluster: Cluster
    registry: Registry
    files: dict[str, Path]  # login, docker, ca


def own_file(account: Account, name: str, text: str) -> Path:
    path = account.home / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    os.chown(path, account.uid, group_of(account.uid))
    os.chown(path.parent, account.uid, group_of(account.uid))
    return path


@pytest.fixture(scope="module")
def site(account: Account, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    authority, address = Authority.make("a site of its own"), host_address()
    pair = authority.issue("registry", usages=[SERVER], names=[address])
    pem = tmp_path_factory.mktemp("registry") / "pair.pem"
    pem.write_text(pair.key.reveal() + pair.certificate)
    with serve_registry(address, pem) as registry:
        registry.push("private/tool", Path("/bin/busybox"))
        host = registry.url.removeprefix("https://")
        auths = {"auths": {host: {"auth": base64.b64encode(LOGIN.encode()).decode()}}}
        files = {
            "login": own_file(account, "logins/registry", LOGIN + "\n"),
            "docker": own_file(account, ".docker/config.json", json.dumps(auths)),
            "ca": own_file(account, "logins/ca.pem", authority.pair.certificate),
        }
        away = f"https://{address}:9"  # nobody listens on discard
        ca, login = str(files["ca"]), str(files["login"])
        told = [
            {"name": "mirrored.test", "mirrors": [away, registry.url], "ca": ca, "credentials": login},
            {"name": "docker.test:5000", "url": registry.url, "ca": ca, "credentials": "docker"},
            {"name": "unproven.test", "url": registry.url, "skipVerify": True, "credentials": login},
            {"name": "distrusted.test", "url": registry.url, "credentials": login},
            {"name": "anonymous.test", "url": registry.url, "ca": ca},
        ]
        cluster = bring_up(account, "registries", "--set", f"registries={json.dumps(told)}")
        try:
            yield Site(cluster, registry, files)
        finally:
            account.usernetes("down", "--cluster", "registries")


def start(cluster: Cluster, registry: str) -> str:
    name = registry.partition(".")[0]
    main = {"name": "main", "image": f"{registry}/private/tool:1", "imagePullPolicy": "Always"}
    spec = {"restartPolicy": "Never", "containers": [main]}
    cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
    return name


@pytest.mark.parametrize("registry", ["mirrored.test", "docker.test:5000", "unproven.test"])
def test_a_private_image_is_pulled_without_a_pull_secret(site: Site, registry: str) -> None:
    name = start(site.cluster, registry)
    site.registry.asked.clear()
    wait_for(lambda: site.cluster.get("pod", name)["status"]["phase"] == "Succeeded", f"{name} ends")
    assert site.cluster.kubectl("logs", name) == "this is private/tool\n"


@pytest.mark.parametrize(
    ("registry", "words"),
    [("distrusted.test", "certificate signed by unknown authority"), ("anonymous.test", "no basic auth credentials")],
)
def test_what_lacks_its_authority_or_its_login_says_so(site: Site, registry: str, words: str) -> None:
    name = start(site.cluster, registry)

    def message() -> str:
        statuses = site.cluster.get("pod", name)["status"].get("containerStatuses", [{}])
        return str(statuses[0].get("state", {}).get("waiting", {}).get("message", ""))

    wait_for(lambda: words in message(), f"the pod says {words}")


def test_the_password_is_in_no_file_of_the_cluster_and_on_no_command_line(site: Site) -> None:
    account = site.cluster.account
    secrets = [PASSWORD.encode(), base64.b64encode(LOGIN.encode())]
    node = site.cluster.node_folder()
    for folder in (account.state, node):
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                with contextlib.suppress(FileNotFoundError):
                    data = path.read_bytes()
                    assert not any(secret in data for secret in secrets), path
    for words in account.processes().values():
        assert PASSWORD not in words


def test_a_login_that_others_may_read_is_refused_before_anything_is_done(site: Site) -> None:
    account = site.cluster.account
    open_one = own_file(account, "logins/open", LOGIN)
    open_one.chmod(0o644)
    told = json.dumps([{"name": "r.test", "credentials": str(open_one)}])
    done = account.usernetes("up", "--cluster", "refused", "--set", f"registries={told}")
    assert done.returncode == 2, done.stderr
    assert f"others may read {open_one} (mode 0644); fix: chmod 600 {open_one}" in done.stderr
    assert PASSWORD not in done.stdout + done.stderr
    assert not (account.state / "refused").exists()
