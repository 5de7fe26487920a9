"""What a batch system says of its site, and the wishes that ``usernetes init`` writes a job script from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Site:
    """One batch system as it answered; `submit` is its command for job scripts, `queue_word` what it calls a queue.

    `queues` are those that exist, the default one first (`has_default`: whether there is one); `hosts` has how many
    hosts each offers, `limits` their longest jobs in seconds (none: no limit); `accounts` are those that the user may
    charge (none: nobody can say).

    >>> Site("Slurm", "sbatch", "partition", queues=("debug",), hosts={"debug": 4}).hosts_of(None)
    4
    """

    title: str
    submit: str
    queue_word: str
    queues: Sequence[str] = ()
    has_default: bool = True
    hosts: Mapping[str, int] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)
    accounts: Sequence[str] = ()

    def queue_of(self, wish: str | None) -> str:
        """The queue that a job with this wish comes into; "" where there are none."""
        return wish or (self.queues[0] if self.queues else "")

    def hosts_of(self, wish: str | None) -> int:
        """The hosts of that queue."""
        return self.hosts.get(self.queue_of(wish), 0)


@dataclass(frozen=True)
class Wanted:
    """What the user wants of a job: hosts, time limit as typed, queue and account (None: the site's default)."""

    nodes: int
    time: str
    queue: str | None = None
    account: str | None = None


def refuse(site: Site, wanted: Wanted) -> list[str]:
    """What of the wishes cannot be at this site, all of it.

    >>> refuse(Site("Slurm", "sbatch", "partition", ("debug",), hosts={"debug": 2}), Wanted(4, "1h"))
    ['--nodes: 4 were asked for, the partition debug has 2 hosts']
    """
    problems = []
    there = site.hosts_of(wanted.queue)
    known = not wanted.queue or wanted.queue in site.queues
    if not known:
        named = ", ".join(site.queues) or "none"
        problems.append(f"--queue: there is no {site.queue_word} {wanted.queue}; there are {named}")
    elif wanted.nodes > there:
        queue = site.queue_of(wanted.queue)
        where = f"the {site.queue_word} {queue}" if queue else f"this {site.title} instance"
        problems.append(f"--nodes: {wanted.nodes} were asked for, {where} has {there} hosts")
    if wanted.account and not re.fullmatch(r"[\w.@:/-]+", wanted.account):
        problems.append(f"--account: {wanted.account!r} is no name of an account")
    elif wanted.account and site.accounts and wanted.account not in site.accounts:
        problems.append(f"--account: {wanted.account} is none of yours; they are {', '.join(site.accounts)}")
    return problems
