"""The line that changes: written over on a terminal, seldom elsewhere."""

from __future__ import annotations

import io
import os
import pty

from usernetes_deploy.console.moving import MovingLine


def test_on_a_terminal_the_line_is_taken_away_before_one_that_stays() -> None:
    leader, follower = pty.openpty()
    shown = ""
    with os.fdopen(follower, "w") as stream:
        line = MovingLine(stream)
        line.show("[1/3] 40 %")
        line.show("[1/3] 50 %")
        line.say("[ 2/3] etcd: 15 s")
        while "15 s\r\n" not in shown:  # a terminal hands over what it has, which may be a part
            shown += os.read(leader, 10_000).decode()
    os.close(leader)
    assert shown.endswith("\r[ 2/3] etcd: 15 s\r\n")
    assert "[1/3] 40 %\r          \r[1/3] 50 %" in shown


def test_elsewhere_it_is_not_shown_at_once() -> None:
    stream = io.StringIO()
    line = MovingLine(stream)
    line.show("[1/3] 40 %")
    line.say("done")
    assert stream.getvalue() == "done\n"
