"""Pods on both networks of a real cluster, device files, and host processes inside the cluster's network."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess

import pytest

from tests.hosts.meshed import Meshed, eventually, simple_pod

pytestmark = pytest.mark.cluster
SLEEP = "while :; do sleep 1000; done"
WEB = "mkdir /www; hostname > /www/index.html; exec httpd -f -p 8080 -h /www"
NATIVE = {"runtimeClassName": "native", "hostNetwork": True}


def address_variable() -> dict[str, object]:
    field = {"fieldPath": "metadata.annotations['usernetes.dev/host-address']"}
    return {"env": [{"name": "HOST", "valueFrom": {"fieldRef": field}}]}


def test_native_and_mesh_pods_run_side_by_side_on_one_node(meshed: Meshed) -> None:
    image, node = meshed.busybox(), meshed.hosts.names[1]
    sidecar = {"name": "side", "image": image, "imagePullPolicy": "Never", "restartPolicy": "Always",
               "command": ["/bin/sh", "-c", SLEEP]}  # fmt: skip
    first = {"name": "init", "image": image, "imagePullPolicy": "Never", "command": ["/bin/sh", "-c", "ip addr"]}
    probe = {"readinessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 1}}
    done = meshed.apply(
        simple_pod("native", image, f"echo I am at $HOST; ls /sys/class/net; {SLEEP}", nodeName=None, **NATIVE,
                   initContainers=[first, sidecar], container={**address_variable(), **probe},
                   nodeSelector={"kubernetes.io/hostname": node}),
        simple_pod("meshpod", image, WEB, nodeSelector={"kubernetes.io/hostname": node}),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    native, mesh = meshed.pod("native"), meshed.pod("meshpod")
    address = meshed.address(1)
    assert native["metadata"]["annotations"]["usernetes.dev/host-address"] == address
    said = meshed.kubectl("logs", "native", "-c", "main")
    assert f"I am at {address}" in said
    assert "eth0" in said.split()
    assert f"inet {address}/" in meshed.kubectl("logs", "native", "-c", "init")
    assert f"inet {address}/" in meshed.kubectl("exec", "native", "-c", "main", "--", "ip", "addr")
    assert f"inet {mesh['status']['podIP']}/" in meshed.kubectl("exec", "meshpod", "--", "ip", "addr")
    assert address not in meshed.kubectl("exec", "meshpod", "--", "ip", "addr")


def test_a_native_pods_sys_is_the_hosts_and_read_only(meshed: Meshed) -> None:
    meshed.pod("native")
    written = meshed.usernetes(
        "kubectl", "exec", "native", "-c", "main", "--", "sh", "-c", "echo 1 > /sys/class/net/eth0/mtu"
    )
    assert written.returncode != 0
    assert "ead-only" in written.stderr + written.stdout


def test_a_native_pod_off_the_hosts_network_is_refused_with_the_reason(meshed: Meshed) -> None:
    done = meshed.apply(simple_pod("wrong", "x", SLEEP, runtimeClassName="native"))
    assert done.returncode != 0
    assert "set spec.hostNetwork: true" in done.stderr


def test_a_pod_gets_the_device_files_it_asks_for_and_no_other_pod_does(meshed: Meshed) -> None:
    image = meshed.busybox()
    asks = {"resources": {"limits": {"usernetes.dev/tun": "1"}}}
    show = f"ls -l /dev/net/tun /dev/zero; head -c 4 /dev/zero | wc -c; {SLEEP}"
    assert meshed.apply(simple_pod("device", image, show, container=asks)).returncode == 0
    meshed.pod("device")
    said = meshed.kubectl("logs", "device")
    assert "10, 200" in said
    assert "4" in said.split()
    assert meshed.usernetes("kubectl", "exec", "meshpod", "--", "ls", "/dev/net/tun").returncode != 0


def test_every_node_offers_as_many_as_the_spec_says(meshed: Meshed) -> None:
    path = "jsonpath={.items[*].status.allocatable.usernetes\\.dev/tun}"
    # A kubelet reports what changed with its next status, every 5 seconds.
    eventually(lambda: meshed.kubectl("get", "nodes", "-o", path) == "2 2", 30, "both nodes' devices")


def test_a_process_of_the_host_uses_the_clusters_services_by_name(meshed: Meshed) -> None:
    image = meshed.busybox()
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
               "spec": {"selector": {"app": "web"}, "ports": [{"port": 8080}]}}  # fmt: skip
    assert meshed.apply(simple_pod("web", image, WEB), service).returncode == 0
    meshed.pod("web")
    script = "id -un; cat /etc/hostname >/dev/null && curl -sS http://web:8080/; curl -sS http://web.default.svc:8080/"
    assert meshed.ok("run", "--", "sh", "-c", script).split() == [meshed.hosts.user, "web", "web"]
    other = meshed.ok("run", "--node", meshed.hosts.names[1], "--", "curl", "-sS", "http://web.default:8080/")
    assert other.strip() == "web"
    assert meshed.usernetes("run", "--", "sh", "-c", "exit 7").returncode == 7


def in_terminal(argv: list[str], typed: str) -> tuple[str, int]:
    """What a terminal shows of a command to which `typed` is typed, and how the command ended."""
    terminal, inner = pty.openpty()
    shown = b""
    with subprocess.Popen(["setsid", "--ctty", "--wait", *argv], stdin=inner, stdout=inner, stderr=inner) as process:
        os.close(inner)
        os.write(terminal, typed.encode())
        with contextlib.suppress(OSError):  # EIO: the last process has closed it
            while part := os.read(terminal, 4096):
                shown += part
        os.close(terminal)
    return shown.decode(errors="replace"), process.returncode


def test_a_shell_has_a_terminal_and_the_clusters_names(meshed: Meshed) -> None:
    argv = meshed.argv(0, "env", "SHELL=/bin/sh", meshed.python, "-m", "usernetes_deploy.cli", "shell")
    shown, code = in_terminal(argv, "tty; curl -sS http://web:8080/; echo node=$USERNETES_NODE; exit 7\n")
    assert code == 7, shown
    assert "/dev/pts/" in shown
    assert "web\r\n" in shown
    assert "not a tty" not in shown


def test_a_shell_on_another_host_is_refused_with_what_to_do(meshed: Meshed) -> None:
    done = meshed.usernetes("shell", "--node", meshed.hosts.names[1])
    assert done.returncode == 2
    assert f"log in to the host of {meshed.hosts.names[1]}" in done.stderr


def test_a_command_that_is_not_there_is_named(meshed: Meshed) -> None:
    done = meshed.usernetes("run", "--", "no-such-program")
    assert done.returncode == 1
    assert "no-such-program: No such file or directory" in done.stderr
    assert meshed.usernetes("run").returncode == 2


def test_the_proxy_lets_nobody_through_without_its_password(meshed: Meshed) -> None:
    argv = meshed.argv(0, meshed.python, "-m", "usernetes_deploy.cli", "run", "--socks")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as proxy:
        assert proxy.stdout
        url = proxy.stdout.readline().strip()
        try:
            right = meshed.on(0, "curl", "-sS", "-m", "10", "-x", url, "http://web.default.svc:8080/")
            wrong = meshed.on(
                0, "curl", "-sS", "-m", "10", "-x", url.replace("@", "x@"), "http://web.default.svc:8080/"
            )
            none = meshed.on(
                0, "curl", "-sS", "-m", "10", "-x", f"socks5h://{url.partition('@')[2]}", "http://web:8080/"
            )
        finally:
            proxy.terminate()
    assert right.stdout.strip() == "web"
    assert wrong.returncode == none.returncode == 97
