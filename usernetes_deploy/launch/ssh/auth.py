"""Who we are for a host: keys of the agent, then key files, never a typed password; and why it was refused."""

from __future__ import annotations

import base64
import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path

import paramiko
from paramiko.pkey import UnknownKeyType

from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.launch.ssh.config import Route

_PROMPTS = {"password": "a password", "keyboard-interactive": "a password or a code"}


class _ProtectedError(Exception):
    """The key file has a passphrase."""


def authenticate(transport: paramiko.Transport, route: Route, *, node: str) -> None:
    """Log in over `transport` as `route` says, or raise `UsernetesError` with what was tried and the remedy."""
    try:
        transport.auth_none(route.user)
    except paramiko.BadAuthenticationType as refused:
        accepted = list(refused.allowed_types)
    else:
        return
    tried: list[str] = []
    unusable: list[str] = []
    if "publickey" in accepted:
        with contextlib.closing(_agent(route)) as agent:
            for name, key in _keys(route, agent, unusable):
                try:
                    more = transport.auth_publickey(route.user, key)
                except paramiko.BadAuthenticationType as refused:
                    accepted = list(refused.allowed_types)
                    break
                except paramiko.AuthenticationException:
                    tried.append(name)
                    continue
                if not more:
                    return
                raise UsernetesError(
                    f"it accepts {name}, and then asks for {_asks(more)}, which usernetes does not type",
                    node=node,
                    tried="log in",
                    remedy=f"let {route} in by key alone",
                )
    raise _refused(route, accepted, tried, unusable, node)


def _refused(route: Route, accepted: list[str], tried: list[str], unusable: list[str], node: str) -> UsernetesError:
    parts = [f"{route.user} is not let in"]
    parts.append(f"refused: {', '.join(tried)}" if tried else "there is no key to offer")
    parts.extend(unusable)
    if "publickey" not in accepted:
        parts[1] = "keys are not accepted there"
    if any(kind in _PROMPTS for kind in accepted):
        parts.append(f"it would ask for {_asks(accepted)}, which usernetes does not type")
    protected = next((text.split()[0] for text in unusable if text.endswith("passphrase")), "")
    port = f"-p {route.port} " if route.port != 22 else ""
    remedy = f"ssh-add {protected}" if protected else f"ssh-copy-id {port}{route.user}@{route.hostname}"
    return UsernetesError("; ".join(parts), node=node, tried="log in", remedy=remedy)


def _asks(kinds: list[str]) -> str:
    asked = list(dict.fromkeys(_PROMPTS[kind] for kind in kinds if kind in _PROMPTS))
    return " or ".join(asked) if asked else "more"


def _agent(route: Route) -> paramiko.Agent:
    if route.use_agent:
        with contextlib.suppress(paramiko.SSHException, OSError):
            return paramiko.Agent()
    silent = paramiko.Agent.__new__(paramiko.Agent)  # asks nobody and knows no key
    paramiko.agent.AgentSSH.__init__(silent)
    return silent


def _keys(route: Route, agent: paramiko.Agent, unusable: list[str]) -> Iterator[tuple[str, paramiko.PKey]]:
    """Keys with a name for people, in OpenSSH's order: agent keys that are configured, other agent keys, files.

    A server ends the connection after some (6) tries, so what fits best comes first and nothing comes twice.
    """
    try:
        held = {key.asbytes(): key for key in agent.get_keys()}
    except (paramiko.SSHException, OSError) as error:
        held = {}
        unusable.append(f"the agent does not answer ({error})")
    offered = set(held)
    configured = {path: _public_part(path) for path in route.identity_files}
    for path, public in configured.items():
        if public in held:
            yield f"{path} (agent)", held.pop(public)
    if not route.identities_only:
        for key in held.values():
            comment = getattr(key, "comment", "") or key.get_name()
            yield f"{comment} (agent)", key
    for path, public in configured.items():
        try:
            yield str(path), _load(str(path), path.stat().st_mtime_ns)
        except FileNotFoundError:
            if not path.name.startswith("id_"):  # ssh's defaults are looked for, not expected
                unusable.append(f"{path} is not there")
        except _ProtectedError:
            if public is None or public not in offered:
                unusable.append(f"{path} has a passphrase")
        except OSError as error:
            unusable.append(f"{path} cannot be read ({error.strerror})")
        except (ValueError, paramiko.SSHException, UnknownKeyType):
            unusable.append(f"{path} is no private key that can be used")


@functools.lru_cache(maxsize=64)
def _load(path: str, _mtime_ns: int) -> paramiko.PKey:
    try:
        return paramiko.PKey.from_path(path)
    except (TypeError, paramiko.PasswordRequiredException):
        raise _ProtectedError from None


def _public_part(path: Path) -> bytes | None:
    """The public key beside the private one, as the agent would show it."""
    try:
        fields = path.with_name(path.name + ".pub").read_text(encoding="utf-8").split()
        return base64.b64decode(fields[1])
    except (OSError, ValueError, IndexError):
        return None
