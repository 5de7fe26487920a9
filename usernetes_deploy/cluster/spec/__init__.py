"""What a user asks for: a `ClusterSpec`, read from YAML and flags, with every problem listed at once.

`fields` are the schema, `rules` the values that cannot work, `document` reads, merges and writes.
"""

from __future__ import annotations

from usernetes_deploy.cluster.spec.document import (
    API_VERSION,
    describe,
    dump,
    json_schema,
    load,
    merge,
    network_of,
    parse_value,
    read,
)
from usernetes_deploy.cluster.spec.fields import (
    AccessSpec,
    ClusterSpec,
    DeviceSpec,
    EvictionSpec,
    ExtraArgsSpec,
    NetworkSpec,
    RegistrySpec,
    StorageSpec,
)
from usernetes_deploy.cluster.spec.rules import MAX_NODES, NAME, cpu_set
from usernetes_deploy.schema import camel

__all__ = [
    "API_VERSION",
    "MAX_NODES",
    "NAME",
    "AccessSpec",
    "ClusterSpec",
    "DeviceSpec",
    "EvictionSpec",
    "ExtraArgsSpec",
    "NetworkSpec",
    "RegistrySpec",
    "StorageSpec",
    "camel",
    "cpu_set",
    "describe",
    "dump",
    "json_schema",
    "load",
    "merge",
    "network_of",
    "parse_value",
    "read",
]
