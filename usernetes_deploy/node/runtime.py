"""The container runtime of a node: containerd, its configuration and helper programs, and its first images."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from usernetes_deploy.errors import CommandFailed
from usernetes_deploy.node.config import CONTAINERD_SOCKET, POD_CPUS, REGISTRIES, RUN, NodeConfig

PAUSE = "localhost/usernetes/pause:3.10.2"
CONFIG = RUN / "containerd.toml"
HELPERS = RUN / "bin"
# One Go helper under four names: by its name it wraps the shim or runc, for pods of the mesh or of the host's network.
SHIM, SHIM_NATIVE = "containerd-shim-usernetes-v2", "containerd-shim-usernetes-native-v2"
RUNC, RUNC_NATIVE = "usernetes-runc", "usernetes-runc-native"
TIMER_SLACK = 0.001  # seconds; halves the wake-ups of containerd at rest. What it starts has the usual one again.
BASE_IMAGES = ("pause", "busybox")


def write_config(config: NodeConfig, cni_dir: Path, snapshotter_name: str, *, watching: bool = False) -> Path:
    """Write containerd's configuration and the helper links; returns its path.

    `watching`: it measures what containers write ten times a minute, for the kubelet to know whose pod fills the disk.

    `disable_cgroup` is gone from containerd 2, so where cgroups are not delegated the OCI wrapper drops them from each
    container. `runtime_type` stays ``io.containerd.runc.v2``: any other type loses its options.
    """
    HELPERS.mkdir(parents=True, exist_ok=True)
    for name in (SHIM, SHIM_NATIVE, RUNC, RUNC_NATIVE):
        link = HELPERS / name
        if link.is_symlink() and str(link.readlink()) == config.binary("usernetes-oci"):
            continue  # shims may be starting by it
        link.unlink(missing_ok=True)
        link.symlink_to(config.binary("usernetes-oci"))

    def runtime(name: str, shim: str, runc: str) -> str:
        table = f'[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.{name}]'
        return f"""
{table}
  runtime_type = "io.containerd.runc.v2"
  runtime_path = {json.dumps(str(HELPERS / shim))}
{table[:-1]}.options]
  BinaryName = {json.dumps(str(HELPERS / runc))}
"""

    CONFIG.write_text(
        f"""version = 3
root = {json.dumps(str(config.root / "containerd"))}
state = "/run/containerd/state"
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.monitor.container.v1.restart",
                    "io.containerd.tracing.processor.v1.otlp",
                    "io.containerd.internal.v1.tracing", "io.containerd.snapshotter.v1.erofs",
                    "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.devmapper",
                    "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "{snapshotter_name}"
  stats_collect_period = {6 if watching else 3600}
[plugins."io.containerd.cri.v1.images".registry]
  config_path = "{REGISTRIES}"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{PAUSE}"
[plugins."io.containerd.cri.v1.runtime"]
  disable_apparmor = true
  restrict_oom_score_adj = true
  disable_hugetlb_controller = true
  tolerate_missing_hugetlb_controller = true
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  stats_collect_period = "{"15s" if config.metrics else "10m"}"
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = [{json.dumps(str(Path(config.bundle) / "cni"))}]
  conf_dir = {json.dumps(str(cni_dir))}
[plugins."io.containerd.cri.v1.runtime".containerd]
  default_runtime_name = "usernetes"
{runtime("usernetes", SHIM, RUNC)}{runtime("native", SHIM_NATIVE, RUNC_NATIVE)}""",
        encoding="utf-8",
    )
    return CONFIG


def snapshotter(config: NodeConfig) -> str:
    """overlayfs where the node's folder carries it inside a user namespace, else plain copies.

    Asked of the kernel itself, for file systems differ: a mount is tried in the node's own folder.
    """
    trial = config.root / "overlay-trial"
    layers = [trial / name for name in ("lower", "upper", "work", "merged")]
    for layer in layers:
        layer.mkdir(parents=True, exist_ok=True)
    lower, upper, work, merged = layers
    options = f"lowerdir={lower},upperdir={upper},workdir={work},userxattr"
    mounted = subprocess.run(
        ["mount", "-t", "overlay", "overlay", "-o", options, str(merged)], capture_output=True, check=False
    )
    if mounted.returncode == 0:
        subprocess.run(["umount", str(merged)], check=False, capture_output=True)
    subprocess.run(["rm", "-rf", str(trial)], check=False, capture_output=True)
    return "overlayfs" if mounted.returncode == 0 else "native"


def environment(config: NodeConfig) -> dict[str, str]:
    """What containerd hands on to the shim and OCI wrappers."""
    return {
        "USERNETES_CGROUPS": config.cgroups,
        "USERNETES_RUNC": config.binary("runc"),
        "USERNETES_SHIM": config.binary("containerd-shim-runc-v2"),
        "USERNETES_NATIVE": str(RUN / "native.sock"),
        "GOGC": "50",
        "GOMAXPROCS": "1",
        **({POD_CPUS: config.pod_cpus} if config.pod_cpus else {}),
        **config.proxies,
    }


def base_images(config: NodeConfig) -> list[str]:
    """Archives that every node loads at start."""
    return [str(Path(config.bundle) / "images" / f"{name}.tar") for name in BASE_IMAGES] + list(config.images)


def load_image(config: NodeConfig, archive: str, snapshotter_name: str) -> None:
    """Import a docker or OCI archive into containerd's namespace for Kubernetes; raises `CommandFailed`."""
    argv = [
        config.binary("ctr"), "--namespace=k8s.io", f"--address={CONTAINERD_SOCKET}",
        "images", "import", f"--snapshotter={snapshotter_name}", archive,
    ]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandFailed(argv, done.returncode, done.stderr, node=config.name)
