"""A batch job as Slurm makes it: controllers are on in its cgroup, whose files are root's; nothing of it is left."""

from __future__ import annotations

import shlex

from tests.vm.clusters import Cluster, leftovers
from tests.vm.machine import Machine

JOB = "/sys/fs/cgroup/system.slice/slurmstepd.scope/job_7"
TASK = f"{JOB}/step_0/user/task_0"
# What slurmstepd does: every level hands on cpu, memory and pids, the task's own folder belongs to root.
MAKE = f"""
set -e
mkdir -p {TASK}
top=/sys/fs/cgroup
for folder in $top $top/system.slice $top/system.slice/slurmstepd.scope {JOB} {JOB}/step_0 {JOB}/step_0/user; do
  echo '+cpu +memory +pids' > $folder/cgroup.subtree_control
done
"""
ENDS = f"rmdir {TASK} {JOB}/step_0/user {JOB}/step_0 {JOB} /sys/fs/cgroup/system.slice/slurmstepd.scope"


def in_job(script: str) -> str:
    """What root runs to have carol do this inside the job, without a login's session and environment."""
    as_carol = "setpriv --reuid=1003 --regid=1003 --clear-groups"
    login = "env -i HOME=/home/carol USER=carol PATH=/usr/bin:/bin LANG=C.UTF-8 bash -c"
    words = shlex.quote(f". /etc/profile.d/vm.sh; {script}")
    return f"echo $$ > {TASK}/cgroup.procs; cd /; exec {as_carol} {login} {words}"


def run(machine: Machine) -> None:
    """See it, or raise `AssertionError`."""
    machine.must("root", MAKE)
    made = Cluster(machine, "carol", "job")
    up = f"usernetes up --cluster {made.name} --set waitSeconds=1200"
    machine.must("root", in_job(up), timeout=1500)
    said = machine.must("root", in_job(f"usernetes status --cluster {made.name}"))
    assert "NOT enforced" in said, said
    where = machine.must("root", "for pid in $(pgrep -u carol); do cat /proc/$pid/cgroup; done 2>/dev/null; true")
    inside = [line for line in where.splitlines() if "/job_7/" in line]
    assert len(inside) > 10 and len(inside) == len(where.splitlines()), f"processes left the job's cgroup: {where}"
    machine.must("root", in_job(f"usernetes down --cluster {made.name}"))
    assert leftovers(machine, "carol") == ""
    machine.until("root", f"{ENDS} && echo gone", "gone", seconds=60)
