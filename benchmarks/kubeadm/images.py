"""The images of a kubeadm control plane, made of the bundle's binaries, so that both ways run the same bytes."""

from __future__ import annotations

from pathlib import Path

from usernetes_deploy.bundle import Bundle
from usernetes_deploy.bundle.images import Entry, Image, write

REPOSITORY = "localhost/usernetes"
CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd", "coredns")


def tag(bundle: Bundle, name: str) -> str:
    """The version of a control-plane binary, as a tag: ``v1.36.3``."""
    return bundle.versions[name if name in ("etcd", "coredns") else "kubernetes"]


def make(bundle: Bundle, folder: Path) -> dict[str, Path]:
    """Write one archive an image into `folder`; returns them by the binary's name."""
    archives = {}
    for name in CONTROL_PLANE:
        path = "coredns" if name == "coredns" else f"usr/local/bin/{name}"
        binary = Entry(path, content=bundle.binary(name).read_bytes())
        archives[name] = folder / f"{name}.tar"
        write(Image(f"{REPOSITORY}/{name}:{tag(bundle, name)}", [binary], [f"/{path}"]), archives[name])
    return archives
