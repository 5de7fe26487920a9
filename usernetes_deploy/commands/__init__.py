"""The verbs of `usernetes`, one group a file; each is a thin caller of the library."""

from __future__ import annotations

from invoke.collection import Collection

from usernetes_deploy.commands import access, bundle, cluster, demo, flux, images, network, prepare

COLLECTION = Collection()
for module in (cluster, access, network, demo, flux, prepare):
    for task in module.TASKS:
        COLLECTION.add_task(task)
COLLECTION.add_collection(Collection("images", *images.TASKS))
COLLECTION.add_collection(bundle.collection)

CLUSTER_FLAGS = (frozenset[str](), frozenset({"--cluster", "-c"}))
# Verbs whose words belong to another program: (flags of ours, flags of ours that take a value).
PASS_THROUGH = {
    "kubectl": CLUSTER_FLAGS,
    "run": (frozenset({"--socks", "-s"}), frozenset({"--cluster", "-c", "--node", "--namespace"})),
    **flux.PASS_THROUGH,
}
