"""The places inside an `MPIJob` of mpi-operator: its workers are the nodes, the launcher runs in its launcher's pod.

A worker runs the host's own sshd with the key of the job. The launcher waits until the workers were looked at; then it
gets the same command line as in all places, with an agent that is ssh. One MPIJob is one run. The operator's host file
is not used: its order is that of the workers' names, and which worker is on which node the scheduler chooses.
"""

from __future__ import annotations

import json
import random
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from netbench.places.base import Front, PlaceError
from netbench.places.pod import LABEL, OWN_SOFTWARE, PodPlace
from netbench.start.mpi import PATH, Seat
from netbench.start.process import Ended, execute
from usernetes_deploy.errors import UsageError

RESOURCE = "mpijobs.v2beta1.kubeflow.org"
ROLE = "netbench.usernetes.dev/role"
KEYS = "/root/.ssh"  # where the operator lays the job's key pair
AGENT = Path("/tmp/agent.sh")  # both in the launcher's own /tmp
START = Path("/tmp/start.sh")
REMEDY = "install mpi-operator in this cluster, or take the places pod-mesh and pod-native"
TAKEN_UP_WITHIN = 20
ENDED_WITHIN = 30.0
PORT = 2222
STDERR = "netbench stderr: "

# An image that is empty, as that of the hosts' software, knows no users; sshd wants these two.
USERS = """umask 022
grep -qs ^root: /etc/passwd || echo 'root:*:0:0:root:/root:/bin/sh' >>/etc/passwd
grep -qs ^sshd: /etc/passwd || echo 'sshd:*:65534:65534:sshd:/run/sshd:/bin/false' >>/etc/passwd
"""
# Workers on one host's network need a port each. The job's key is the host's key as well: its launcher knows it.
WORKER = f"""{USERS}mkdir -p /run/sshd
for pair in $ADDRESSES; do case $pair in "$NODE="*) ADDRESS=${{pair#*=}} ;; esac; done
[ -n "$ADDRESS" ] || {{ echo "$NODE has no address" >&2; exit 2; }}
[ -x /usr/sbin/sshd ] || {{ echo "$NODE has no /usr/sbin/sshd: install openssh-server" >&2; exit 127; }}
exec /usr/sbin/sshd -D -e -f /dev/null -h {KEYS}/id_rsa -p $((PORT + ${{POD##*-}})) -o "ListenAddress=$ADDRESS" \\
  -o AuthenticationMethods=publickey -o AuthorizedKeysFile={KEYS}/authorized_keys -o StrictModes=no -o UsePAM=no \\
  -o PermitRootLogin=prohibit-password -o PasswordAuthentication=no -o KbdInteractiveAuthentication=no \\
  -o DisableForwarding=yes -o PermitUserRC=no -o PidFile=none -o LogLevel=ERROR
"""
# The log of a pod does not tell standard output from standard error, so the lines of the latter are marked.
LAUNCHER = f"""{USERS}echo "netbench $(cat {KEYS}/id_rsa.pub)" >/tmp/known_hosts
until [ -e {START} ]; do sleep 0.2; done
mkfifo /tmp/stderr
sed -u 's/^/{STDERR}/' </tmp/stderr >&2 &
sh {START} </dev/null 2>/tmp/stderr
code=$?
wait
exit $code
"""
SSH = (
    *("ssh", "-F", "/dev/null", "-i", f"{KEYS}/id_rsa", "-oBatchMode=yes", "-oLogLevel=ERROR"),
    *("-oConnectionAttempts=10", "-oStrictHostKeyChecking=yes", "-oUserKnownHostsFile=/tmp/known_hosts"),
    "-oHostKeyAlias=netbench",
)


class MpiJobPlace(PodPlace):
    """The pods of an MPIJob on the cluster's nodes; `launch` takes the place of running the launcher here."""

    agent = AGENT

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._job = f"netbench-{self._network}"
        self._workers = [f"{self._job}-worker-{i}" for i in range(len(self._nodes))]
        self._port = PORT
        self._launcher: Mapping[str, Any] = {}

    def require_operator(self) -> None:
        """Raise `UsageError` where the cluster knows no MPIJobs, or nothing takes them up; no pod is started."""
        job = self.job()
        job["spec"]["runPolicy"]["suspend"] = True
        try:
            self._kubectl("get", RESOURCE)
            self._delete_job()
            self._kubectl("create", "-f", "-", stdin=json.dumps(job))
        except PlaceError as error:
            raise UsageError(f"{self.name} needs MPIJobs of kubeflow.org/v2beta1: {error}", remedy=REMEDY) from error
        try:
            limit = f"--timeout={TAKEN_UP_WITHIN}s"
            self._kubectl("wait", "--for=condition=Created", f"{RESOURCE}/{self._job}", limit)
        except PlaceError as error:
            reason = f"{self.name}: nothing took up an MPIJob within {TAKEN_UP_WITHIN} s: is mpi-operator running?"
            raise UsageError(reason, remedy=REMEDY) from error
        finally:
            self.close()

    def open(self) -> None:
        """Make the MPIJob of the next run and wait for its pods. Raises `PlaceError` that names pod and reason."""
        if self._seats:
            return
        if self._image == OWN_SOFTWARE:
            self._image = self._pause_image()
        if self._network == "native":
            # the host's network is shared with others, who have ports of their own
            self._port = 20000 + random.randrange(10000)  # noqa: S311 - only has to be free
        self._delete_job()
        self._kubectl("create", "-f", "-", stdin=json.dumps(self.job()))
        states = self._wait_ready([*self._workers, "launcher"])
        self._launcher = states.pop("launcher")
        # the scheduler chose which worker is on which node; ranks come in the plan's order
        at = {str(pod["spec"]["nodeName"]): name for name, pod in states.items()}
        self._workers = [at[node] for node in self._nodes]
        self._seats = [self._seat(states[at[node]], node) for node in self._nodes]

    @property
    def front(self) -> Front:
        """The job's launcher."""
        return self

    def done(self) -> None:
        """An MPIJob is one run."""
        self.close()

    def trouble(self) -> str | None:
        """As with other pods; the MPIJob of a run that failed is deleted in any case."""
        trouble = super().trouble()
        self.close()
        return trouble

    def close(self) -> None:
        """Delete the MPIJob with all that the operator made for it, if the cluster still answers."""
        self._seats = []
        try:
            self._delete_job()
        except PlaceError:
            return

    def launcher_address(self) -> str:
        """That of the launcher's pod."""
        return self._address(self._launcher, self._nodes[0])

    def by_ssh(self, seats: Sequence[Seat]) -> list[Seat]:
        """Each worker's sshd."""
        ports = {
            node: str(self._port + _index(worker)) for node, worker in zip(self._nodes, self._workers, strict=True)
        }
        return [replace(s, run=(*SSH, "-p", ports[s.name], f"root@{s.address}"), joined=True) for s in seats]

    def launch(self, argv: Sequence[str], limit: float, folder: Path) -> Ended:
        """As in `Front`; the MPIJob's manifest is kept in `folder` as well."""
        (folder / "mpijob.json").write_text(json.dumps(self.job(), indent=1), encoding="utf-8")
        self._put(AGENT, (folder / "agent.sh").read_text(encoding="utf-8"))
        # the operator's environment names its host file and options for its own agent
        self._put(START, f"exec env -i PATH={PATH} HOME=/tmp {shlex.join(argv)}\n")
        follow = (*self._kubectl.argv, "logs", "--follow", self._launcher["metadata"]["name"])
        log = folder / "launcher-log.txt"
        ended = execute(follow, limit, log, folder / "kubectl.txt")
        stdout, stderr = split_log(ended.stdout)
        for name, text in (("stdout.txt", stdout), ("stderr.txt", stderr)):
            (folder / name).write_text(text, encoding="utf-8")
        code = ended.exit_code if ended.timed_out else self._exit_code()
        return replace(ended, argv=tuple(argv), exit_code=code, stdout=stdout, stderr=stderr)

    def job(self) -> dict[str, Any]:
        """The MPIJob: a worker on every node, the launcher beside that of the first; no pod is replaced."""
        return {
            "apiVersion": "kubeflow.org/v2beta1",
            "kind": "MPIJob",
            "metadata": {"name": self._job, "labels": {LABEL: self.name}},
            "spec": {
                "sshAuthMountPath": KEYS,
                # what a run left is looked at, and deleted with the job
                "runPolicy": {"cleanPodPolicy": "None", "backoffLimit": 0},
                "mpiReplicaSpecs": {
                    "Launcher": {
                        "replicas": 1,
                        "restartPolicy": "Never",
                        "template": self._template("launcher", LAUNCHER),
                    },
                    "Worker": {
                        "replicas": len(self._nodes),
                        "restartPolicy": "Never",
                        "template": self._worker_template(),
                    },
                },
            },
        }

    def _worker_template(self) -> dict[str, Any]:
        template = self._template("worker", WORKER)
        del template["spec"]["nodeSelector"]
        on_nodes = {"key": "kubernetes.io/hostname", "operator": "In", "values": self._nodes}
        others = {"matchLabels": {LABEL: self.name, ROLE: "worker"}}
        template["spec"]["affinity"] = {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [on_nodes]}]
                }
            },
            "podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [
                    {"topologyKey": "kubernetes.io/hostname", "labelSelector": others}
                ]
            },
        }
        env = [_field("NODE", "spec.nodeName"), _field("POD", "metadata.name")]
        env.append({"name": "PORT", "value": str(self._port)})
        if self._network == "native":
            pairs = " ".join(f"{node}={address}" for node, address in self._host_addresses.items())
            env.append({"name": "ADDRESSES", "value": pairs})
        else:
            env.append(_field("ADDRESS", "status.podIP"))
        template["spec"]["containers"][0]["env"] = env
        return template

    def _template(self, role: str, script: str) -> dict[str, Any]:
        """A pod of this place on the first node that runs `script`."""
        pod = self.manifest(role, self._nodes[0])
        del pod["spec"]["restartPolicy"]
        container = pod["spec"]["containers"][0]
        container |= {"command": ["/bin/sh", "-c", script], "terminationMessagePolicy": "FallbackToLogsOnError"}
        return {"metadata": {"labels": {LABEL: self.name, ROLE: role}}, "spec": pod["spec"]}

    def _pod(self, index: int) -> str:
        return self._workers[index]

    def _listed(self) -> dict[str, Any]:
        """The launcher's name has an end that the Job chose."""
        pods = super()._listed()
        return {
            "launcher" if pod["metadata"]["labels"][ROLE] == "launcher" else name: pod for name, pod in pods.items()
        }

    def _put(self, path: Path, text: str) -> None:
        """Write a file in the launcher, there whole or not at all."""
        script = f"cat >{path}.partial && chmod 755 {path}.partial && mv {path}.partial {path}"
        self._kubectl("exec", "-i", self._launcher["metadata"]["name"], "--", "/bin/sh", "-c", script, stdin=text)

    def _exit_code(self) -> int:
        """That of the launcher, whose log has ended."""
        deadline = time.monotonic() + ENDED_WITHIN
        while True:
            status = self._listed().get("launcher", {}).get("status", {"phase": "is gone"})
            for state in (container["state"] for container in status.get("containerStatuses", ())):
                if "terminated" in state:
                    return int(state["terminated"]["exitCode"])
            if time.monotonic() > deadline:
                raise PlaceError(f"the launcher's log ended before it did: {status.get('reason') or status['phase']}")
            time.sleep(0.3)

    def _delete_job(self) -> None:
        """Gone with all its pods and keys when this returns."""
        self._kubectl("delete", RESOURCE, self._job, "--ignore-not-found", "--cascade=foreground", "--wait=true")


def split_log(log: str) -> tuple[str, str]:
    """Standard output and standard error of a launcher's log.

    >>> split_log("8 1.5\\nnetbench stderr: oh\\n16 1.6\\n")
    ('8 1.5\\n16 1.6\\n', 'oh\\n')
    """
    lines = log.splitlines(keepends=True)
    stdout = "".join(line for line in lines if not line.startswith(STDERR))
    return stdout, "".join(line.removeprefix(STDERR) for line in lines if line.startswith(STDERR))


def _index(worker: str) -> int:
    return int(worker.rpartition("-")[2])


def _field(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}
