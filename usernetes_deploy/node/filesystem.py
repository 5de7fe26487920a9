"""The node's own file system: what is large on its disk, what is secret on its tmpfs, nothing of the host's changed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from usernetes_deploy.errors import CommandFailed, UsernetesError
from usernetes_deploy.network import resolvers
from usernetes_deploy.node import kubelet
from usernetes_deploy.node.config import COPIED_UP, KUBERNETES, RUN, NodeConfig

VOLUMES = Path("/var/lib/usernetes-node/volumes")
SHARED = Path("/var/lib/usernetes-node/shared")


def prepare(config: NodeConfig) -> None:
    """Real folders under the copied-up ones: what is large goes to the node's disk, what is shared is private."""
    for name in ("logs", "containerd", "kubelet", "pods", "volumes", "cni"):
        (config.root / name).mkdir(mode=0o700, exist_ok=True)
    for path in (RUN, Path("/run/netns"), Path("/run/containerd"), Path("/etc/cni"), Path("/var/log/containers")):
        own_directory(path)
    own_directory(KUBERNETES)
    RUN.chmod(0o700)
    mount("--make-rshared", "/")
    for name, target in (("kubelet", kubelet.ROOT), ("pods", Path("/var/log/pods")), ("volumes", VOLUMES)):
        own_directory(target)
        mount("--bind", str(config.root / name), str(target))
    if config.shared:
        own_directory(SHARED)
        mount("--rbind", config.shared, str(SHARED))
        if SHARED.stat().st_uid != os.getuid():  # the keeper has looked; it may have been exchanged since
            raise UsernetesError(f"{config.shared} belongs to another user", node=config.name)


def write_files(config: NodeConfig) -> None:
    """Keys, certificates and configurations of the blob (0600), and the resolvers for names outside the cluster."""
    write_secrets(config.files)
    text = resolvers.resolv_conf(config.nameservers)
    (RUN / "resolv.conf").write_text(text)
    # containerd, inside, would ask the host's loopback: which is another one there.
    path = Path("/etc/resolv.conf")
    kept = [line for line in _lines(path) if not line.startswith("nameserver")]
    path.unlink(missing_ok=True)
    path.write_text(text + "".join(kept))


def write_secrets(files: Mapping[str, str]) -> None:
    """Write files (path -> content) for the node alone (0600), each whole or not at all: some are read at any time."""
    for name, content in files.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.new")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(content)
        draft.replace(path)


def own_directory(path: Path) -> None:
    """Make `path` a folder of this node's own below a copied-up one, where copy-up left links to what the host has."""
    for part in (*reversed(path.parents), path):
        if part.is_symlink() and any(Path(top) in part.parents for top in COPIED_UP):
            part.unlink()
        part.mkdir(exist_ok=True)


def mount(*arguments: str) -> None:
    """Run ``mount``; raises `CommandFailed`."""
    argv = ["mount", *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandFailed(argv, done.returncode, done.stderr)


def _lines(path: Path) -> list[str]:
    try:
        return [line.rstrip("\n") + "\n" for line in path.read_text(errors="replace").splitlines()]
    except OSError:
        return []
