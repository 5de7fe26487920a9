"""What a cluster at rest costs a host: CPU time of the node's process tree over a few seconds."""

from __future__ import annotations

import re
import shlex

# The tree's roots are the rootlesskit processes whose state folder lies in the node's directory.
SCRIPT = r"""
snapshot() { cat /proc/[0-9]*/stat 2>/dev/null | sed 's/(.*)/x/'; }
roots=
for file in /proc/[0-9]*/cmdline; do
  if { tr '\0' '\n' < "$file"; } 2>/dev/null | grep -qxF -e "--state-dir=$1/rk"; then
    pid=${file#/proc/}; roots="$roots ${pid%/cmdline}"
  fi
done
ticks() { awk -v roots="$roots" '
  BEGIN { split(roots, r); for (i in r) mine[r[i]] = 1 }
  { parent[$1] = $4; used[$1] = $14 + $15 }
  END { for (pid in parent) { at = pid; for (depth = 0; at > 1 && !(at in mine) && depth < 64; depth++) at = parent[at]
        if (at in mine) sum += used[pid] }
        printf "@ticks %d\n", sum }'; }
set -f
[ -n "$roots" ] || { echo "@none"; exit 0; }
set +f
echo "@hz $(getconf CLK_TCK)"
snapshot | ticks; sleep "$2"; snapshot | ticks
"""


def script(directory: str, seconds: float) -> str:
    """The script that watches the node whose files are in `directory` for `seconds`."""
    return f"set -- {shlex.quote(directory)} {seconds:g}\n{SCRIPT}"


def parse(text: str, seconds: float) -> float | None:
    """Percent of one core, or None where no such node runs.

    >>> parse("@hz 100\\n@ticks 1000\\n@ticks 1050\\n", 5)
    10.0
    """
    hertz = re.search(r"^@hz (\d+)$", text, re.M)
    ticks = [int(found) for found in re.findall(r"^@ticks (\d+)$", text, re.M)]
    if hertz is None or len(ticks) != 2:
        return None
    return max(0.0, 100 * (ticks[1] - ticks[0]) / int(hertz[1]) / seconds)
