"""Device files of a real cluster's hosts: what a vendor's file describes, and what comes and goes."""

from __future__ import annotations

import json
import time

import pytest

from tests.hosts.meshed import PLUG, Meshed, eventually, simple_pod

pytestmark = pytest.mark.cluster
SLEEP = "exec sleep 1000"
BROKEN = """
cdiVersion: 0.5.0
kind: example.com/broken
devices:
- name: node
  containerEdits:
    deviceNodes:
    - path: /dev/no-such-gpu0
- name: hook
  containerEdits:
    hooks:
    - hookName: createContainer
      path: /usr/bin/no-such-ctk
      args: [no-such-ctk, hook, update-ldcache]
"""


def by_annotation(meshed: Meshed, name: str, device: str, command: str) -> None:
    """Apply a pod on host 1 that asks for a CDI device by annotation."""
    where = {"nodeSelector": {"kubernetes.io/hostname": meshed.hosts.names[1]}}
    pod = simple_pod(name, meshed.busybox(), command, **where)
    pod["metadata"]["annotations"] = {"cdi.k8s.io/gpu": device}
    assert meshed.apply(pod).returncode == 0


def test_a_vendors_file_gives_a_pod_devices_mounts_and_environment(meshed: Meshed) -> None:
    show = "ls -l /dev/fuse; echo $EXAMPLE_VISIBLE_DEVICES; ls /usr/bin/example-smi; exec sleep 1000"
    asks = {"resources": {"limits": {"usernetes.dev/gpu": "1"}}}
    assert meshed.apply(simple_pod("by-resource", meshed.busybox(), show, container=asks)).returncode == 0
    by_annotation(meshed, "by-annotation", "example.com/gpu=0", show)
    for name in ("by-resource", "by-annotation"):
        meshed.pod(name)
        said = meshed.kubectl("logs", name)
        assert "10, 229" in said
        assert {"void", "/usr/bin/example-smi"} <= set(said.split())
    meshed.kubectl("delete", "pod", "by-resource", "by-annotation", "--now")


def test_a_vendors_file_that_is_wrong_is_named_and_breaks_no_node(meshed: Meshed) -> None:
    host = meshed.hosts.names[1]
    meshed.hosts.on(host, f"cat > /etc/cdi/broken.yaml <<'END'{BROKEN}END")
    try:
        spec = {"launcher": "ssh", "nodes": 1, "hosts": [host], "devices": [
            {"name": "broken", "paths": ["cdi:example.com/broken=node"]}]}  # fmt: skip
        meshed.on(0, "sh", "-c", f"cat > ~/broken.yaml <<'END'\n{json.dumps(spec)}\nEND")
        checked = meshed.usernetes("check", "--file", "broken.yaml")
        assert checked.returncode == 0, checked.stderr
        warned = "/etc/cdi/broken.yaml names /dev/no-such-gpu0, /usr/bin/no-such-ctk: not on this host"
        assert warned in checked.stdout + checked.stderr
        for device, word in (("node", "no-such-gpu0"), ("hook", "no-such-ctk")):
            by_annotation(meshed, f"broken-{device}", f"example.com/broken={device}", SLEEP)

            def said(device: str = device, word: str = word) -> bool:
                items = json.loads(meshed.kubectl("get", "events", "-o", "json"))["items"]
                ours = [item for item in items if item["involvedObject"]["name"] == f"broken-{device}"]
                return any(item["type"] == "Warning" and word in item["message"] for item in ours)

            eventually(said, 30, f"the event about {word}")
        where = {"nodeSelector": {"kubernetes.io/hostname": host}}
        assert meshed.apply(simple_pod("beside", meshed.busybox(), SLEEP, **where)).returncode == 0
        meshed.pod("beside")
    finally:
        meshed.hosts.on(host, "rm /etc/cdi/broken.yaml")
        meshed.kubectl("delete", "pod", "broken-node", "broken-hook", "beside", "--now", "--ignore-not-found")


def test_a_device_file_that_vanishes_is_noticed_at_once_and_given_to_nobody(meshed: Meshed) -> None:
    host = meshed.hosts.names[1]
    log = f"{meshed.node_directory(1)}/logs/devices.log"

    def lines() -> int:
        return meshed.on(1, "cat", log).stdout.count("plug")

    before = lines()
    meshed.hosts.on(host, f"rm {PLUG}")
    try:
        began = time.monotonic()
        eventually(lambda: lines() > before, 5, "the helper's word")
        print(f"a vanished device file was noticed after {time.monotonic() - began:.2f} s")
        asks = {"resources": {"limits": {"usernetes.dev/plug": "1"}}}
        pod = simple_pod("unplugged", meshed.busybox(), SLEEP, container=asks, nodeName=host)
        assert meshed.apply(pod).returncode == 0
        phase = "jsonpath={.status.phase}"
        eventually(
            lambda: meshed.kubectl("get", "pod", "unplugged", "-o", phase) == "Failed", 15, "the kubelet's refusal"
        )
    finally:
        meshed.hosts.on(host, f"ln -s /dev/null {PLUG}")
        meshed.kubectl("delete", "pod", "unplugged", "--now", "--ignore-not-found")
    pod["metadata"]["name"] = "plugged"

    def runs() -> bool:
        meshed.kubectl("delete", "pod", "plugged", "--now", "--ignore-not-found")
        assert meshed.apply(pod).returncode == 0
        phase = "jsonpath={.status.phase}"
        eventually(lambda: meshed.kubectl("get", "pod", "plugged", "-o", phase) != "Pending", 15, "an end")
        return meshed.kubectl("get", "pod", "plugged", "-o", phase) == "Running"

    eventually(runs, 10, "the device is back")
    meshed.kubectl("delete", "pod", "plugged", "--now")
