"""Verbs for programs that run inside the cluster's network: run, shell."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from invoke.context import Context
from invoke.tasks import task

from usernetes_deploy.cluster.addressing import dns_ip
from usernetes_deploy.cluster.launchers import launcher_from_state
from usernetes_deploy.cluster.membership import Member
from usernetes_deploy.cluster.proxies import beside
from usernetes_deploy.cluster.record import members_of
from usernetes_deploy.cluster.spec import network_of
from usernetes_deploy.cluster.state import ClusterState
from usernetes_deploy.commands.common import CLUSTER_HELP, environment, node_program, running
from usernetes_deploy.errors import UsageError

NODE_HELP = "which node's network to enter (default: the one on this host)"
NAMESPACE_HELP = "namespace whose Services have short names"


@task(
    help={
        "cluster": CLUSTER_HELP,
        "node": NODE_HELP,
        "namespace": NAMESPACE_HELP,
        "socks": "no command: a SOCKS5 proxy on this host's loopback, for programs that must stay outside",
    }
)
def run(
    context: Context,
    cluster: str | None = None,
    node: str | None = None,
    namespace: str = "default",
    socks: bool = False,
) -> None:
    """Run a command of this host inside the cluster's network: same user, files and CPUs, the cluster's DNS.

    With --node of another host it runs there, without input or terminal.

    Examples:

      usernetes run -- redis-cli -h redis.default
      usernetes run --namespace jobs -- ./solver --server broker:7000
      usernetes run --socks
    """
    words = list(context.config.words)
    if bool(words) == socks:
        raise UsageError("expected a command after --, or --socks", remedy="usernetes run -- getent hosts kubernetes")
    state = running(cluster)
    if socks:
        serve_socks(state, node, namespace)
    else:
        enter(state, node, namespace, words)


@task(help={"cluster": CLUSTER_HELP, "node": NODE_HELP, "namespace": NAMESPACE_HELP})
def shell(_: Context, cluster: str | None = None, node: str | None = None, namespace: str = "default") -> None:
    """Start your shell inside the cluster's network, on a host of the cluster.

    Examples:

      usernetes shell
    """
    state = running(cluster)
    member = member_for(state.read(), node)
    if not runs_here(member):
        raise UsageError(
            f"{member.host.name} is not on this host, and a shell on another has no terminal",
            remedy=f"log in to the host of {member.host.name} and start the shell there, or: usernetes run -- COMMAND",
        )
    enter(state, node, namespace, [environment().get("SHELL") or "/bin/sh"])


def enter(state: ClusterState, node: str | None, namespace: str, command: list[str]) -> None:
    """Become `command` inside the network of a node; on another host, run it there and print what it prints."""
    document = state.read()
    member = member_for(document, node)
    verb = [*inside_argv(document, namespace), member.directory]
    if runs_here(member):
        program = [sys.executable, str(node_program())]
        os.execve(program[0], [*program, *verb, "--", *command], beside(state, environment()))
    launcher = launcher_from_state(document["launcher"], node_program())
    try:
        code = launcher.stream(member.host, [*launcher.node_program(member.host), *verb, "--", *command])
    finally:
        launcher.close()
    if code:
        sys.exit(code if code > 0 else 128 - code)


def serve_socks(state: ClusterState, node: str | None, namespace: str) -> None:
    """Become a proxy on loopback; the password goes to it on stdin and to the user on stdout."""
    document = state.read()
    member = member_for(document, node)
    if not runs_here(member):
        raise UsageError(f"{member.host.name} is not on this host", remedy="start the proxy on a host of the cluster")
    password = secrets.token_urlsafe(16)
    read, write = os.pipe()
    os.write(write, password.encode())
    os.close(write)
    os.dup2(read, 0)
    program = [sys.executable, str(node_program())]
    os.execv(program[0], [*program, *inside_argv(document, namespace), "--socks", member.directory])


def inside_argv(document: Mapping[str, Any], namespace: str) -> list[str]:
    """The node program's words for entering a node's network; its folder comes after them."""
    network = network_of(document["spec"])
    return [
        "inside",
        f"--dns={dns_ip(network)}",
        f"--domain={network.dns_domain}",
        f"--namespace={namespace}",
    ]


def member_for(document: Mapping[str, Any], node: str | None) -> Member:
    """The node by its name, or the first that runs on this host, or the first of all."""
    members = members_of(document)
    if node:
        return members.named(node)
    return next((member for member in members.present() if runs_here(member)), members.first)


def runs_here(member: Member) -> bool:
    """Whether the node's processes are on this host: its folder is local, and its child is alive."""
    try:
        child = int((Path(member.directory) / "rk" / "child_pid").read_text())
    except (OSError, ValueError):
        return False
    return Path(f"/proc/{child}").exists()


TASKS = (run, shell)
