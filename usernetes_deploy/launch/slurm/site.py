"""``usernetes init`` where Slurm is: partitions and accounts, and a job script for them."""

from __future__ import annotations

import getpass
from collections.abc import Mapping, Sequence

from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.launch.site import Site, Wanted
from usernetes_deploy.launch.slurm.commands import Commands, minutes_of, seconds_of

JOB_SCRIPT = "usernetes.sh"
# A line a host and partition: the default partition's name ends with a star.
FORMAT = "%N|%P|%l"


def site(slurm: Commands) -> Site:
    """What Slurm says of the place. Raises `UsernetesError` when slurmctld does not answer."""
    printed = slurm.command("sinfo", "--noheader", "--Node", f"--format={FORMAT}")
    return parse_partitions(printed, accounts(slurm))


def parse_partitions(printed: str, accounts: Sequence[str] = ()) -> Site:
    """The site that ``sinfo --Node --format=FORMAT`` printed.

    >>> found = parse_partitions("n1|debug*|30:00\\nn1|batch|infinite\\nn2|batch|infinite\\n")
    >>> found.queues, found.hosts, found.limits
    (('debug', 'batch'), {'debug': 1, 'batch': 2}, {'debug': 1800.0, 'batch': inf})
    """
    hosts: dict[str, set[str]] = {}
    limits: dict[str, float] = {}
    default = ""
    for line in filter(None, (line.strip() for line in printed.splitlines())):
        parts = line.split("|")
        if len(parts) != 3:
            raise UsernetesError(f"not understood: {line!r}", tried="sinfo")
        partition = parts[1].rstrip("*")
        default = partition if parts[1].endswith("*") else default
        hosts.setdefault(partition, set()).add(parts[0])
        limits[partition] = seconds_of(parts[2])
    return Site(
        title="Slurm",
        submit="sbatch",
        queue_word="partition",
        queues=tuple(sorted(hosts, key=lambda name: (name != default, name))),
        has_default=bool(default),
        hosts={name: len(names) for name, names in hosts.items()},
        limits=limits,
        accounts=accounts,
    )


def accounts(slurm: Commands) -> Sequence[str]:
    """The accounts that this user may charge, the default one first; none where Slurm has no accounting."""
    me = getpass.getuser()
    ask = ("sacctmgr", "--noheader", "--parsable2", "show")
    try:
        named = slurm.command(*ask, "assoc", f"user={me}", "format=Account").split()
        default = slurm.command(*ask, "user", me, "format=DefaultAccount").strip()
    except UsernetesError:
        return ()
    return tuple(sorted(set(named), key=lambda name: (name != default, name)))


def refuse_time(site: Site, wanted: Wanted) -> list[str]:
    """What is wrong with the wished time limit: no time at all, or longer than the partition allows.

    >>> refuse_time(parse_partitions("n1|debug*|30:00"), Wanted(1, "2h"))
    ['--time: 2h were asked for, the partition debug allows 0:30:00']
    """
    seconds = seconds_asked(wanted.time)
    if seconds is None:
        return [f"--time: expected a time as 90m, 2h, 1d or 1-12:00:00, got {wanted.time!r}"]
    queue = site.queue_of(wanted.queue)
    longest = site.limits.get(queue, float("inf"))
    if seconds <= longest:
        return []
    hours, minutes = divmod(int(longest) // 60, 60)
    allowed = f"{hours}:{minutes:02}:{int(longest) % 60:02}"
    return [f"--time: {wanted.time} were asked for, the partition {queue} allows {allowed}"]


def seconds_asked(text: str) -> float | None:
    """A time limit as users write it, in seconds; None when it is none.

    >>> [seconds_asked(text) for text in ("2h", "90", "1-12:00:00", "30s", "soon")]
    [7200.0, 5400.0, 129600.0, 30.0, None]
    """
    said = minutes_of(text)
    if said.isdigit():
        return float(int(said) * 60)
    seconds = seconds_of(said)
    return None if seconds == float("inf") else seconds


def job_files(site: Site, wanted: Wanted, spec: str, notice: int) -> Mapping[str, str]:
    """The job script with the spec in it: Slurm copies the script alone to the job's first host."""
    head = [
        "#!/bin/sh",
        f"#SBATCH --nodes={wanted.nodes}               # hosts; the first carries the control plane",
        "#SBATCH --exclusive             # all of them; for a part: --ntasks-per-node=1 --cpus-per-task=8 --mem=16G",
        f"#SBATCH --time={minutes_of(wanted.time)}",
        _choice("partition", wanted.queue, site.queues, chosen=not site.has_default),
        _choice("account", wanted.account, site.accounts),
        "#SBATCH --job-name=usernetes",
        "#SBATCH --output=usernetes-%j.out",
        "#SBATCH --no-kill               # a lost host ends its node, not the cluster",
        f"#SBATCH --signal=B:USR1@{notice}    # so many seconds before the time limit the cluster ends in order",
    ]
    return {
        JOB_SCRIPT: "\n".join(line for line in head if line)
        + f"""
#
# A Kubernetes cluster of this job's hosts, for as long as the job lasts:
#   sbatch {JOB_SCRIPT}
# or for as long as a workflow runs, whose exit code becomes the job's:
#   sbatch {JOB_SCRIPT} -- ./workflow.sh its arguments
# From the login node:
#   usernetes kubectl --cluster JOBID get nodes
exec usernetes job --file /dev/stdin "$@" <<'SPEC'
{spec}SPEC
"""
    }


def _choice(option: str, wish: str | None, known: Sequence[str], *, chosen: bool = False) -> str:
    """The script's line for an option; `chosen` writes the first that is known, for there is no default."""
    if wish or (chosen and known):
        return f"#SBATCH --{option}={wish or known[0]}"
    if not known:
        return ""
    return f"##SBATCH --{option}={known[0]}       # the {option}s here: {', '.join(known)}; the first is the default"
