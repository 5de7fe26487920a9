"""Is the kernel new enough, and of an architecture that the bundle has binaries for?"""

from __future__ import annotations

from dataclasses import dataclass

from usernetes_deploy.facts.base import Need, Problem, pairs, version_tuple, warning

COMMAND = """
set -- $(uname -r -m -n)
say host "$1"; say release "$2"; say machine "$3"
"""

OLDEST = (4, 18)
PROXY_OLDEST = (5, 13)
"""From here on Kubernetes promises kube-proxy's nftables mode."""

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Kernel:
    """`architecture` is Go's word for the machine (amd64, arm64), or "" when there is no bundle for it."""

    host: str
    release: str
    machine: str
    architecture: str


def parse(text: str) -> Kernel:
    """Read the answer."""
    answer = pairs("kernel", text, ["host", "release", "machine"])
    return Kernel(answer["host"], answer["release"], answer["machine"], ARCHITECTURES.get(answer["machine"], ""))


def judge(answer: Kernel, need: Need) -> list[Problem]:
    """Refuse kernels before 4.18 (RHEL 8) and other machines than the bundle's; say what 5.13 is needed for."""
    found = []
    release = version_tuple(answer.release)
    if release < OLDEST:
        found.append(
            Problem(
                f"kernel {answer.release} is too old: 4.18 or newer is needed",
                "choose nodes with a newer operating system (RHEL 8, Debian 11, Ubuntu 20.04 or later)",
            )
        )
    elif release < PROXY_OLDEST:
        found.append(
            warning(
                f"kernel {answer.release}: kube-proxy's nftables mode is only promised from 5.13 on",
                "if a Service does not answer, take nodes with a newer kernel (RHEL 9, Debian 12, Ubuntu 22.04)",
            )
        )
    if not answer.architecture:
        found.append(Problem(f"no bundle exists for {answer.machine}", "choose x86_64 or aarch64 nodes"))
    elif need.architecture not in {"", answer.architecture}:
        found.append(
            Problem(
                f"the host is {answer.machine} ({answer.architecture}), the bundle is for {need.architecture}",
                f"usernetes bundle build where the machine is {answer.machine}, then usernetes up --bundle FOLDER",
            )
        )
    return found
