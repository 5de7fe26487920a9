"""The verbs of `usernetes`, one group a file; each is a thin caller of the library."""

from __future__ import annotations

from invoke.collection import Collection

from usernetes_deploy.commands import (
    access,
    bundle,
    cluster,
    demo,
    grants,
    growth,
    images,
    init,
    inside,
    job,
    mcp,
    network,
    policies,
    prepare,
    renew,
    saving,
    suspension,
    up,
)
from usernetes_deploy.console.flags import flags_of

COLLECTION = Collection()
for module in (
    up,
    cluster,
    suspension,
    saving,
    growth,
    renew,
    access,
    grants,
    inside,
    network,
    demo,
    job,
    mcp,
    init,
    prepare,
):
    for task in module.TASKS:
        COLLECTION.add_task(task)
COLLECTION.add_collection(Collection("images", *images.TASKS))
COLLECTION.add_collection(Collection("policy", *policies.TASKS))
COLLECTION.add_collection(bundle.collection)

# Verbs whose words belong to another program: (flags of ours, flags of ours that take a value).
PASS_THROUGH = {verb.name: flags_of(verb) for verb in (access.kubectl, inside.run, job.job)}
