"""One command over a connection: any login shell, any noise it prints, blobs on stdin, a deadline on both sides."""

from __future__ import annotations

import contextlib
import math
import secrets
import select
import shlex
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Sequence

import paramiko

from usernetes_deploy.errors import TimedOut, UsernetesError
from usernetes_deploy.launch.base import Completed

_CHUNK = 32_768
# A process left behind may hold the command's stdout open for ever; its output is no longer ours.
_QUIET_SECONDS = 0.5
# The far side ends the command itself when we are gone: this much after our own deadline.
_GRACE_SECONDS = 2
_FOREVER_SECONDS = 365 * 24 * 3600.0

# At last it reads the rest of its stdin: were it to end before our EOF is sent, paramiko could send that EOF after its
# answer to the far side's CLOSE, and sshd ends the whole connection over a message for a closed channel.
_SCRIPT = """printf '%s\\n' {mark}; printf '%s\\n' {mark} >&2
if command -v timeout >/dev/null 2>&1; then timeout -k 2 {seconds} {command}; else {command}; fi
printf '\\n%s %d\\n' {mark} $? >&2
cat >/dev/null"""

# For as long as our side keeps its stdin open: `logs --follow` has no end of its own, and must not outlive its reader.
_ATTACHED = """printf '%s\\n' {mark}; printf '%s\\n' {mark} >&2
exec 3<&0
{command} </dev/null 3<&- & child=$!
{{ cat <&3 >/dev/null; kill $child; }} 2>/dev/null & watch=$!
wait $child; printf '\\n%s %d\\n' {mark} $? >&2
cat <&3 >/dev/null; wait $watch"""

_QUIET_SHELL = "make its ~/.bashrc or ~/.cshrc quick and quiet where the shell is not interactive"


class _Streams:
    """What has come so far; `lost`: the channel ended without an exit code."""

    def __init__(self) -> None:
        self.stdout = bytearray()
        self.stderr = bytearray()
        self.lost = False

    def flush(self) -> None:
        """Called whenever something came."""


class _Printed(_Streams):
    """Passes on what comes, without the login shell's words before the mark and the exit code after it."""

    def __init__(self, mark: str) -> None:
        super().__init__()
        self.returncode: int | None = None
        self._start = f"{mark}\n".encode()
        self._end = f"\n{mark} ".encode()
        self._begun = {"stdout": False, "stderr": False}

    def flush(self) -> None:
        """Print what is certain to be the command's."""
        for name, stream, ours in (("stdout", self.stdout, sys.stdout), ("stderr", self.stderr, sys.stderr)):
            if not self._begun[name]:
                _, mark, rest = bytes(stream).partition(self._start)
                self._begun[name] = bool(mark)
                if not mark:
                    continue
                stream[:] = rest
            said, ended, code = bytes(stream).partition(self._end) if ours is sys.stderr else (bytes(stream), b"", b"")
            if ended and code.endswith(b"\n"):
                self.returncode = _returncode(int(code.split()[0]))
            elif not ended and ours is sys.stderr:
                # The last bytes may be the beginning of the end.
                keep = max(size for size in range(len(self._end)) if said.endswith(self._end[:size]))
                said, code = said[: len(said) - keep], said[len(said) - keep :]
            ours.write(said.decode(errors="replace"))
            ours.flush()
            stream[:] = ended + code


def command_line(argv: Sequence[str], seconds: float | None, mark: str) -> str:
    """`argv` as one line that sh, csh and fish alike pass to ``/bin/sh`` unharmed.

    Login shells differ in quotes, ``!`` and newlines, so all but the harmless characters travel as octal numbers.
    Without `seconds` it runs until the far side's stdin ends.
    """
    command = shlex.join(argv)
    if seconds is None:
        script = _ATTACHED.format(mark=mark, command=command)
    else:
        script = _SCRIPT.format(mark=mark, command=command, seconds=math.ceil(seconds) + _GRACE_SECONDS)
    harmless = set(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _-./:=,+@;&|<>()[]{}#*?~^")
    coded = "".join(chr(byte) if byte in harmless else f"\\0{byte:03o}" for byte in script.encode())
    return f"""/bin/sh -c 'eval "$(printf %b "{coded}")"'"""


def brief(argv: Sequence[str]) -> str:
    """The command for an error's text: scripts are cut after their first words."""
    words = (word.strip().split("\n")[0][:60] + " ..." if "\n" in word or len(word) > 200 else word for word in argv)
    return shlex.join(words)


def execute(
    transport: paramiko.Transport,
    argv: Sequence[str],
    stdin: Iterable[bytes],
    *,
    deadline: float,
    node: str,
    timeout: float,
    tried: str = "",
) -> Completed:
    """Run `argv` to its end; `tried` names it in errors.

    Raises `TimedOut` at `deadline` (`time.monotonic`), `UsernetesError` if the line is cut. The exit code is negative
    when a signal ended the command, as with a process of our own.
    """
    mark = f"usernetes-{secrets.token_hex(8)}"
    shown = tried or brief(argv)
    streams = _Streams()
    try:
        channel = _session(transport, deadline)
        with contextlib.closing(channel):
            channel.settimeout(max(0.1, deadline - time.monotonic()))
            channel.exec_command(command_line(argv, timeout, mark))
            _exchange(channel, stdin, deadline, mark.encode(), streams)
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


def attach(transport: paramiko.Transport, argv: Sequence[str], *, node: str) -> int:
    """Run `argv` with our own stdout and stderr until it ends or we do; returns its exit code."""
    mark = f"usernetes-{secrets.token_hex(8)}"
    deadline = time.monotonic() + _FOREVER_SECONDS
    streams = _Printed(mark)
    try:
        with contextlib.closing(_session(transport, deadline)) as channel:
            channel.exec_command(command_line(argv, None, mark))
            _exchange(channel, None, deadline, mark.encode(), streams)
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise _lost(node, brief(argv), str(error)) from error
    if streams.returncode is None:
        raise _lost(node, brief(argv), "")
    return streams.returncode


def _session(transport: paramiko.Transport, deadline: float) -> paramiko.Channel:
    """A session; sshd refuses one too many (MaxSessions), and the last one may not have been cleared away yet."""
    refusals = 0
    while True:
        try:
            return transport.open_session(timeout=max(0.1, deadline - time.monotonic()))
        except paramiko.SSHException:
            refusals += 1
            if refusals == 20 or time.monotonic() > deadline or not transport.is_active():
                raise
            time.sleep(0.05)


def _exchange(
    channel: paramiko.Channel, stdin: Iterable[bytes] | None, deadline: float, mark: bytes, streams: _Streams
) -> None:
    """Feed and read until the far side is done; returns early, without an end mark, at the deadline.

    Without `stdin` the far side's stays open until it is done.
    """
    poller = select.poll()
    poller.register(channel.fileno(), select.POLLIN)
    feed = _Feed(stdin)
    done = False
    quiet_since = 0.0
    while (left := deadline - time.monotonic()) > 0:
        if _read(channel, streams):
            done = done or b"\n" + mark + b" " in streams.stderr
            streams.flush()
            quiet_since = 0.0
            continue
        if feed.push(channel, last=done):
            continue
        if channel.closed:
            streams.lost = channel.exit_status == -1
            break
        if done or channel.eof_received:
            quiet_since = quiet_since or time.monotonic()
            if time.monotonic() - quiet_since > _QUIET_SECONDS:
                break
        if channel.eof_received:
            # The far side closes the channel next. Before that it counts as open there, and there may be only ten.
            time.sleep(0.001)
        else:
            wait = 1.0 if feed.waits and not quiet_since else 0.1 if feed.waits else 0.005
            poller.poll(1000 * min(left, wait))


def _read(channel: paramiko.Channel, streams: _Streams) -> bool:
    moved = False
    while channel.recv_ready():
        streams.stdout += channel.recv(1 << 20)
        moved = True
    while channel.recv_stderr_ready():
        streams.stderr += channel.recv_stderr(1 << 20)
        moved = True
    return moved


class _Feed:
    """What is left for the far side's stdin."""

    def __init__(self, stdin: Iterable[bytes] | None) -> None:
        self.done = False
        self._endless = stdin is None
        self._pieces = _pieces(stdin or ())
        self._piece = b""

    @property
    def waits(self) -> bool:
        """Nothing is to be sent now."""
        return self.done or self._endless

    def push(self, channel: paramiko.Channel, *, last: bool) -> bool:
        """Send one piece, or the end, when there is room; whether something was done. `last`: nobody wants more."""
        if self.done or not (last or (channel.send_ready() and not self._endless)):
            return False
        self._piece = b"" if last else self._piece or next(self._pieces, b"")
        try:
            if self._piece:
                self._piece = self._piece[channel.send(self._piece) :]
            else:
                channel.shutdown_write()
                self.done = True
        except OSError:  # it does not read its stdin, and is free not to
            self.done = True
        return True


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
