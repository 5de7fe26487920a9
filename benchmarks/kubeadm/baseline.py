"""One bring-up the usual way, timed: machines, images, ``kubeadm init``, then ``kubeadm join`` one after the other.

The machines are the product's own nodes (namespaces, mesh, containerd, pause and busybox images) without Kubernetes.
Everything of kubeadm runs as it is; nothing of it is skipped but:

* ``--ignore-preflight-errors`` for the checks in `CANNOT_PASS`, each with its reason there;
* the phase addon/kube-proxy: its DaemonSet needs the host's /lib/modules and an image with nftables' tools. kube-proxy
  runs as a process instead, with a credential that kubeadm makes, off the path of the joins.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import re
import shlex
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from kubeadm import documents
from kubeadm.node import PROXY_CREDENTIAL
from usernetes_deploy.api import Api
from usernetes_deploy.bundle import Bundle
from usernetes_deploy.changes.bringup import UP
from usernetes_deploy.changes.context import BringUp
from usernetes_deploy.changes.phase import Report, run
from usernetes_deploy.cluster.spec import load
from usernetes_deploy.cluster.state import ClusterState, memory_file
from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.launch import nodezip
from usernetes_deploy.launch.local import LocalLauncher
from usernetes_deploy.node import folder, rootlesskit, verbs
from usernetes_deploy.node.config import CONTAINERD_SOCKET, KUBERNETES, RUN, NodeConfig
from usernetes_deploy.phases.check_network import is_ready as pod_ready
from usernetes_deploy.phases.issue_credentials import IssueCredentials
from usernetes_deploy.phases.wait_ready import ready_nodes

NODE_PROGRAM = Path(__file__).with_name("node.py")
PATIENCE = 300.0  # seconds for any one step
# Checks of kubeadm's preflight that are made and reported, but not fatal, and why.
CANNOT_PASS = {
    "SystemVerification": "it refuses cgroups v1, which a user cannot change; the kubelet is told to accept them",
}
INIT = RUN / "kubeadm-init.yaml"


class Kubeadm:
    """One cluster made by kubeadm; a context manager that leaves nothing behind.

    >>> with Kubeadm(bundle, archives, 3, Path("/tmp/x")) as cluster:
    ...     cluster.bring_up()
    {'machines': 3.1, 'import images': 4.0, 'kubeadm init': 18.5, ...}
    """

    def __init__(self, bundle: Bundle, archives: dict[str, Path], count: int, folder: Path) -> None:
        self.bundle, self.archives, self.folder = bundle, archives, folder
        self.program = nodezip.build(folder)
        self.up = BringUp(
            spec=load({"nodes": count, "name": "kubeadm"}),
            launcher=LocalLauncher(count, self.program),
            state=ClusterState(folder / "state", "kubeadm"),
            found_bundle=bundle,
            report=Report(io.StringIO()),
        )
        self.seconds: dict[str, float] = {}
        self.processes: list[subprocess.Popen[bytes]] = []
        self.background: list[threading.Thread] = []

    def __enter__(self) -> Kubeadm:
        titles = [phase.title for phase in UP]
        run(UP[: titles.index(IssueCredentials.title) + 1], self.up, self.up.report)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()
        with ThreadPoolExecutor() as pool:
            list(pool.map(self._remove, self.up.nodes))
        for process in self.processes:
            process.wait()
        for thread in self.background:
            thread.join(PATIENCE)
        if self.up.report.log:
            self.up.report.log.close()
        self.up.launcher.close()
        self.up.state.remove()

    def bring_up(self) -> dict[str, float]:
        """Seconds by step, in their order; raises `UsernetesError` with the words of the step that failed."""
        first, *others = self.up.nodes
        with self._step("machines"):
            for node in self.up.nodes:
                self._start(node)
            for node in self.up.nodes:
                self._wait(partial(self._is_up, node), f"{node.name} up")
        with self._step("import images"), ThreadPoolExecutor() as pool:
            wanted = [(first, archive) for archive in self.archives.values()]
            wanted += [(node, self.archives["coredns"]) for node in others]  # it may be scheduled there
            list(pool.map(lambda pair: self._import(*pair), wanted))
        with self._step("kubeadm init"):
            said = self._kubeadm(first, "init", f"--config={INIT}", "--skip-phases=addon/kube-proxy")
        join = join_words(said)
        api = self._api(first)
        try:
            self._in_background(lambda: self._give_proxy_credential(first))
            with self._step("kubeadm join"):
                image, _ = self.bundle.image("busybox")
                api.apply(documents.probe(image, first.dns_domain))
                for node in others:
                    self._kubeadm(node, *join, f"--node-name={node.name}", f"--cri-socket={documents.CRI}")
            with self._step("all Ready"):
                names = {node.name for node in self.up.nodes}
                self._wait(lambda: ready_nodes(api.get("/api/v1/nodes")["items"], names) == names, "all nodes Ready")
            with self._step("DNS and a pod a node"):
                path = f"/api/v1/namespaces/default/pods?labelSelector=app={documents.PROBE}"
                self._wait(lambda: sum(map(pod_ready, api.get(path)["items"])) == len(names), "a pod on every node")
        finally:
            api.close()
        return self.seconds

    # pieces -------------------------------------------------------------------------------------

    def _start(self, node: NodeConfig) -> None:
        # A host's own name is looked up by kubeadm; without an entry it would wait for name servers.
        files = {"/etc/hosts": "".join(f"{ip} {name}\n" for ip, name in self._names())}
        if node.control_plane:
            files[str(INIT)] = documents.init(node, self.bundle)
        config = node._replace(files=files, manifests=[])
        folder.make(config)
        rootlesskit.write_nat(config)
        program = [sys.executable, str(NODE_PROGRAM)]
        source = {"PYTHONPATH": str(Path(__file__).parents[2])}
        self.processes.append(rootlesskit.launch(config, program, environment=source, start_new_session=True))

    def _names(self) -> list[tuple[str, str]]:
        return [("127.0.0.1", "localhost"), *((node.node_ip, node.name) for node in self.up.nodes)]

    def _remove(self, node: NodeConfig) -> None:
        verbs.stop(node.root, node.binary("rootlesskit"))

    def _status(self, node: NodeConfig) -> dict[str, Any]:
        try:
            return dict(json.loads((node.root / "status.json").read_text()))
        except (OSError, ValueError):
            return {}

    def _is_up(self, node: NodeConfig) -> bool:
        return "images" in self._status(node).get("phases", {})

    def _enter(self, node: NodeConfig, *command: str, stdin: str = "") -> str:
        """Run a command on a machine, as its administrator would; returns stdout."""
        argv = [sys.executable, str(self.program), "enter", node.node_dir, "--", *command]
        done = subprocess.run(
            argv,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
            timeout=PATIENCE,
            env=rootlesskit.clean_environment(node),
        )
        if done.returncode:
            raise UsernetesError((done.stdout + done.stderr).strip()[-3000:], node=node.name, tried=shlex.join(command))
        return done.stdout

    def _kubeadm(self, node: NodeConfig, *words: str) -> str:
        ignored = [f"--ignore-preflight-errors={','.join(CANNOT_PASS)}"] if CANNOT_PASS else []
        said = self._enter(node, "kubeadm", *words, *ignored)
        (node.logs / "kubeadm.log").write_text(said)
        return said

    def _import(self, node: NodeConfig, archive: Path) -> None:
        self._enter(
            node, "ctr", "--namespace=k8s.io", f"--address={CONTAINERD_SOCKET}", "images", "import",
            f"--snapshotter={self._status(node)['snapshotter']}", str(archive),
        )  # fmt: skip

    def _give_proxy_credential(self, first: NodeConfig) -> None:
        user = ["kubeadm", "kubeconfig", "user", f"--config={INIT}", "--client-name=system:kube-proxy"]
        credential = self._enter(first, *user)
        for node in self.up.nodes:
            whole = f"cat > {PROXY_CREDENTIAL}.new && mv {PROXY_CREDENTIAL}.new {PROXY_CREDENTIAL}"
            self._enter(node, "sh", "-c", f"umask 77; mkdir -p {KUBERNETES}; {whole}", stdin=credential)

    def _api(self, first: NodeConfig) -> Api:
        """The API as kubeadm's administrator, at the port that the first machine publishes on the host."""
        document = yaml.safe_load(self._enter(first, "cat", f"{KUBERNETES}/admin.conf"))
        cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
        context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        with (
            memory_file(base64.b64decode(user["client-certificate-data"])) as certificate,
            memory_file(base64.b64decode(user["client-key-data"])) as key,
        ):
            context.load_cert_chain(certificate, key)
        return Api(f"https://127.0.0.1:{first.api_port}", context, timeout=30)

    def _in_background(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self.background.append(thread)
        thread.start()

    def _wait(self, check: Callable[[], bool], what: str) -> None:
        ends = time.monotonic() + PATIENCE
        while not check():
            for node, process in zip(self.up.nodes, self.processes, strict=True):
                if process.poll() is not None:
                    raise UsernetesError(f"the machine ended before {what}", node=node.name)
            if time.monotonic() > ends:
                raise UsernetesError(f"not {what} after {PATIENCE:g} s")
            time.sleep(0.1)

    @contextlib.contextmanager
    def _step(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - began


def join_words(said: str) -> Sequence[str]:
    r"""The join command that ``kubeadm init`` prints at its end, without its first word.

    >>> join_words("...\nkubeadm join 10.64.0.1:6443 --token a.b \\\n\t--discovery-token-ca-cert-hash sha256:1\n")
    ['join', '10.64.0.1:6443', '--token', 'a.b', '--discovery-token-ca-cert-hash', 'sha256:1']
    """
    found = re.search(r"kubeadm (join (?:[^\n]*\\\n)*[^\n]*)", said)
    if not found:
        raise UsernetesError(said[-500:], tried="find the join command in what kubeadm init said")
    return shlex.split(found[1].replace("\\\n", " "))
