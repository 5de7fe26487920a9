"""Which GPUs and fast networks has the host, and may the user open them?"""

from __future__ import annotations

from dataclasses import dataclass

from usernetes_deploy.facts.base import Need, NotUnderstood, Problem, warning

COMMAND = """
for path in /dev/infiniband/* /dev/nvidia[0-9]* /dev/nvidiactl /dev/nvidia-uvm /dev/kfd /dev/dri/renderD* /dev/cxi* \
  /dev/hfi1_* /dev/knem /dev/xpmem /dev/fuse; do
  [ -e "$path" ] || continue
  rights=; [ -r "$path" ] && rights=r; [ -w "$path" ] && rights=${rights}w
  printf '%s=%s\\n' "$path" "${rights:--}"
done
"""


@dataclass(frozen=True)
class Devices:
    """Device files and what this user may do with them: "rw", "r", "w" or ""."""

    rights: dict[str, str]

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
    found = {}
    for line in text.splitlines():
        path, equals, rights = line.rpartition("=")
        if not equals or not path.startswith("/dev/") or rights not in {"rw", "r", "w", "-"}:
            raise NotUnderstood("devices", line)
        found[path] = "" if rights == "-" else rights
    return Devices(found)


def judge(answer: Devices, _need: Need) -> list[Problem]:
    """A device that is there but closed is worth a word."""
    closed = [path for path in (*answer.gpus(), *answer.rdma()) if answer.rights[path] != "rw"]
    if not closed:
        return []
    return [
        warning(f"not accessible to the user: {', '.join(closed)}", "let the batch system give the job its devices")
    ]
