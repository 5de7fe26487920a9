"""How a host is reached, as OpenSSH itself would do it: asks ``ssh -G``, so Include, Match and tokens all work.

Where there is no ``ssh`` on this machine, paramiko reads ``~/.ssh/config`` instead (no ``Include`` there).
"""

from __future__ import annotations

import getpass
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paramiko

from usernetes_deploy.errors import UsageError
from usernetes_deploy.launch.hostlist import Target

DEFAULT_KEYS = ("~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ed25519")
DEFAULT_CONNECT_SECONDS = 10.0


@dataclass(frozen=True)
class Route:
    """Everything that is needed to connect to one host; times in seconds."""

    destination: str
    hostname: str
    port: int
    user: str
    identity_files: tuple[Path, ...]
    identities_only: bool
    use_agent: bool
    proxy_jump: tuple[str, ...]
    proxy_command: str
    known_hosts: tuple[Path, ...]
    host_key_name: str
    hash_known_hosts: bool
    connect_timeout: float

    def __str__(self) -> str:
        port = "" if self.port == 22 else f" port {self.port}"
        return f"{self.user}@{self.hostname}{port}"


class _Config(paramiko.SSHConfig):
    """Leaves the tokens of ProxyCommand to us, who know the user and port in force, and what ``%%`` means."""

    TOKENS_BY_CONFIG_KEY = {  # noqa: RUF012
        key: tokens for key, tokens in paramiko.SSHConfig.TOKENS_BY_CONFIG_KEY.items() if key != "proxycommand"
    }


def resolve(target: Target, config: Path | None = None) -> Route:
    """The route to `target`; `config` replaces ``~/.ssh/config``. Raises `UsageError` when the config is wrong.

    What the host list says (user, port, identity file, jump host) comes before what the config says.
    """
    answers = _ask_ssh(target, config) if shutil.which("ssh") else _ask_paramiko(target, config)

    def one(key: str, default: str = "") -> str:
        value = answers.get(key, [default])[0]
        return default if value.lower() == "none" and key != "identityagent" else value

    hostname = one("hostname", target.address)
    port = int(one("port", "22"))
    user = one("user") or getpass.getuser()
    known = [*answers.get("userknownhostsfile", ["~/.ssh/known_hosts"]), *answers.get("globalknownhostsfile", [])]
    alias = one("hostkeyalias") or hostname
    # Here and not as `ssh -i`, which leaves a file that is not there out without a word.
    files = [target.identity_file, *answers.get("identityfile", DEFAULT_KEYS)]
    return Route(
        destination=target.address,
        hostname=hostname,
        port=port,
        user=user,
        identity_files=tuple(dict.fromkeys(Path(path).expanduser() for path in files if path)),
        identities_only=one("identitiesonly") == "yes",
        use_agent=one("identityagent").lower() != "none",
        proxy_jump=tuple(hop.strip() for hop in one("proxyjump").split(",") if hop.strip()),
        proxy_command=_expand(one("proxycommand"), target.address, hostname, port, user),
        known_hosts=tuple(Path(path).expanduser() for line in known for path in line.split() if path != "none"),
        host_key_name=alias if port == 22 or one("hostkeyalias") else f"[{alias}]:{port}",
        hash_known_hosts=one("hashknownhosts") == "yes",
        connect_timeout=float(one("connecttimeout") or DEFAULT_CONNECT_SECONDS),
    )


def _ask_ssh(target: Target, config: Path | None) -> dict[str, list[str]]:
    argv = ["ssh", "-G", "-T"]
    if config:
        argv += ["-F", str(config)]
    if target.user:
        argv += ["-l", target.user]
    if target.port:
        argv += ["-p", str(target.port)]
    if target.proxy_jump:
        argv += ["-J", target.proxy_jump]
    argv += [*target.options, "--", target.address]
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=DEFAULT_CONNECT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise UsageError("the SSH configuration gave no answer", node=target.name, tried=shlex.join(argv)) from None
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise UsageError(said[0], node=target.name, tried=shlex.join(argv), remedy="correct ~/.ssh/config")
    answers: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        key, _, value = line.partition(" ")
        answers.setdefault(key.lower(), []).append(value)
    return answers


def _ask_paramiko(target: Target, config: Path | None) -> dict[str, list[str]]:
    path = config or Path("~/.ssh/config").expanduser()
    try:
        parsed = _Config.from_path(path) if path.exists() else _Config()
        found: dict[str, Any] = dict(parsed.lookup(target.address))
    except (paramiko.SSHException, OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}", node=target.name, remedy=f"correct {path}") from None
    answers = {key: list(value) if isinstance(value, list) else [str(value)] for key, value in found.items()}
    for word in _options(target.options):
        key, _, value = word.partition("=")
        answers[key.strip().lower()] = [value.strip()]
    own = {"user": target.user, "port": str(target.port or ""), "proxyjump": target.proxy_jump}
    answers.update({key: [value] for key, value in own.items() if value})
    return answers


def _options(words: tuple[str, ...]) -> list[str]:
    """The ``KEY=VALUE`` of ``-o``, ``-J`` and ``-i``; others are `UsageError`, since they would be ignored."""
    found: list[str] = []
    names = {"-o": "", "-J": "ProxyJump=", "-i": "IdentityFile="}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word[:2] not in names:
            raise UsageError(f"the ssh option {word} needs the OpenSSH client on this machine")
        found.append(names[word[:2]] + (word[2:] or (rest.pop(0) if rest else "")))
    return found


def _expand(command: str, destination: str, hostname: str, port: int, user: str) -> str:
    tokens = {"h": hostname, "n": destination, "p": str(port), "r": user, "%": "%", "u": getpass.getuser()}
    parts = command.split("%")
    text = parts[0]
    rest = iter(parts[1:])
    for part in rest:
        if not part:  # "%%" was split into an empty part and what follows it
            text += "%" + next(rest, "")
        else:
            text += tokens.get(part[0], "%" + part[0]) + part[1:]
    return text
