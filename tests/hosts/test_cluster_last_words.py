"""A component that cannot live ends `up` within seconds, with its own last words, and nothing is left."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from pathlib import Path

import pytest

from tests.hosts.clusters import Account
from usernetes_deploy.bundle import contents

pytestmark = pytest.mark.cluster
WORDS = '"Failed to start ContainerManager" err="mkdir /sys/fs/cgroup/kubepods: permission denied"'
LINE = f"E1127 06:00:00.000001       7 kubelet.go:1688] {WORDS}"


def bundle_whose_kubelet_dies(account: Account) -> Path:
    """The bundle, by hard links, with a program in the kubelet's place that says why it cannot live, and ends."""
    folder = account.home / "broken"
    shutil.copytree(account.bundle, folder, copy_function=os.link)
    kubelet, manifest = folder / "bin" / "kubelet", folder / contents.MANIFEST
    kubelet.unlink()
    kubelet.write_text(f"#!/bin/sh\necho '{LINE}'\nexit 1\n")
    kubelet.chmod(0o755)
    document = json.loads(manifest.read_bytes())
    content = kubelet.read_bytes()
    document["files"]["bin/kubelet"] |= {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    document["digest"] = contents.digest_of(document)
    manifest.unlink()
    manifest.write_text(json.dumps(document))
    return folder


def test_a_kubelet_that_dies_again_and_again_ends_the_wait_with_its_own_words(account: Account) -> None:
    folder = bundle_whose_kubelet_dies(account)
    began = time.monotonic()
    done = account.usernetes("up", "--cluster", "words", "--bundle", str(folder), "--set", "waitSeconds=600")
    assert done.returncode == 1, done.stderr
    said = re.search(r"kubelet ended (\d+) times in a row, last: exit code 1: (.*)", done.stderr)
    assert said, done.stderr
    assert (int(said[1]) >= 3, said[2]) == (True, WORDS)
    assert time.monotonic() - began < 120  # seconds, on a busy machine; the limit of 600 was not waited for
    logs = "".join(path.read_text() for path in account.state.glob("words.failed/*.log"))
    assert LINE in logs
    assert not [words for words in account.processes().values() if str(folder) in words]
    shutil.rmtree(account.state / "words.failed")
