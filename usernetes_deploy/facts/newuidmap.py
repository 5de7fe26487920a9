"""Do newuidmap and newgidmap work? Their rights (set-uid or capabilities) are tried on a real namespace."""

from __future__ import annotations

from dataclasses import dataclass

from usernetes_deploy.facts.base import Need, Problem, pairs, playbook

# `unshare` prints its pid from inside the new namespace, so that the map is never written too early.
COMMAND = """
for tool in newuidmap newgidmap; do
  path=$(command -v $tool) || path=
  kind=${tool#new}; kind=${kind%map}
  if [ -z "$path" ]; then say $tool missing; say ${tool}_rights -; say ${tool}_try -; continue; fi
  say $tool "$path"
  set -- $(ls -lnL "$path"); say ${tool}_rights "$1 $3"
  range=$(awk -F: -v me="$me" -v id="$uid" '$1 == me || $1 == id { print $2, $3; exit }' /etc/sub$kind 2>/dev/null)
  [ -n "$range" ] || range=$(command -v getsubids >/dev/null && \
    getsubids $([ $kind = gid ] && echo -g) "$me" 2>/dev/null | awk '{ print $3, $4; exit }')
  if [ -z "$range" ] || [ "$uid" = 0 ]; then say ${tool}_try -; continue; fi
  own=$uid; [ $kind = gid ] && own=$gid
  unshare -U sh -c 'echo $$; exec sleep 3 >/dev/null 2>&1' 2>/dev/null | {
    if ! read -r pid; then say ${tool}_try -; exit; fi
    if error=$($tool $pid 0 $own 1 1 $range 2>&1); then say ${tool}_try works; else say ${tool}_try "fails: $error"; fi
    kill $pid
  }
done
"""

TOOLS = ("newuidmap", "newgidmap")


@dataclass(frozen=True)
class Tool:
    """`path` "" is missing; `rights` as `ls` shows them with the owner's uid; `error` None when it was not tried."""

    path: str
    rights: str
    error: str | None


@dataclass(frozen=True)
class Newuidmap:
    """The two tools."""

    newuidmap: Tool
    newgidmap: Tool


def parse(text: str) -> Newuidmap:
    """Read the answer."""
    keys = [tool + part for tool in TOOLS for part in ("", "_rights", "_try")]
    answer = pairs("newuidmap", text, keys)
    tools = []
    for tool in TOOLS:
        tried = answer[f"{tool}_try"]
        tools.append(
            Tool(
                "" if answer[tool] == "missing" else answer[tool],
                "" if answer[tool] == "missing" else answer[f"{tool}_rights"],
                None if tried == "-" else "" if tried == "works" else tried.removeprefix("fails: "),
            )
        )
    return Newuidmap(*tools)


def judge(answer: Newuidmap, _need: Need) -> list[Problem]:
    """Missing, or there but without the right to write a map."""
    found = []
    for name, tool in zip(TOOLS, (answer.newuidmap, answer.newgidmap), strict=True):
        if not tool.path:
            found.append(Problem(f"{name} is not installed", playbook("prerequisites")))
        elif tool.error:
            why = "" if tool.rights[3:4] == "s" else f" ({tool.rights.split()[0]}: neither set-uid nor a capability)"
            found.append(Problem(f"{tool.path} cannot map ids: {tool.error}{why}", playbook("prerequisites")))
    return found
