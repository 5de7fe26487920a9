"""Starts the shims of native pods where the supervisor stands: in the host's own network namespace.

containerd runs in the node's network namespace Nr and cannot leave it. Its shim wrapper (bundle/go/ociruntime)
therefore sends the arguments, environment, working directory and standard streams of ``start`` over a unix socket to
this server, which runs the real shim and answers with its exit code.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from usernetes_deploy import threads
from usernetes_deploy.threads import Begin

STREAMS = 3
LONGEST_REQUEST = 4 << 20
START_TIMEOUT = 60.0


class NativeStarter:
    """The server side of `/run/usernetes/native.sock`.

    `shim` is the path of the real containerd-shim-runc-v2: whatever a client asks for, nothing else is run. `log` gets
    one line per failure.

    >>> starter = NativeStarter("/run/usernetes/native.sock", "/bundle/bin/containerd-shim-runc-v2")
    >>> starter.start()  # doctest: +SKIP
    >>> starter.stop()   # doctest: +SKIP
    """

    def __init__(self, path: str, shim: str, log: Callable[[str], None] = print) -> None:
        self.path = path
        self.shim = shim
        self.log = log
        self._listener: socket.socket | None = None

    def start(self, begin: Begin = threads.begin) -> None:
        """Make the socket (mode 0600) and serve it in the background. Raises OSError."""
        Path(self.path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            Path(self.path).unlink()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # fchmod before bind: the file is born with this mode.
        os.fchmod(listener.fileno(), 0o600)
        listener.bind(self.path)
        listener.listen(64)
        self._listener = listener
        begin("native", lambda: self._serve(listener))

    def stop(self) -> None:
        """Close the socket and remove it; shims that were started live on."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        with contextlib.suppress(FileNotFoundError):
            Path(self.path).unlink()

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                if self._listener is None:
                    return
                raise
            threading.Thread(target=self._answer, args=(connection,), name="native-start", daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(START_TIMEOUT)
            streams: list[int] = []
            try:
                answer: dict[str, Any] = {"exit": self._run(*_read_request(connection, streams), streams)}
            except Exception as error:  # whatever it is, the caller has to know
                answer = {"error": f"{type(error).__name__}: {error}"}
            finally:
                for stream in streams:
                    os.close(stream)
            if answer.get("error") or answer.get("exit"):
                self.log(f"native: start of a shim ended with {answer}")
            with contextlib.suppress(OSError):
                connection.sendall(json.dumps(answer).encode())

    def _run(self, args: Sequence[str], env: dict[str, str], cwd: str, streams: Sequence[int]) -> int:
        done = subprocess.run(
            [self.shim, *args],
            env=env,
            cwd=cwd,
            stdin=streams[0],
            stdout=streams[1],
            stderr=streams[2],
            check=False,
            timeout=START_TIMEOUT,
        )
        return done.returncode if done.returncode >= 0 else 128 - done.returncode


def _read_request(connection: socket.socket, streams: list[int]) -> tuple[list[str], dict[str, str], str]:
    """Read one request up to the end of the client's sending; its file descriptors are added to `streams`."""
    text = b""
    while True:
        data, descriptors, _, _ = socket.recv_fds(connection, 1 << 16, STREAMS)
        streams.extend(descriptors)
        if not data:
            break
        text += data
        if len(text) > LONGEST_REQUEST:
            raise ValueError("request too long")
    if len(streams) != STREAMS:
        raise ValueError(f"expected {STREAMS} file descriptors, got {len(streams)}")
    try:
        request = json.loads(text)
        args, env, cwd = request["args"], request["env"], request["cwd"]
    except (KeyError, TypeError) as error:
        raise ValueError("expected args, env and cwd") from error
    if not all(isinstance(word, str) for word in [*args, *env, cwd]):
        raise ValueError("args, env and cwd must be strings")
    return list(args), dict(pair.split("=", 1) for pair in env if "=" in pair), cwd
