"""Where the images of a registry really come from, as containerd on the nodes is told: ``hosts.toml`` and a CA.

Files that the spec names are read here, on the driver. What comes of them travels in a node's blob and lies on its
tmpfs (0600): the cluster's record has only the paths, so that no password is in the state directory.
"""

from __future__ import annotations

import base64
import json
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from usernetes_deploy.cluster.spec import ClusterSpec, RegistrySpec
from usernetes_deploy.errors import SpecError
from usernetes_deploy.node.config import REGISTRIES

DOCKER = "docker"  # as `credentials`: what `docker login` has written
DOCKER_HUB = ("docker.io", "registry-1.docker.io")  # its name, and where it is asked
DIAL_SECONDS = 10  # for a mirror before the next one is asked; containerd's own is 30
FindLogin = Callable[[str], str | None]  # an endpoint's host -> USER:PASSWORD, None where it has none


def files(spec: ClusterSpec) -> dict[str, str]:
    """What every node gets, path -> content. Raises `SpecError` for all files of the spec that are of no use."""
    found: dict[str, str] = {}
    problems: list[tuple[str, str]] = []
    for index, registry in enumerate(spec.registries):
        folder = REGISTRIES / registry.name
        where = f"registries[{index}]"
        try:
            if registry.ca:
                found[str(folder / "ca.crt")] = _authority(Path(registry.ca))
        except ValueError as error:
            problems.append((f"{where}.ca", str(error)))
        try:
            login = logins(registry.credentials) if registry.credentials else lambda _: None
            found[str(folder / "hosts.toml")] = hosts_toml(registry, login)
        except ValueError as error:
            problems.append((f"{where}.credentials", str(error)))
    if problems:
        raise SpecError(problems)
    return found


def endpoints(registry: RegistrySpec) -> list[str]:
    """Where it is asked, in this order.

    >>> endpoints(RegistrySpec(name="docker.io", mirrors=("https://mirror.example.org",)))
    ['https://mirror.example.org', 'https://registry-1.docker.io']
    """
    own = DOCKER_HUB[1] if registry.name == DOCKER_HUB[0] else registry.name
    return [*registry.mirrors, registry.url or f"https://{own}"]


def hosts_toml(registry: RegistrySpec, login: FindLogin) -> str:
    """containerd's file for one registry; its format is https://github.com/containerd/containerd/blob/main/docs/hosts.md.

    Raises `ValueError` when a password would go nowhere, or unencrypted.

    >>> print(hosts_toml(RegistrySpec("r.example.org", mirrors=("http://m:5000",), skip_verify=True), lambda _: None))
    server = "https://r.example.org"
    skip_verify = true
    [host."http://m:5000"]
      capabilities = ["pull", "resolve"]
      dial_timeout = "10s"
      skip_verify = true
    <BLANKLINE>
    """
    *mirrors, last = endpoints(registry)
    found = {url: login(urlsplit(url).netloc) for url in (*mirrors, last)}
    bare = [url for url, words in found.items() if words and not url.startswith("https://")]
    if bare:
        raise ValueError(f"the password would go to {bare[0]} unencrypted: expected https://...")
    if registry.credentials and not any(found.values()):
        hosts = ", ".join(urlsplit(url).netloc for url in found)
        raise ValueError(f"{path_of(registry.credentials)} has no login for {hosts}; fix: docker login {hosts}")
    lines = [f"server = {json.dumps(last)}", *_settings(registry, last)]
    headers = _header("", found[last])
    for url in mirrors:
        table = f"host.{json.dumps(url)}"
        lines += [f"[{table}]", '  capabilities = ["pull", "resolve"]', f'  dial_timeout = "{DIAL_SECONDS}s"']
        lines += [f"  {line}" for line in _settings(registry, url)]
        lines += [f"  {line}" for line in _header(f"{table}.", found[url])]
    return "\n".join([*lines, *headers]) + "\n"


def _settings(registry: RegistrySpec, url: str) -> list[str]:
    parts = urlsplit(url).path.strip("/").split("/")
    return [
        *(['ca = "ca.crt"'] if registry.ca else []),
        *(["skip_verify = true"] if registry.skip_verify else []),
        # As a pull-through project's: https://harbor.example.org/v2/hub. Else containerd adds /v2 at the end.
        *(["override_path = true"] if "v2" in parts[:-1] else []),
    ]


def _header(table: str, words: str | None) -> list[str]:
    """Sent to the registry, and to what gives out tokens for it; not to where it redirects a download."""
    if not words:
        return []
    return [f"[{table}header]", f'  Authorization = "Basic {base64.b64encode(words.encode()).decode()}"']


def path_of(credentials: str) -> Path:
    """The file that `credentials` means.

    >>> path_of("/home/me/registry-login")
    PosixPath('/home/me/registry-login')
    """
    if credentials != DOCKER:
        return Path(credentials)
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"


def logins(credentials: str) -> FindLogin:
    """Read a file of credentials: ``USER:PASSWORD``, for every endpoint, or docker's config.json with one a host.

    Raises `ValueError` for one that cannot be used, or that others may read.
    """
    path = path_of(credentials)
    text = _private_text(path)
    if not text.startswith("{"):
        user, colon, password = text.partition(":")
        if not (user and colon and password) or not text.isprintable():
            raise ValueError(f"{path}: expected one line, USER:PASSWORD, or docker's config.json")
        return lambda _: text
    try:
        document = json.loads(text)
        auths: Mapping[str, Mapping[str, str]] = {_host(key): value for key, value in document.get("auths", {}).items()}
    except (ValueError, AttributeError):
        raise ValueError(f"{path} begins as docker's config.json does, and is none") from None
    helpers = {_host(key): value for key, value in document.get("credHelpers", {}).items()}

    def login(host: str) -> str | None:
        # docker keeps its own hub's under the address of a service of long ago.
        key = "index.docker.io" if host == DOCKER_HUB[1] and host not in auths else host
        helper = helpers.get(key) or document.get("credsStore")
        if helper and (key in helpers or key in auths):
            raise ValueError(
                f"{path} leaves the login for {host} to docker-credential-{helper}; "
                "name a file (0600) with USER:PASSWORD instead"
            )
        entry = auths.get(key)
        if entry is None:
            return None
        if "identitytoken" in entry:
            raise ValueError(f"{path} has a token for {host} that ends; name a file (0600) with USER:PASSWORD instead")
        try:
            words = base64.b64decode(entry["auth"], validate=True).decode() if entry.get("auth") else ""
        except ValueError:
            raise ValueError(f"{path}: the login for {host} is not base64") from None
        return words or f"{entry.get('username', '')}:{entry.get('password', '')}"

    return login


def _host(key: str) -> str:
    """
    >>> _host("https://index.docker.io/v1/"), _host("r.example.org:5000")
    ('index.docker.io', 'r.example.org:5000')
    """
    return key.partition("://")[2].partition("/")[0] if "://" in key else key.partition("/")[0]


def _private_text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read().strip()
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not text") from None
    if stat.S_IMODE(mode) & 0o077:
        raise ValueError(f"others may read {path} (mode {stat.S_IMODE(mode):04o}); fix: chmod 600 {path}")
    return text


def _authority(path: Path) -> str:
    from cryptography import x509

    try:
        data = path.read_bytes()
        x509.load_pem_x509_certificates(data)
        return data.decode("utf-8")
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    except ValueError:
        raise ValueError(f"{path}: expected certificates (PEM)") from None
