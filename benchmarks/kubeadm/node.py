"""A machine as kubeadm wants to find it: network, container runtime, and a kubelet that starts when kubeadm has run.

Started by rootlesskit in the supervisor's place, with a node's blob on stdin. There is no init system in a user
namespace, so what the kubelet's unit and its drop-in do elsewhere is done here: the same command line, started as soon
as kubeadm has written its files (a real unit would be started by kubeadm at that very moment).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from usernetes_deploy.node import filesystem, proxy, runtime
from usernetes_deploy.node.config import CONTAINERD_SOCKET, KUBERNETES, NodeConfig
from usernetes_deploy.node.limits import raise_limits
from usernetes_deploy.node.supervisor import Supervisor
from usernetes_deploy.waiting import until

PATIENCE = 3600.0
ETCD = Path("/var/lib/etcd")
FLAGS = Path("/var/lib/kubelet/kubeadm-flags.env")
CONFIGURATION = Path("/var/lib/kubelet/config.yaml")
PROXY_CREDENTIAL = KUBERNETES / "kube-proxy.conf"
# As in the drop-in of kubeadm's packages; KUBELET_EXTRA_ARGS is the administrator's.
KUBELET = (
    f". {FLAGS}; exec kubelet --bootstrap-kubeconfig={KUBERNETES}/bootstrap-kubelet.conf"
    f" --kubeconfig={KUBERNETES}/kubelet.conf --config={CONFIGURATION} $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS"
)
TUNING = ("GOGC", "GOMAXPROCS")  # ours, and no part of the usual way


class Machine(Supervisor):
    """The product's network and runtime, and none of its control plane, kubelet or hand-over."""

    def bring_up(self) -> None:
        config = self.config
        raise_limits()
        filesystem.prepare(config)
        filesystem.own_directory(ETCD)
        (config.root / "etcd").mkdir(mode=0o700, exist_ok=True)
        filesystem.mount("--bind", str(config.root / "etcd"), str(ETCD))  # on disk; /var/lib is a tmpfs here
        filesystem.write_files(config)
        self.nr(["ip", "link", "set", "lo", "up"])
        self.nr(["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])  # a prerequisite that kubeadm checks
        self.network.begin()
        self.status.mark("network")
        self.status.snapshotter = runtime.snapshotter(config)
        path = runtime.write_config(config, config.root / "cni", self.status.snapshotter)
        environment = {name: text for name, text in runtime.environment(config).items() if name not in TUNING}
        self.spawn(
            "containerd",
            [config.binary("containerd"), f"--config={path}"],
            env=environment,
            prepare=lambda: Path(CONTAINERD_SOCKET).unlink(missing_ok=True),
            started=self.containerd_started,
        )
        self.spawn(
            "kubelet",
            ["sh", "-c", KUBELET],
            env={
                "KUBELET_EXTRA_ARGS": f"--node-ip={config.node_ip}",
                "PATH": f"{runtime.HELPERS}:{os.environ['PATH']}",
            },
            prepare=lambda: until(
                lambda: FLAGS.exists() and CONFIGURATION.exists(), PATIENCE, "kubeadm tells it to start", pause=0.02
            ),
        )
        proxy.write_config(config)
        self.spawn(
            "kube-proxy",
            proxy.argv(config),
            prepare=lambda: until(PROXY_CREDENTIAL.exists, PATIENCE, "it has a credential", pause=0.02),
        )


def main() -> None:
    """Read the blob on stdin and be the machine."""
    config = NodeConfig.from_json(sys.stdin.buffer.read())
    os.environ["PATH"] = f"{config.bundle}/bin:{os.environ['PATH']}"
    Machine(config, Path(os.environ["ROOTLESSKIT_STATE_DIR"]) / "netns").run()


if __name__ == "__main__":
    main()
