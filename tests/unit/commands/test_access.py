"""The verbs status, kubeconfig, kubectl and logs, against a made-up cluster."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import pytest

from tests.unit.made_up import MadeUp, make_cluster
from usernetes_deploy import cli
from usernetes_deploy.launch.base import Completed, Host


def usernetes(*words: str) -> int:
    """Run a command line; its exit code."""
    return cli.run(["usernetes", *words])


def test_status_is_exit_code_1_when_something_is_not_well(made_up: MadeUp, capsys: pytest.CaptureFixture[str]) -> None:
    assert usernetes("status") == 0
    assert "cluster demo: well" in capsys.readouterr().out
    made_up.answers["node1"]["keeper"]["alive"] = False
    assert usernetes("status", "--json") == 1
    assert json.loads(capsys.readouterr().out)["healthy"] is False


def test_status_looks_again_until_it_is_interrupted(
    made_up: MadeUp,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    assert usernetes("status", "--watch", "7") == 130
    out = capsys.readouterr().out
    assert looks == [7, 7, 7]
    assert out.count("cluster demo: well") == 3
    assert "\x1b" not in out  # the screen is cleared on a terminal only


def test_one_cluster_is_meant_of_several_only_by_name_or_environment(
    made_up: MadeUp, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_cluster(made_up.state.root, "other").state
    assert usernetes("kubeconfig") == 2
    assert "which cluster? There are demo, other" in capsys.readouterr().err
    assert usernetes("kubeconfig", "--cluster", "other") == 0
    assert capsys.readouterr().out == f"{other.kubeconfig}\n"
    monkeypatch.setenv("USERNETES_CLUSTER", "demo")
    assert usernetes("kubeconfig") == 0
    assert capsys.readouterr().out == f"{made_up.state.kubeconfig}\n"
    assert usernetes("kubeconfig", "--cluster", "third") == 2
    assert "no cluster named third; there are demo, other" in capsys.readouterr().err


def test_kubectl_becomes_the_bundles_own_with_the_clusters_kubeconfig(
    made_up: MadeUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    became: list[Any] = []
    monkeypatch.setenv("KUBECONFIG", "/another")
    monkeypatch.setattr(os, "execve", lambda *call: became.extend(call))
    assert usernetes("kubectl", "--cluster", "demo", "get", "pods", "-o", "wide") == 0
    binary, argv, environment = became
    assert (binary, argv) == ("/opt/bundle/bin/kubectl", ["kubectl", "get", "pods", "-o", "wide"])
    assert environment["KUBECONFIG"] == str(made_up.state.kubeconfig)
    assert environment["KUBECACHEDIR"].startswith(str(made_up.state.directory))  # `down` leaves nothing in the home


def test_a_kubectl_that_is_gone_is_named(
    made_up: MadeUp,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert usernetes("kubectl", "get", "pods") == 1
    assert "run /opt/bundle/bin/kubectl: No such file or directory" in capsys.readouterr().err


def test_logs_are_asked_of_the_node_that_is_named(made_up: MadeUp, capsys: pytest.CaptureFixture[str]) -> None:
    def answer(host: Host, argv: Any, _: bytes) -> Completed:
        return Completed(argv, 0, f"{host.name}: {' '.join(argv[3:])}\n", "")

    made_up.launcher._answers["logs"] = answer
    assert usernetes("logs") == 0
    assert capsys.readouterr().out == "node0: /var/tmp/usernetes-1/ab-0 --lines=50\n"
    words = ["logs", "--node", "node1", "--lines", "3", "--component", "etcd", "--component", "mesh"]
    assert usernetes(*words) == 0
    said = capsys.readouterr().out
    assert said == "node1: /var/tmp/usernetes-1/ab-1 --lines=3 --component=etcd --component=mesh\n"
    assert usernetes(*words, "--follow") == 0
    assert capsys.readouterr() == (said.replace("\n", " --follow\n"), "node1 has ended\n")


def test_logs_that_cannot_be_followed_are_a_failure(made_up: MadeUp, capsys: pytest.CaptureFixture[str]) -> None:
    made_up.launcher._answers["logs"] = lambda _, argv, __: Completed(argv, 1, "", "no log of kublet\n")
    assert usernetes("logs", "--component", "kublet", "--follow") == 1
    assert capsys.readouterr().err == "no log of kublet\n"


def test_an_unknown_node_is_named_with_those_there_are(
    made_up: MadeUp,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert usernetes("logs", "--node", "node7") == 2
    assert "the cluster has no node node7; its nodes are node0, node1" in capsys.readouterr().err
