"""Starts MPI programs: one launcher's command line in all places, with another agent that reaches the nodes.

hydra and Open MPI start their daemons by an agent, a small script made here that knows for every node what to put in
front (nothing, ssh, ``flux exec``, ``kubectl exec POD --``). Flux and srun start ranks themselves, on bare metal only.
Ranks get an environment that is the same in all places, and say on standard error where they are and on which CPUs.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from netbench.records.record import Rank
from usernetes_deploy.errors import UsageError

PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
# $1: folder; the rest: the program. Read by `ranks_seen`. $NETBENCH_CPUS: see `cpus_env`.
RANK_SCRIPT = (
    'n="${PMI_RANK:-${OMPI_COMM_WORLD_RANK:-${FLUX_TASK_RANK:-${SLURM_PROCID:-?}}}}"; '
    'l="${MPI_LOCALRANKID:-${OMPI_COMM_WORLD_LOCAL_RANK:-${FLUX_TASK_LOCAL_ID:-${SLURM_LOCALID:-0}}}}"; '
    'h="${NETBENCH_NODE:-ELSE}"; '
    'for e in $NETBENCH_CPUS; do case "$e" in "$h="*) '
    'p=$(IFS=:; set -- ${e#*=}; shift $((l % $#)); echo "$1"); '
    'taskset -pc "$p" $$ >/dev/null || exit 125;; esac; done; '
    "c=$(sed -n 's/^Cpus_allowed_list:[[:space:]]*//p' /proc/$$/status); "
    'echo "netbench rank $n node $h cpus $c" >&2; '
    'cd "$1" || exit 125; shift; exec "$@"'
)
RANK_LINE = re.compile(r"^(?:\[[^\]]*\] )?netbench rank (\d+) node (\S+) cpus ([\d,-]+)$", re.M)


@dataclass(frozen=True)
class Seat:
    """One node as a place offers it: `run` in front of ``sh -c SCRIPT`` executes there.

    `joined`: the command after `run` is put together to one string by the far side, as ssh does.
    """

    name: str
    address: str
    run: tuple[str, ...] = ()
    joined: bool = False

    def argv(self, script: str) -> list[str]:
        """The command that runs `script` with sh on this node.

        >>> Seat("a", "10.0.0.1", ("ssh", "a"), joined=True).argv("echo 1")
        ['ssh', 'a', "sh -c 'echo 1'"]
        """
        if self.joined:
            return [*self.run, f"sh -c {shlex.quote(script)}"]
        return [*self.run, "sh", "-c", script]


def alias(index: int) -> str:
    """What hydra and mpirun call the seat `index`: an address of the range for benchmarks (RFC 2544).

    Ranks on a host of their own name they start by themselves, past the agent and so outside the pod; and a made-up
    name they would look up, which takes a minute where no name server answers.
    """
    return f"198.18.{(index + 1) // 256}.{(index + 1) % 256}"


def with_names(text: str, seats: Sequence[Seat]) -> str:
    """`text` of hydra or mpirun with the seats' own names.

    >>> with_names("lost on 198.18.0.2", [Seat("a", "10.0.0.1"), Seat("b", "10.0.0.2")])
    'lost on b'
    """
    names = {alias(index): seat.name for index, seat in enumerate(seats)}
    return re.sub(r"\b198\.18\.\d+\.\d+\b", lambda found: names.get(found[0], found[0]), text)


def write_agent(path: Path, seats: Sequence[Seat]) -> Path:
    """A script called as ``AGENT [-x] ALIAS COMMAND...``, as hydra and Open MPI call ssh.

    It gives the far side a clean environment, so that no place inherits what another lacks.
    """
    lines = [
        "#!/bin/sh",
        "# made by netbench: reaches each node of one place",
        'while [ "${1#-}" != "$1" ]; do shift; done',
    ]
    lines += ["node=$1; shift", 'case "$node" in']
    for index, seat in enumerate(seats):
        if seat.joined:
            # a login shell of its own is on the far side: it parses the line, and its environment is the site's
            where = f'{shlex.join(seat.run)} "export NETBENCH_NODE={seat.name} PATH={PATH}; $*"'
        else:
            clean = ("env", "-i", f"NETBENCH_NODE={seat.name}", f"PATH={PATH}", "HOME=/tmp")
            where = f'{shlex.join((*seat.run, *clean))} sh -c "$*"'
        lines.append(f"{alias(index)}) exec {where} ;;  # {seat.name}")
    lines += ['*) echo "netbench agent: no node $node" >&2; exit 2 ;;', "esac"]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def mpi_argv(
    launcher: str,
    seats: Sequence[Seat],
    ranks: int,
    program: Sequence[str],
    env: Mapping[str, str],
    *,
    mpiexec: Path | None = None,
    agent: Path | None = None,
    localhost: str = "",
    folder: str = "/",
) -> list[str]:
    """The launcher's whole command line for `ranks` of `program`, dealt in blocks over `seats` in their order."""
    each, rest = divmod(ranks, len(seats))
    if rest or each < 1:
        raise UsageError(f"{ranks} ranks cannot be dealt evenly to {len(seats)} nodes")
    by_agent = launcher in ("hydra", "openmpi")
    script = RANK_SCRIPT.replace("ELSE", "outside-the-agent" if by_agent else "$(uname -n)")
    wrapped = ["sh", "-c", script, "netbench", folder or "/", *program]
    names = ",".join(alias(index) if by_agent else seat.name for index, seat in enumerate(seats))
    variables = {"PATH": PATH, **env}
    if launcher == "hydra":
        head = [str(mpiexec), "-launcher", "ssh", "-launcher-exec", str(agent), "-disable-hostname-propagation"]
        head += [
            "-localhost",
            localhost,
            "-wdir",
            "/",
            "-hosts",
            names,
            "-ppn",
            str(each),
            "-n",
            str(ranks),
            "-genvnone",
        ]
        return [*head, *(part for key, value in variables.items() for part in ("-genv", key, value)), *wrapped]
    if launcher == "openmpi":
        if len(str(agent).split()) > 1:
            raise UsageError(f"Open MPI takes no agent with blanks in its path: {agent}", remedy="give another --out")
        slots = ",".join(f"{alias(index)}:{each}" for index in range(len(seats)))
        head = [
            str(mpiexec),
            "--allow-run-as-root",
            "--mca",
            "plm_rsh_agent",
            # its daemons look for the first word on their own hosts
            f"sh {agent}",
            "--mca",
            "plm_rsh_no_tree_spawn",
            "1",
            "--leave-session-attached",
        ]
        head += ["--host", slots, "--map-by", f"ppr:{each}:node", "-n", str(ranks)]
        return [*head, *(part for key, value in variables.items() for part in ("-x", f"{key}={value}")), *wrapped]
    if launcher == "flux":
        head = ["flux", "run", f"-N{len(seats)}", f"-n{ranks}", f"--requires=hosts:{names}", "--env=-*"]
        return [*head, *(f"--env={key}={value}" for key, value in variables.items()), *wrapped]
    if launcher == "srun":
        head = [
            "srun",
            f"-N{len(seats)}",
            f"-n{ranks}",
            f"--ntasks-per-node={each}",
            f"--nodelist={names}",
            "--overlap",
        ]
        return [*head, "--export=" + ",".join(f"{k}={v}" for k, v in variables.items()), *wrapped]
    raise UsageError(f"there is no launcher {launcher!r}; known: hydra, openmpi, flux, srun")


def transport_env(transport: str, interface: str | None) -> dict[str, str]:
    """Environment that holds MPI to TCP, for the libraries that read it (UCX, libfabric, Open MPI).

    On one kernel UCX finds shared memory between "hosts": without this, two transports could be compared.
    """
    if transport == "default":
        return {}
    env = {"UCX_TLS": "tcp,self", "FI_PROVIDER": "tcp", "OMPI_MCA_pml": "ob1", "OMPI_MCA_btl": "tcp,self"}
    if interface:
        env |= {"UCX_NET_DEVICES": interface, "FI_TCP_IFACE": interface, "OMPI_MCA_btl_tcp_if_include": interface}
    return env


def cpus_env(cpus: Mapping[str, Sequence[int]]) -> dict[str, str]:
    """Environment that holds the ranks of a node to its CPUs, one each and in turn, whatever starts them.

    >>> cpus_env({"a": (0, 1), "b": ()})
    {'NETBENCH_CPUS': 'a=0:1'}
    """
    held = [f"{node}={':'.join(map(str, numbers))}" for node, numbers in cpus.items() if numbers]
    return {"NETBENCH_CPUS": " ".join(held)} if held else {}


def ranks_seen(stderr: str) -> list[Rank]:
    """Where the ranks said they were, by rank."""
    return sorted((Rank(int(n), node, cpus) for n, node, cpus in RANK_LINE.findall(stderr)), key=lambda r: r.rank)
