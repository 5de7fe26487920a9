"""Has the user enough subordinate user and group ids, and are they the user's alone?"""

from __future__ import annotations

from dataclasses import dataclass

from usernetes_deploy.facts.base import Need, NotUnderstood, Problem, entries, number, playbook, warning

# getsubids asks whatever nsswitch.conf names (sssd, for instance); reading the files is enough, and faster, without.
COMMAND = """
source=files
if grep -q '^subid:.*[a-z]' /etc/nsswitch.conf 2>/dev/null && ! grep -q '^subid:[[:space:]]*files[[:space:]]*$' \
    /etc/nsswitch.conf && command -v getsubids >/dev/null; then source=getsubids; fi
say source $source
limit=; command -v timeout >/dev/null && limit="timeout 5"  # a directory of users may be large
for kind in uid gid; do
  found=$(
  if [ $source = getsubids ]; then
    option=; [ $kind = gid ] && option=-g
    getsubids $option "$me" 2>/dev/null | awk -v kind=$kind '{ print kind "=" $3 " " $4 }'
  elif [ ! -e /etc/sub$kind ]; then say no_file /etc/sub$kind
  elif [ ! -r /etc/sub$kind ]; then say unreadable /etc/sub$kind
  else
    awk -F: -v kind=$kind -v me="$me" -v id="$uid" '
      /^[[:space:]]*(#|$)/ { next }
      NF != 3 || $2 !~ /^[0-9]+$/ || $3 !~ /^[0-9]+$/ { next }
      { start[NR] = $2 + 0; end[NR] = $2 + $3; who[NR] = $1 }
      $1 == me || $1 == id { print kind "=" $2 " " $3; mine[NR] = 1 }
      END {
        for (m in mine) for (o in who)
          if (!(o in mine) && start[m] < end[o] && start[o] < end[m]) { print "shared_" kind "=" who[o]; exit }
      }' /etc/sub$kind
  fi)
  [ -z "$found" ] && continue
  printf '%s\\n' "$found"
  database=passwd; [ $kind = gid ] && database=group
  $limit getent $database 2>/dev/null | awk -F: -v kind=$kind \\
    -v mine="$(printf '%s\\n' "$found" | sed -n "s/^$kind=//p" | tr '\\n' ' ')" '
    BEGIN { n = split(mine, range, " ") }
    { for (i = 1; i < n; i += 2) if ($3 >= range[i] + 0 && $3 < range[i] + range[i + 1] && $3 < 4294836224) {
        print "real_" kind "=" $1; exit } }'
done
"""


@dataclass(frozen=True)
class Subid:
    """The ranges ``(first, count)``; `shared_with` names another user whose range overlaps, as ``"gid of eve"``.

    `real` are users and groups of the host whose own id is in the range, as ``"uid of ann"``.
    """

    source: str
    uids: tuple[tuple[int, int], ...]
    gids: tuple[tuple[int, int], ...]
    shared_with: tuple[str, ...] = ()
    real: tuple[str, ...] = ()
    no_file: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()

    def count(self, kind: str) -> int:
        """How many ids of `kind` (uid, gid) the user has altogether."""
        return sum(count for _, count in (self.uids if kind == "uid" else self.gids))


def parse(text: str) -> Subid:
    """Read the answer."""
    keys = ["source", "uid", "gid", "shared_uid", "shared_gid", "real_uid", "real_gid", "no_file", "unreadable"]
    answer: dict[str, list[str]] = {key: [] for key in keys}
    for key, value in entries("subid", text, keys):
        answer[key].append(value)
    if len(answer["source"]) != 1:
        raise NotUnderstood("subid", text.strip(), "without 'source'")
    return Subid(
        answer["source"][0],
        tuple(_range("uid", value) for value in answer["uid"]),
        tuple(_range("gid", value) for value in answer["gid"]),
        tuple(f"{kind} of {who}" for kind in ("uid", "gid") for who in answer[f"shared_{kind}"]),
        tuple(f"{kind} of {who}" for kind in ("uid", "gid") for who in answer[f"real_{kind}"]),
        tuple(answer["no_file"]),
        tuple(answer["unreadable"]),
    )


def _range(kind: str, value: str) -> tuple[int, int]:
    first, space, count = value.partition(" ")
    if not space:
        raise NotUnderstood("subid", f"{kind}={value}")
    return number("subid", kind, first), number("subid", kind, count)


def judge(answer: Subid, need: Need) -> list[Problem]:
    """At least `need.subids` of each kind."""
    found = []
    for kind in ("uid", "gid"):
        where = f"/etc/sub{kind}" if answer.source == "files" else f"`{answer.source}` (nsswitch.conf)"
        count = answer.count(kind)
        if where in answer.unreadable:
            found.append(Problem(f"{where} is not readable", f"chmod 644 {where}"))
        elif where in answer.no_file:
            found.append(Problem(f"{where} does not exist: the user has no subordinate {kind}s", playbook("subid")))
        elif count == 0:
            found.append(Problem(f"the user has no subordinate {kind}s in {where}", playbook("subid")))
        elif count < need.subids:
            found.append(
                Problem(f"{count} subordinate {kind}s in {where}; {need.subids} are needed", playbook("subid"))
            )
    found += [
        warning(f"the user's subordinate ids overlap those of another: {who}", "give each user a range of their own")
        for who in answer.shared_with
    ]
    found += [
        warning(
            f"the user's subordinate ids hold a real one: the {who}; pods could act as them on shared file systems",
            "have the administrator give a range behind all ids of people (usernetes_subid_first in docs/admin.md)",
        )
        for who in answer.real
    ]
    return found
