"""rootlesskit, which makes a node's namespaces: its command line, its start, and its user-space NAT."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from usernetes_deploy.node import cgroups
from usernetes_deploy.node.config import API_PORT, COPIED_UP, NodeConfig, in_memory
from usernetes_deploy.node.procfs import die_with_parent

AS_SLIRP = "pasta-as-slirp4netns"
PASTA = """#!/bin/sh
# Makes pasta the user-space NAT of a node. rootlesskit has a pasta driver of its own, but with that one it does not
# publish ports while the node runs; it does with slirp4netns, so it is called as that and becomes pasta.
[ "$1" = --help ] && exec echo "--netns-type --disable-host-loopback"
for word; do
  case $word in
    --userns-path=*) userns=${word#*=} ;;
    /proc/*) netns=$word ;;
  esac
done
echo 1 >&3
exec pasta --foreground --quiet --ns-ifname=tap0 --mtu=65520 --ipv4-only --address=10.0.2.100 --netmask=24 \\
  --gateway=10.0.2.2 --dns-forward=10.0.2.3 --no-map-gw --tcp-ports=none --udp-ports=none --tcp-ns=none --udp-ns=none \\
  --userns="$userns" --netns="$netns" 3>&- >> "$XDG_RUNTIME_DIR/logs/node.log" 2>&1
"""


def rootlesskit_argv(config: NodeConfig, program: list[str]) -> list[str]:
    """The command that makes the node's namespaces and runs `program` inside them."""
    argv = [
        config.binary("rootlesskit"),
        f"--state-dir={config.root / 'rk'}",
        "--net=slirp4netns",
        *([f"--slirp4netns-binary={config.root / AS_SLIRP}"] if config.outer == "pasta" else []),
        "--mtu=65520",
        "--disable-host-loopback",
        "--detach-netns",
        "--pidns",
        "--propagation=rslave",
        "--port-driver=builtin",
        *(f"--copy-up={path}" for path in COPIED_UP),
    ]
    if config.cgroups == "delegated":
        argv += ["--cgroupns", f"--evacuate-cgroup2={cgroups.INSIDE}"]
    if config.control_plane:
        argv.append(f"--publish=0.0.0.0:{config.api_port}:{API_PORT}/tcp")
    return [*argv, *program]


def launch(
    config: NodeConfig,
    program: list[str],
    *,
    cgroup: Path | None = None,
    environment: Mapping[str, str] | None = None,
    start_new_session: bool = False,
) -> subprocess.Popen[bytes]:
    """Start `program` in new namespaces, with the blob on stdin and its words in node.log; it ends with this process.

    `environment` is what it gets beside the clean one, `cgroup` where it goes. Raises `OSError`.
    """

    def begin() -> None:
        die_with_parent()
        if cgroup:
            cgroups.enter(cgroup)

    blob = in_memory(config.to_json())
    try:
        with (config.logs / "node.log").open("ab") as log:
            return subprocess.Popen(
                rootlesskit_argv(config, program),
                stdin=blob,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=start_new_session,
                preexec_fn=begin,  # noqa: PLW1509  a prctl and a write, and no thread runs here
                env={**clean_environment(config), **(environment or {})},
            )
    finally:
        os.close(blob)


def write_nat(config: NodeConfig) -> None:
    """Write the script that makes pasta the node's user-space NAT, where it is asked for."""
    if config.outer == "pasta":
        (config.root / AS_SLIRP).write_text(PASTA)
        (config.root / AS_SLIRP).chmod(0o700)


def remove_state(config: NodeConfig) -> None:
    """Remove what a killed rootlesskit left: sockets and a bind-mounted file, nothing of worth."""
    subprocess.run(["rm", "-rf", str(config.root / "rk")], check=False, capture_output=True)


def clean_environment(config: NodeConfig) -> dict[str, str]:
    """Only what a node needs of the job's environment: nobody's tokens travel into pods' helpers."""
    kept = {name: os.environ[name] for name in ("HOME", "USER", "LANG", "LC_ALL", "TZ") if name in os.environ}
    path = os.environ.get("PATH", "")
    return {
        **kept,
        "PATH": f"{config.bundle}/bin:{path}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin",
        "XDG_RUNTIME_DIR": str(config.root),
        "TMPDIR": "/tmp",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
