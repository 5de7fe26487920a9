"""One command over a connection: any login shell, any noise it prints, blobs on stdin, a deadline on both sides."""

from __future__ import annotations

import contextlib
import math
import secrets
import select
import shlex
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import paramiko

from usernetes_deploy.errors import TimedOut, UsernetesError
from usernetes_deploy.launch.base import Completed

_CHUNK = 32_768
# A process left behind may hold the command's stdout open for ever; its output is no longer ours.
_QUIET_SECONDS = 0.5
# The far side ends the command itself when we are gone: this much after our own deadline.
_GRACE_SECONDS = 2

_SCRIPT = """printf '%s\\n' {mark}; printf '%s\\n' {mark} >&2
if command -v timeout >/dev/null 2>&1; then timeout -k 2 {seconds} {command}; else {command}; fi
printf '\\n%s %d\\n' {mark} $? >&2"""

_QUIET_SHELL = "make its ~/.bashrc or ~/.cshrc quick and quiet where the shell is not interactive"


@dataclass
class _Streams:
    stdout: bytearray
    stderr: bytearray
    lost: bool = False


def command_line(argv: Sequence[str], seconds: float, mark: str) -> str:
    """`argv` as one line that sh, csh and fish alike pass to ``/bin/sh`` unharmed.

    Login shells differ in quotes, ``!`` and newlines, so all but the harmless characters travel as octal numbers.
    """
    script = _SCRIPT.format(mark=mark, command=shlex.join(argv), seconds=math.ceil(seconds) + _GRACE_SECONDS)
    harmless = set(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _-./:=,+@;&|<>()[]{}#*?~^")
    coded = "".join(chr(byte) if byte in harmless else f"\\0{byte:03o}" for byte in script.encode())
    return f"""/bin/sh -c 'eval "$(printf %b "{coded}")"'"""


def execute(
    transport: paramiko.Transport,
    argv: Sequence[str],
    stdin: Iterable[bytes],
    *,
    deadline: float,
    node: str,
    timeout: float,
) -> Completed:
    """Run `argv` to its end. Raises `TimedOut` at `deadline` (`time.monotonic`), `UsernetesError` if the line is cut.

    The exit code is negative when a signal ended the command, as with a process of our own.
    """
    mark = f"usernetes-{secrets.token_hex(8)}"
    shown = shlex.join(argv)
    try:
        channel = transport.open_session(timeout=max(0.1, deadline - time.monotonic()))
        with contextlib.closing(channel):
            channel.settimeout(max(0.1, deadline - time.monotonic()))
            channel.exec_command(command_line(argv, timeout, mark))
            streams = _exchange(channel, stdin, deadline, mark.encode())
    except (paramiko.SSHException, EOFError, OSError) as error:
        if time.monotonic() >= deadline:
            raise TimedOut(f"no answer after {timeout:g} s", node=node, tried=shown) from error
        raise _lost(node, shown, str(error)) from error
    began, stdout = _after(streams.stdout, mark)
    _, stderr = _after(streams.stderr, mark)
    stderr, ended, code = stderr.rpartition(f"\n{mark} ")
    if ended:
        return Completed(argv, _returncode(int(code.split()[0])), stdout, stderr)
    stderr = code
    if streams.lost:
        raise _lost(node, shown, "")
    if time.monotonic() >= deadline:
        raise _late(node, shown, timeout, began, stderr)
    said = (stdout + stderr).strip().splitlines()[-1:] or ["nothing"]
    raise UsernetesError(
        f"the login shell did not run it; it said: {said[0]}", node=node, tried=shown, remedy="give it a login shell"
    )


def _exchange(channel: paramiko.Channel, stdin: Iterable[bytes], deadline: float, mark: bytes) -> _Streams:
    """Feed and read until the far side is done; returns early, without an end mark, at the deadline."""
    streams = _Streams(bytearray(), bytearray())
    poller = select.poll()
    poller.register(channel.fileno(), select.POLLIN)
    feed: Iterator[bytes] | None = _pieces(stdin)
    piece = b""
    quiet_since = 0.0
    while time.monotonic() < deadline:
        moved = False
        while channel.recv_ready():
            streams.stdout += channel.recv(1 << 20)
            moved = True
        while channel.recv_stderr_ready():
            streams.stderr += channel.recv_stderr(1 << 20)
            moved = True
        if feed is not None and channel.send_ready():
            piece = piece or next(feed, b"")
            try:
                if piece:
                    piece = piece[channel.send(piece) :]
                else:
                    channel.shutdown_write()
                    feed = None
            except OSError:  # it does not read its stdin, and is free not to
                feed = None
            continue
        if moved:
            quiet_since = 0.0
            continue
        if channel.eof_received or channel.closed:
            streams.lost = channel.closed and not channel.exit_status_ready()
            break
        if channel.exit_status_ready() and mark in streams.stderr[-len(mark) - 8 :]:
            quiet_since = quiet_since or time.monotonic()
            if time.monotonic() - quiet_since > _QUIET_SECONDS:
                break
        wait = 0.005 if feed is not None else 0.1 if quiet_since else 1.0
        poller.poll(1000 * max(0.0, min(wait, deadline - time.monotonic())))
    return streams


def _pieces(stdin: Iterable[bytes]) -> Iterator[bytes]:
    for block in stdin:
        for at in range(0, len(block), _CHUNK):
            yield block[at : at + _CHUNK]


def _after(stream: bytearray, mark: str) -> tuple[bool, str]:
    """What came after the first mark: before it is what the login shell had to say."""
    head, found, tail = bytes(stream).partition(f"{mark}\n".encode())
    return bool(found), (tail if found else head).decode(errors="replace")


def _returncode(code: int) -> int:
    return 128 - code if code > 128 and code - 128 in set(signal.Signals) else code


def _late(node: str, shown: str, timeout: float, began: bool, stderr: str) -> TimedOut:
    if not began:
        reason = f"its login shell has not come to the command after {timeout:g} s"
        return TimedOut(reason, node=node, tried=shown, remedy=_QUIET_SHELL)
    tail = stderr.strip().splitlines()[-1:]
    said = f"; it last said: {tail[0]}" if tail else ""
    return TimedOut(f"not done after {timeout:g} s{said}", node=node, tried=shown)


def _lost(node: str, shown: str, why: str) -> UsernetesError:
    return UsernetesError(
        "the connection was lost" + (f" ({why})" if why else ""),
        node=node,
        tried=shown,
        remedy="is the host up? then `usernetes down` removes what was begun, and `usernetes up` begins anew",
    )
