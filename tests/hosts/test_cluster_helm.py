"""Helm works as with any other cluster: a chart of our own is installed, tested, upgraded, rolled back, uninstalled.

Runs where `helm` is found in PATH. The chart has what charts usually have: a Deployment that mounts a ConfigMap and
asks for ephemeral storage, a Service, a volume of the default StorageClass, a NetworkPolicy, and hooks.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.clusters import BUSYBOX, Cluster, wait_for

pytestmark = pytest.mark.cluster

CHART = {
    "Chart.yaml": "{apiVersion: v2, name: page, version: 0.1.0}",
    "templates/page.yaml": """
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}}
data: {index.html: "{{ .Values.word }}\\n"}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: {{ .Release.Name }}}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
---
apiVersion: v1
kind: Service
metadata: {name: {{ .Release.Name }}}
spec: {selector: {app: {{ .Release.Name }}}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: {{ .Release.Name }}}
spec: {podSelector: {matchLabels: {app: {{ .Release.Name }}}}, policyTypes: [Ingress], ingress: [{}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata:
      labels: {app: {{ .Release.Name }}}
      annotations: {checksum/page: {{ .Values.word | sha256sum }}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: web
          image: {{ .Values.image }}
          command: [sh, -c, "echo {{ .Values.word }} >> /data/words; exec httpd -f -p 8080 -h /www"]
          readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
          resources:
            requests: {cpu: 10m, memory: 8Mi, ephemeral-storage: 50Mi}
            limits: {ephemeral-storage: 2Gi}
          volumeMounts: [{name: page, mountPath: /www}, {name: data, mountPath: /data}]
      volumes:
        - {name: page, configMap: {name: {{ .Release.Name }}}}
        - {name: data, persistentVolumeClaim: {claimName: {{ .Release.Name }}}}
""",
    "templates/hook.yaml": """
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .Release.Name }}-before
  annotations: {helm.sh/hook: "pre-install,pre-upgrade", helm.sh/hook-delete-policy: before-hook-creation}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers:
        - name: before
          image: {{ .Values.image }}
          command: [sh, -c, "echo before {{ .Values.word }}; exit {{ ternary 1 0 .Values.fails }}"]
""",
    "templates/tests/answers.yaml": """
apiVersion: v1
kind: Pod
metadata: {name: {{ .Release.Name }}-answers, annotations: {helm.sh/hook: test}}
spec:
  restartPolicy: Never
  containers:
    - name: ask
      image: {{ .Values.image }}
      command: [sh, -c, "timeout 5 wget -q -O - http://{{ .Release.Name }}/ | grep -x {{ .Values.word }}"]
""",
}


class Helm:
    """`helm` as the user of a cluster, with what `usernetes kubeconfig` prints, and a home of its own."""

    def __init__(self, cluster: Cluster, program: str, home: Path) -> None:
        self.cluster = cluster
        self.program = program
        kubeconfig = cluster.usernetes("kubeconfig").stdout.strip()
        self.env = {"KUBECONFIG": kubeconfig, "HELM_CACHE_HOME": str(home), "HELM_CONFIG_HOME": str(home)}

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run ``helm WORDS`` to its end, whatever that is."""
        argv = self.cluster.account.become([self.program, *words], self.env)
        return subprocess.run(argv, capture_output=True, text=True, timeout=180, check=False, cwd="/")

    def done(self, *words: str) -> str:
        """What helm prints on both outputs; fails the test when it fails."""
        ran = self.run(*words)
        assert ran.returncode == 0, f"helm {' '.join(words)}: {ran.stdout}{ran.stderr}"
        return ran.stdout + ran.stderr


@pytest.fixture
def helm(cluster: Cluster) -> Iterator[Helm]:
    """Helm, where there is one."""
    found = shutil.which("helm")
    if not found:
        pytest.skip("no helm in PATH (go install helm.sh/helm/v3/cmd/helm@latest)")
    home = cluster.account.home / "helm"
    program = home / "bin" / "helm"  # a copy: the one found may lie where only we may look
    program.parent.mkdir(parents=True)
    shutil.copy(found, program)
    os.chown(home, cluster.account.uid, cluster.account.uid)
    yield Helm(cluster, str(program), home)
    shutil.rmtree(home)


@pytest.fixture
def chart(helm: Helm) -> Path:
    """The chart's folder; its values name the cluster's own busybox."""
    folder = Path(helm.env["HELM_CACHE_HOME"]) / "page"
    for name, content in CHART.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    images = helm.cluster.status()["nodes"][0]["images"]
    image = next(name for name in images if name.startswith(BUSYBOX))
    (folder / "values.yaml").write_text(json.dumps({"word": "first", "replicas": 1, "fails": False, "image": image}))
    return folder


def test_a_chart_is_installed_tested_upgraded_rolled_back_and_uninstalled(helm: Helm, chart: Path) -> None:
    cluster, where = helm.cluster, ("--namespace", "helm")

    def page() -> str:
        return cluster.kubectl("exec", "-n", "helm", "deploy/page", "--", "cat", "/www/index.html").strip()

    said = helm.done("install", "page", str(chart), *where, "--create-namespace", "--wait", "--timeout", "90s")
    assert "arning" not in said
    assert page() == "first"
    assert cluster.kubectl("logs", "-n", "helm", "job/page-before") == "before first\n"
    assert "Succeeded" in helm.done("test", "page", *where, "--timeout", "60s")

    more = ("--set", "word=second,replicas=2", "--wait", "--timeout", "90s")
    helm.done("upgrade", "page", str(chart), *where, *more)
    assert page() == "second"
    assert cluster.get("deployment", "page", "-n", "helm")["status"]["readyReplicas"] == 2
    helm.done("test", "page", *where, "--timeout", "60s")

    refused = helm.run("upgrade", "page", str(chart), *where, "--set", "word=third,fails=true", "--timeout", "60s")
    assert refused.returncode != 0
    assert "page-before" in refused.stderr or "pre-upgrade" in refused.stderr
    assert page() == "second"

    helm.done("rollback", "page", "1", *where, "--wait", "--timeout", "90s")
    assert page() == "first"
    history = json.loads(helm.done("history", "page", *where, "-o", "json"))
    assert [item["status"] for item in history] == ["superseded", "superseded", "failed", "deployed"]
    words = cluster.kubectl("exec", "-n", "helm", "deploy/page", "--", "cat", "/data/words").split()
    assert (words[0], set(words)) == ("first", {"first", "second"})  # the volume outlived every pod

    helm.done("uninstall", "page", *where, "--wait", "--timeout", "90s")
    left = cluster.get("deployment,service,configmap,pvc,networkpolicy", "-n", "helm")["items"]
    assert {item["metadata"]["name"] for item in left} <= {"kube-root-ca.crt"}
    cluster.kubectl("delete", "namespace", "helm", "--wait=false")

    def volumes() -> list[str]:
        return [item["spec"]["claimRef"]["namespace"] for item in cluster.get("pv")["items"]]

    wait_for(lambda: "helm" not in volumes(), "the volume is gone")
