"""Which GPUs and fast networks has the host, may the user open them, and is there what the spec offers to pods?"""

from __future__ import annotations

from dataclasses import dataclass, field

from usernetes_deploy.facts.base import Need, NotUnderstood, Problem, warning

COMMAND = """
for path in /dev/infiniband/* /dev/nvidia[0-9]* /dev/nvidiactl /dev/nvidia-uvm /dev/kfd /dev/dri/renderD* /dev/cxi* \
  /dev/hfi1_* /dev/knem /dev/xpmem /dev/fuse; do
  [ -e "$path" ] || continue
  rights=; [ -r "$path" ] && rights=r; [ -w "$path" ] && rights=${rights}w
  printf '%s=%s\\n' "$path" "${rights:--}"
done
set -f
for pattern in $need_devices; do
  case $pattern in cdi:*) continue ;; esac
  set +f; set -- $pattern; set -f
  for path do
    if [ -d "$path" ]; then kind=directory
    elif [ -c "$path" ] || [ -b "$path" ]; then
      kind=closed; if [ -r "$path" ] && [ -w "$path" ]; then kind=fine; fi
    elif [ -e "$path" ]; then kind=file
    else kind=nothing
    fi
    printf 'wanted %s=%s\\n' "$path" "$kind"
  done
done
set +f
case " $need_devices" in *" cdi:"*)
  for file in /etc/cdi/*.json /etc/cdi/*.yaml /var/run/cdi/*.json /var/run/cdi/*.yaml; do
    [ -r "$file" ] || continue
    kind=$(grep -oE '"?kind"? *: *"?[A-Za-z0-9./_-]+' "$file" | head -n 1)
    printf 'cdi %s=%s\\n' "$file" "${kind##*[!A-Za-z0-9./_-]}"
    grep -oE '(^|[^A-Za-z])(hostPath|path)"? *: *"?/[^]}", ]+' "$file" | sed 's/^[^/]*//' | sort -u |
      while read -r path; do [ -e "$path" ] || printf 'absent %s=%s\\n' "$file" "$path"; done
  done ;;
esac
"""
CDI_FOLDERS = ("/etc/cdi", "/var/run/cdi")
UNFIT = {
    "nothing": "matches nothing on this host",
    "directory": "is a directory, no device file",
    "file": "is a file, no device file",
    "closed": "is not accessible to the user",
}


@dataclass(frozen=True)
class Devices:
    """Device files and what this user may do with them: "rw", "r", "w" or "".

    `wanted` says of each path of the spec what it is: "fine" or a key of `UNFIT`. `cdi` has the kind that each vendor's
    file describes, `absent` what such a file names and the host has not.
    """

    rights: dict[str, str]
    wanted: dict[str, str] = field(default_factory=dict)
    cdi: dict[str, str] = field(default_factory=dict)
    absent: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def gpus(self) -> tuple[str, ...]:
        """The device files of GPUs proper."""
        return tuple(path for path in self.rights if path[:11] == "/dev/nvidia" and path[11:].isdigit()) or tuple(
            path for path in self.rights if path.startswith("/dev/dri/renderD")
        )

    def rdma(self) -> tuple[str, ...]:
        """The device files of fast networks that programs open."""
        starts = ("/dev/infiniband/uverbs", "/dev/cxi", "/dev/hfi1_")
        return tuple(path for path in self.rights if path.startswith(starts))


def parse(text: str) -> Devices:
    """Read the answer."""
    found: dict[str, str] = {}
    wanted: dict[str, str] = {}
    cdi: dict[str, str] = {}
    absent: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        path, equals, rights = line.rpartition("=")
        name, _, value = rest.partition("=")
        if word == "wanted" and rest.rpartition("=")[2] in {"fine", *UNFIT}:
            wanted[rest.rpartition("=")[0]] = rest.rpartition("=")[2]
            continue
        if word == "cdi" and name.startswith("/"):
            cdi[name] = value
            continue
        if word == "absent" and value.startswith("/"):
            absent[name] = (*absent.get(name, ()), value)
            continue
        if not equals or not path.startswith("/dev/") or rights not in {"rw", "r", "w", "-"}:
            raise NotUnderstood("devices", line)
        found[path] = "" if rights == "-" else rights
    return Devices(found, wanted, cdi, absent)


def judge(answer: Devices, need: Need) -> list[Problem]:
    """What the spec offers is there; a device that is there but closed is worth a word."""
    found = [
        Problem(f"device {path} {UNFIT[kind]}", "correct devices in the spec, or let the batch system give the job it")
        for path, kind in answer.wanted.items()
        if kind != "fine"
    ]
    kinds = {path[4:].partition("=")[0] for path in need.devices if path.startswith("cdi:")}
    found += [
        Problem(f"no file in {' or '.join(CDI_FOLDERS)} describes {kind}", "make it with the vendor's tool")
        for kind in sorted(kinds - set(answer.cdi.values()))
    ]
    found += [
        warning(
            f"{file} names {', '.join(paths)}: not on this host, so pods that ask for it will not start",
            "make the file anew with the vendor's tool",
        )
        for file, paths in answer.absent.items()
        if answer.cdi.get(file) in kinds
    ]
    closed = [path for path in (*answer.gpus(), *answer.rdma()) if answer.rights[path] != "rw"]
    if closed:
        found.append(
            warning(f"not accessible to the user: {', '.join(closed)}", "let the batch system give the job its devices")
        )
    return found
