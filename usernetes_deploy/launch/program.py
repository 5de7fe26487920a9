"""Puts the node program on a host that does not share our file system: once per content, exchanged by nobody else.

Every launcher that reaches other hosts uses it; what runs the script over there is the launcher's own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from usernetes_deploy.errors import HostNotFit, UsernetesError
from usernetes_deploy.launch.base import Completed
from usernetes_deploy.paths import OWN_BASE

TRIED = "put the node program in place"
NO_PYTHON = 3

# One name a content means that nothing is ever overwritten. $1: sha256 of what comes on stdin, $2: its short form.
STORE = (
    OWN_BASE
    + r"""
own_base /var/tmp || exit
p=$base/program/$2
mkdir -p "$p" || exit 1
for folder in "$base/program" "$p"; do
  if [ -L "$folder" ] || [ ! -O "$folder" ]; then echo "$folder belongs to somebody else" >&2; exit 4; fi
done
if [ ! -L "$p/node.pyz" ] && [ "$(sha256sum 2>/dev/null < "$p/node.pyz")" = "$1  -" ]; then cat >/dev/null; else
  trap 'rm -f "$p/.node.$$"' EXIT; trap 'exit 1' HUP INT TERM PIPE
  cat > "$p/.node.$$" || { cat >/dev/null; exit 1; }
  [ "$(sha256sum < "$p/.node.$$")" = "$1  -" ] || { echo "the node program came damaged" >&2; exit 1; }
  mv -f "$p/.node.$$" "$p/node.pyz" || exit 1
fi
for python in python3 python3.14 python3.13 python3.12 python3.11 python3.10 python3.9; do
  found=$(command -v "$python") || continue
  "$found" -I -S -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null || continue
  printf '%s\n%s\n' "$found" "$p/node.pyz"; exit 0
done
exit 3
"""
)


def put_program(content: bytes, run: Callable[[Sequence[str], bytes], Completed], node: str) -> tuple[str, str]:
    """Put the node program `content` on the host `node`; return ``(python, path)``, both absolute paths over there.

    ``run(argv, stdin)`` runs a command on that host. Raises `HostNotFit` when it has no Python 3.9 or newer, else
    `UsernetesError` with what the host said.

    >>> from usernetes_deploy.launch.local import LocalLauncher  # doctest: +SKIP
    >>> put_program(b"...", lambda argv, stdin: launcher.run(host, argv, stdin=stdin), "node01")  # doctest: +SKIP
    ('/usr/bin/python3', '/var/tmp/usernetes-1000/program/3f2a97c04e1d5b88/node.pyz')
    """
    digest = hashlib.sha256(content).hexdigest()
    done = run(["sh", "-c", STORE, "sh", digest, digest[:16]], content)
    if done.returncode == NO_PYTHON:
        remedy = f"usernetes prepare --tags prerequisites --hosts {node}"
        raise HostNotFit([("there is no Python 3.9 or newer", remedy)], node=node)
    lines = done.stdout.splitlines()
    if done.returncode or len(lines) != 2:
        said = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
        full = any(word in done.stderr for word in ("No space left", "Disk quota exceeded"))
        raise UsernetesError(said[0], node=node, tried=TRIED, remedy="make room in /var/tmp there" if full else None)
    python, path = lines
    return python, path
