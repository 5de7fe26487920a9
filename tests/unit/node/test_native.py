"""The server that starts shims on the host's network, against the protocol that the Go wrapper speaks."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from usernetes_deploy.node.native import NativeStarter


def _ask(path: Path, request: bytes, streams: list[int]) -> Mapping[str, Any]:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(path))
        socket.send_fds(client, [request[:7]], streams)
        client.sendall(request[7:])
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while data := client.recv(4096):
            answer += data
    return dict(json.loads(answer))


def _request(**fields: Any) -> bytes:
    return json.dumps({"args": [], "env": [], "cwd": "/", **fields}).encode()


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def path(tmp_path: Path, lines: list[str]) -> Iterator[Path]:
    shim = tmp_path / "shim"
    shim.write_text('#!/bin/sh\necho "$PWD $WORD $@"\nexit "${CODE:-0}"\n')
    shim.chmod(0o755)
    starter = NativeStarter(str(tmp_path / "run" / "s"), str(shim), lines.append)
    starter.start()
    yield tmp_path / "run" / "s"
    starter.stop()


def _run(path: Path, request: bytes, tmp_path: Path) -> tuple[Mapping[str, Any], str]:
    with (tmp_path / "out").open("w+b") as out:
        answer = _ask(path, request, [out.fileno()] * 3)
        out.seek(0)
        return answer, out.read().decode()


def test_the_shim_runs_with_the_clients_arguments_environment_folder_and_streams(path: Path, tmp_path: Path) -> None:
    request = _request(args=["-id", "x", "start"], env=["WORD=a=b", "LONG=" + "x" * 100_000], cwd=str(tmp_path))
    answer, printed = _run(path, request, tmp_path)
    assert answer == {"exit": 0}
    assert printed == f"{tmp_path} a=b -id x start\n"


def test_the_shims_exit_code_is_answered_and_logged(path: Path, tmp_path: Path, lines: list[str]) -> None:
    answer, _ = _run(path, _request(env=["CODE=7"]), tmp_path)
    assert answer == {"exit": 7}
    assert lines == ["native: start of a shim ended with {'exit': 7}"]


def test_a_folder_that_is_gone_is_answered_as_an_error(path: Path, tmp_path: Path) -> None:
    answer, _ = _run(path, _request(cwd="/nowhere"), tmp_path)
    assert "No such file" in answer["error"]


@pytest.mark.parametrize("request_", [b"nonsense", b"{}", b"[]", _request(args=[1])])
def test_garbage_is_answered_and_the_server_goes_on(path: Path, tmp_path: Path, request_: bytes) -> None:
    answer, _ = _run(path, request_, tmp_path)
    assert answer["error"]
    assert _run(path, _request(), tmp_path)[0] == {"exit": 0}


def test_missing_streams_are_named(path: Path) -> None:
    with Path(os.devnull).open() as null:
        assert "expected 3 file descriptors, got 1" in _ask(path, _request(), [null.fileno()])["error"]


def test_only_the_owner_may_use_the_socket_and_it_goes_with_the_server(tmp_path: Path) -> None:
    starter = NativeStarter(str(tmp_path / "s"), "/bin/true")
    starter.start()
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o600
    starter.stop()
    starter.stop()
    assert not (tmp_path / "s").exists()
