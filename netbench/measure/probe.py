"""Looks at a node around a run, from where the ranks will be: kernel, load, cgroup limits, interface counters, hashes.

Everything is asked by one POSIX script, so that it works in a pod of any image; what cannot be read is left out.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from netbench.records.record import Throttling

SCRIPT = r"""
say() { printf '@%s\n' "$*"; }
say kernel "$(uname -r)"
say cpus "$(getconf _NPROCESSORS_ONLN 2>/dev/null)"
frequency=/sys/devices/system/cpu/cpu0/cpufreq
if [ -d /sys/devices/system/cpu/cpu0 ] && [ ! -d "$frequency" ]; then say governor "none: no cpufreq here"
else say governor "$(cat $frequency/scaling_governor 2>/dev/null)"; fi
say load "$(cut -d' ' -f1 /proc/loadavg 2>/dev/null)"
ip -o link show 2>/dev/null | sed -n 's/^[0-9]*: \([^:@]*\).* mtu \([0-9]*\).*/@mtu \1 \2/p'
ip -o addr show 2>/dev/null | sed -n 's/^[0-9]*: *\([^ ]*\) *inet6* \([^ \/]*\).*/@address \1 \2/p'
sed -n 's/^ *\([^: ]*\): *\([0-9]*\)\( *[0-9]*\)\{7\} *\([0-9]*\).*/@bytes \1 \2 \4/p' /proc/self/net/dev
for port in /sys/class/infiniband/*/ports/*; do
  name=${port#/sys/class/infiniband/}
  if [ -r "$port/counters/port_xmit_data" ]; then
    say words "$name" "$(cat "$port/counters/port_rcv_data")" "$(cat "$port/counters/port_xmit_data")"
  elif [ -r "$port/hw_counters/tx_bytes" ]; then
    say rdma "$name" "$(cat "$port/hw_counters/rx_bytes")" "$(cat "$port/hw_counters/tx_bytes")"
  fi
done
walk() { # name of the hierarchy, its root, the path in it, files
  label=$1; root=$2; path=$3; shift 3
  [ -d "$root$path" ] || path=
  while :; do
    for file in "$@"; do
      [ -r "$root$path/$file" ] && sed "s|^|@cgroup $label $file |" "$root$path/$file" 2>/dev/null
    done
    [ -n "$path" ] && [ "$path" != / ] || break
    path=${path%/*}
  done
}
while IFS=: read -r number controllers path; do
  [ "$path" = / ] && path=
  case ",$controllers," in
    ,,) for root in /sys/fs/cgroup/unified /sys/fs/cgroup; do
          [ -r "$root/cgroup.controllers" ] || continue
          say seen v2; walk v2 "$root" "$path" cpu.max memory.max cpuset.cpus.effective cpu.stat; break
        done ;;
    *,cpu,*|*,memory,*|*,cpuset,*)
      root=/sys/fs/cgroup/$controllers
      [ -d "$root" ] || continue
      say seen v1
      walk v1 "$root" "$path" cpu.cfs_quota_us cpu.cfs_period_us memory.limit_in_bytes cpuset.cpus cpu.stat ;;
  esac
done < /proc/self/cgroup
"""
# Twice the machine's CPU times, in ticks. At the end: what starting this took is over by then.
BUSY_SECONDS = 0.3
BUSY = r"""
for pause in 0 "$seconds"; do
  sleep "$pause" 2>/dev/null || break
  sed -n 's/^cpu  */@ticks /p' /proc/stat
done
"""
HASHES = r"""
for file in "$@"; do
  sum=$(sha256sum "$file" 2>/dev/null | cut -d' ' -f1)
  printf '@sha256 %s %s\n' "${sum:-missing}" "$file"
done
for file in "$@"; do
  ldd "$file" 2>/dev/null | sed -n 's/^.* => \(\/.*\) (0x.*/\1/p' \
    | grep -E '/lib[^/]*(mpi|lammps|uc[pst]|ofi|fabric|pmi|flux|psm)[^/]*$'
done | sort -u | while read -r file; do
  printf '@library %s %s\n' "$(sha256sum "$file" | cut -d' ' -f1)" "$file"
done
"""
# prints and ends whatever a broken run left behind: only processes that carry this run's own mark
SWEEP = r"""
for hit in $(grep -lzx "NETBENCH_RUN=$1" /proc/[0-9]*/environ 2>/dev/null); do
  pid=${hit#/proc/}; pid=${pid%/environ}
  [ "$pid" = $$ ] && continue
  printf '@left %s %s\n' "$pid" "$(cat /proc/"$pid"/comm 2>/dev/null)"
  kill -9 "$pid" 2>/dev/null
done
true
"""
NO_LIMIT_V1 = 1 << 60


@dataclass(frozen=True)
class View:
    """What one look at one node saw; None: could not be read there."""

    kernel: str | None = None
    cpus: int | None = None
    governor: str | None = None
    load: float | None = None
    busy: float | None = None
    mtu: Mapping[str, int] = field(default_factory=dict)
    addresses: Mapping[str, str] = field(default_factory=dict)
    counters: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    rdma: frozenset[str] = frozenset()
    cgroups_seen: bool = False
    cpu_cores: float | None = None
    memory_bytes: int | None = None
    cpuset: str | None = None
    throttling: Throttling | None = None

    def interface_of(self, address: str) -> str | None:
        """The interface that carries `address`."""
        return self.addresses.get(address)


def parse(text: str) -> View:
    """Read the script's answer. Raises `ValueError` that quotes a line it does not know.

    >>> parse("@kernel 6.18.0\\n@bytes eth0 10 20\\n@mtu eth0 1500\\n").counters
    {'eth0': (10, 20)}
    """
    facts: dict[str, str] = {}
    mtu: dict[str, int] = {}
    addresses: dict[str, str] = {}
    counters: dict[str, tuple[int, int]] = {}
    rdma: set[str] = set()
    cgroup: list[tuple[str, str, str]] = []
    ticks: list[list[int]] = []
    seen = False
    for line in text.splitlines():
        words = line.split()
        match words:
            case ["@ticks", *value]:
                ticks.append([int(word) for word in value[:8]])  # guests' time is in the user's already
            case ["@kernel" | "@cpus" | "@governor" | "@load", *value]:
                if value:
                    facts[words[0][1:]] = " ".join(value)
            case ["@mtu", name, value]:
                mtu[name] = int(value)
            case ["@address", name, address]:
                addresses[address] = name
            case ["@bytes", name, received, sent]:
                counters[name] = (int(received), int(sent))
            case ["@words" | "@rdma" as unit, name, received, sent]:
                # InfiniBand counts words of four bytes
                factor = 4 if unit == "@words" else 1
                counters[name] = (int(received) * factor, int(sent) * factor)
                rdma.add(name)
            case ["@seen", _]:
                seen = True
            case ["@cgroup", label, file, *value]:
                cgroup.append((label, file, " ".join(value)))
            case []:
                pass
            case _:
                raise ValueError(f"probe: not understood: {line!r}")
    cores, memory, cpuset = _limits(cgroup)
    cpus = int(facts["cpus"]) if facts.get("cpus", "").isdigit() else None
    return View(
        kernel=facts.get("kernel"),
        cpus=cpus,
        governor=facts.get("governor"),
        load=float(facts["load"]) if re.fullmatch(r"\d+\.\d+", facts.get("load", "")) else None,
        busy=_busy(ticks[0], ticks[1], cpus) if cpus and len(ticks) == 2 else None,
        mtu=mtu,
        addresses=addresses,
        counters=counters,
        rdma=frozenset(rdma),
        cgroups_seen=seen,
        cpu_cores=cores,
        memory_bytes=memory,
        cpuset=cpuset,
        throttling=_throttling(cgroup),
    )


def parse_hashes(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """(path to sha256 or ``missing``, library's path to sha256)."""
    files: dict[str, str] = {}
    libraries: dict[str, str] = {}
    for line in text.splitlines():
        found = re.fullmatch(r"@(sha256|library) (\S+) (.+)", line)
        if not found:
            raise ValueError(f"probe: not understood: {line!r}")
        (files if found[1] == "sha256" else libraries)[found[3]] = found[2]
    return files, libraries


def look_script(*, busy: bool = False) -> str:
    """The script that looks at a node; with `busy` it takes its time to see how many CPUs are."""
    return f"{SCRIPT}seconds={BUSY_SECONDS}\n{BUSY}" if busy else SCRIPT


def hash_script(paths: Iterable[str], library_path: str = "") -> str:
    """The script that hashes `paths` and those of their libraries that decide how MPI runs."""
    front = f"export LD_LIBRARY_PATH={shlex.quote(library_path)}\n" if library_path else ""
    return f"{front}set -- {shlex.join(paths)}\n{HASHES}"


def sweep_script(run_id: str) -> str:
    """The script that ends the processes which `run_id` left on a node."""
    return f"set -- {shlex.quote(run_id)}\n{SWEEP}"


def _busy(before: list[int], after: list[int], cpus: int) -> float | None:
    """How many CPUs were busy between two readings of user, nice, system, idle, iowait ... ticks."""
    passed = [late - early for early, late in zip(before, after, strict=True)]
    return round((1 - (passed[3] + passed[4]) / sum(passed)) * cpus, 2) if sum(passed) > 0 else None


def _limits(cgroup: list[tuple[str, str, str]]) -> tuple[float | None, int | None, str | None]:
    """The tightest of all levels; cpusets are nested, so the first (innermost) one counts."""
    cores: list[float] = []
    memory: list[int] = []
    cpuset: str | None = None
    quota: int | None = None
    for label, file, value in cgroup:
        if file == "cpu.max" and not value.startswith("max"):
            limit, period = value.split()
            cores.append(int(limit) / int(period))
        elif file == "cpu.cfs_quota_us":
            quota = int(value)
        elif file == "cpu.cfs_period_us" and quota is not None and quota > 0:
            cores.append(quota / int(value))
        elif (file == "memory.max" and value != "max") or (
            file == "memory.limit_in_bytes" and int(value) < NO_LIMIT_V1
        ):
            memory.append(int(value))
        elif file in ("cpuset.cpus", "cpuset.cpus.effective") and value and label and cpuset is None:
            cpuset = value
    return min(cores, default=None), min(memory, default=None), cpuset


def _throttling(cgroup: list[tuple[str, str, str]]) -> Throttling | None:
    """Counters of all levels together."""
    totals = {"nr_periods": 0, "nr_throttled": 0, "throttled_usec": 0, "throttled_time": 0}
    seen = False
    for _, file, value in cgroup:
        name, _, count = value.partition(" ")
        if file == "cpu.stat" and name in totals:
            totals[name] += int(count)
            seen = True
    if not seen:
        return None
    return Throttling(
        totals["nr_periods"], totals["nr_throttled"], totals["throttled_usec"] + totals["throttled_time"] // 1000
    )
