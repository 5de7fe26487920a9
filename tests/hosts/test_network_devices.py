"""Device files of a real cluster's hosts: what a vendor's file describes, and what comes and goes."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.hosts.meshed import PLUG, Meshed, eventually, simple_pod

pytestmark = pytest.mark.cluster
SLEEP = "exec sleep 1000"
ASKS = {"resources": {"limits": {"usernetes.dev/gpu": "1"}}}
BROKEN = """
cdiVersion: 0.5.0
kind: example.com/gpu
devices:
- name: "0"
  containerEdits:
    EDITS
"""
NO_NODE = "deviceNodes: [{path: /dev/no-such-gpu0}]"
NO_HOOK = "hooks: [{hookName: createContainer, path: /usr/bin/no-such-ctk, args: [no-such-ctk, hook]}]"


def test_a_vendors_file_gives_a_pod_its_devices_mounts_and_environment(meshed: Meshed) -> None:
    show = f"ls -l /dev/net/tun; echo $EXAMPLE_VISIBLE_DEVICES; ls /usr/bin/example-smi; {SLEEP}"
    assert meshed.apply(simple_pod("gpu", meshed.busybox(), show, container=ASKS)).returncode == 0
    meshed.pod("gpu")
    said = meshed.kubectl("logs", "gpu")
    assert "10, 200" in said
    assert {"void", "/usr/bin/example-smi"} <= set(said.split())
    meshed.kubectl("delete", "pod", "gpu", "--wait=false")


@pytest.mark.parametrize(
    ("edits", "missing"), [(NO_NODE, "/dev/no-such-gpu0"), (NO_HOOK, "/usr/bin/no-such-ctk")], ids=["node", "hook"]
)
def test_what_a_vendors_file_names_in_vain_is_said_and_breaks_no_node(meshed: Meshed, edits: str, missing: str) -> None:
    host = meshed.hosts.names[1]
    where = {"nodeSelector": {"kubernetes.io/hostname": host}}
    vain, beside = (f"{name}-{Path(missing).name}" for name in ("vain", "beside"))
    broken = BROKEN.replace("EDITS", edits)
    meshed.hosts.on(host, f"cp /etc/cdi/vendor.yaml /etc/vendor.kept; cat > /etc/cdi/vendor.yaml <<'END'{broken}END")
    try:
        checked = meshed.usernetes("check", "--file", "cluster.yaml")
        assert checked.returncode == 0, checked.stderr
        warned = (
            f"warning: /etc/cdi/vendor.yaml names {missing}: not on this host, so pods that ask for it will not start"
        )
        assert f"{warned} ({host})" in checked.stdout + checked.stderr
        image = meshed.busybox()
        pods = simple_pod(vain, image, SLEEP, container=ASKS, **where), simple_pod(beside, image, SLEEP, **where)
        assert meshed.apply(*pods).returncode == 0

        def said() -> bool:
            items = json.loads(meshed.kubectl("get", "events", "-o", "json"))["items"]
            words = [item["message"] for item in items if item["involvedObject"]["name"] == vain]
            return any(missing in word for word in words)

        eventually(said, 30, f"the event about {missing}")
        meshed.pod(beside)
    finally:
        meshed.hosts.on(host, "mv /etc/vendor.kept /etc/cdi/vendor.yaml")
        meshed.kubectl("delete", "pod", vain, beside, "--wait=false", "--ignore-not-found")


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
        count = "jsonpath={.status.allocatable.usernetes\\.dev/plug}"
        late = eventually(lambda: meshed.kubectl("get", "node", host, "-o", count) == "0", 20, "the Node's count")
        print(f"and in the Node's count after {late:.1f} s")
        asks = {"resources": {"limits": {"usernetes.dev/plug": "1"}}}
        pod = simple_pod("unplugged", meshed.busybox(), SLEEP, container=asks, nodeName=host)
        assert meshed.apply(pod).returncode == 0
        phase = "jsonpath={.status.phase}"
        eventually(
            lambda: meshed.kubectl("get", "pod", "unplugged", "-o", phase) == "Failed", 15, "the kubelet's refusal"
        )
    finally:
        meshed.hosts.on(host, f"ln -s /dev/null {PLUG}")
        meshed.kubectl("delete", "pod", "unplugged", "--wait=false", "--ignore-not-found")
    before = lines()
    pod["metadata"]["name"] = "plugged"
    assert meshed.apply(pod).returncode == 0
    meshed.pod("plugged")
    meshed.kubectl("delete", "pod", "plugged", "--wait=false")
    assert lines() == before
