"""``usernetes init`` where Flux is: the queues of the instance, and a job script for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from usernetes_deploy.launch.flux.instance import Instance
from usernetes_deploy.launch.site import Site, Wanted

JOB_SCRIPT = "usernetes.sh"
SPEC = "cluster.yaml"


def site(instance: Instance) -> Site:
    """What the instance says of itself. Raises `UsernetesError` when none answers."""
    hosts = len(instance.members())
    queues = queues_of(instance.settings())
    return Site("Flux", "flux batch", "queue", queues, hosts=dict.fromkeys(queues or ("",), hosts))


def queues_of(settings: Mapping[str, Any]) -> Sequence[str]:
    """The queues of an instance's configuration, the default one first.

    >>> policy = {"jobspec": {"defaults": {"system": {"queue": "debug"}}}}
    >>> queues_of({"queues": {"batch": {}, "debug": {}}, "policy": policy})
    ('debug', 'batch')
    """
    default = settings.get("policy", {}).get("jobspec", {}).get("defaults", {}).get("system", {}).get("queue", "")
    return tuple(sorted(settings.get("queues", {}), key=lambda name: (name != default, name)))


def job_files(site: Site, wanted: Wanted, spec: str) -> Mapping[str, str]:
    """The job script, and the spec, which travels with it; what can be chosen is explained beside it."""
    if wanted.queue:
        line = f"#flux: --queue={wanted.queue}"
    elif site.queues:
        named = ", ".join(site.queues)
        line = f"#flux: # --queue={site.queues[0]}       # the queues here: {named}; the first is the default"
    else:
        line = "#flux: # --queue=NAME          # there are no queues here"
    script = f"""#!/bin/sh
#flux: --nodes={wanted.nodes}               # hosts; the first carries the control plane
#flux: --time-limit={wanted.time}
{line}
#flux: --job-name=usernetes
#flux: --output=usernetes-{{{{id}}}}.out
#flux: --add-file={SPEC}       # travels with the job, into the folder that this script is run from
#
# A Kubernetes cluster of this job's hosts, for as long as the job lasts:
#   flux batch {JOB_SCRIPT}
# or for as long as a workflow runs, whose exit code becomes the job's:
#   flux batch {JOB_SCRIPT} -- ./workflow.sh its arguments
# From the login node:
#   usernetes kubectl --cluster JOBID get nodes
exec usernetes job --file "$(dirname "$0")/{SPEC}" "$@"
"""
    return {SPEC: spec, JOB_SCRIPT: script}
