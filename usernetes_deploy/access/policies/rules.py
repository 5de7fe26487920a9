"""Policies as the API server enforces them: ValidatingAdmissionPolicies in CEL, each with its binding.

Each policy of each source is an object of its own (``usernetes-site-registries``, ``usernetes-spec-registries``): a
request has to pass all of them. Namespaces of the cluster itself (``kube-system``) are not bound, nor is the volume
provisioner, which is a part of the cluster.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from usernetes_deploy.access import durations
from usernetes_deploy.access.objects import HOME
from usernetes_deploy.access.policies.document import Policy
from usernetes_deploy.access.policies.library import port_range

Object = dict[str, Any]
LABEL = "usernetes.dev/policy-source"
TRIAL = "usernetes.dev/policy-trial"
CANARY = "usernetes.dev/policy-canary"
CANARY_REFUSED = "it is in force"
OWN_NAMESPACES = ("kube-system", "kube-public", "kube-node-lease")
OWN_USERS = ("usernetes:local-path",)
OWN_IMAGES = "localhost/usernetes"  # the bundle's: the pause container, busybox
DEVICE = "usernetes.dev/"

PODS: Sequence[tuple[str, str, Sequence[str]]] = (
    ("", "pods", ("CREATE", "UPDATE")),
    ("", "pods/ephemeralcontainers", ("UPDATE",)),
)
VOLUMES = ("", "persistentvolumes", ("CREATE",))  # where it lies cannot be changed later
SERVICES = ("", "services", ("CREATE", "UPDATE"))
RUNTIMES = ("node.k8s.io", "runtimeclasses", ("CREATE", "UPDATE"))
TOKENS = ("", "serviceaccounts/token", ("CREATE",))
VARIABLES = {
    "spec": "dyn(object).?spec.orValue({})",  # which fields it has depends on the kind
    "isPod": "request.resource.resource == 'pods'",
    "containers": "variables.isPod ? dyn(variables.spec.containers) + dyn(variables.spec.?initContainers.orValue([])) "
    "+ dyn(variables.spec.?ephemeralContainers.orValue([])) : []",
    "volumes": "variables.isPod ? variables.spec.?volumes.orValue([]) : []",
}
# What a pod is cannot be changed later, but for images and ephemeral containers: other updates, as that of a
# finalizer, pass. So a pod that was there before a policy can still end.
CHANGED = "request.operation == 'CREATE' || !has(object.spec) || object.spec != oldObject.spec"


@dataclass(frozen=True)
class Rule:
    """What one kind of policy looks at, and what has to hold: (CEL expression, message) pairs."""

    resources: Sequence[tuple[str, str, Sequence[str]]]
    validations: Sequence[tuple[str, str]]
    variables: Mapping[str, str] = field(default_factory=dict)


def objects(policies: Iterable[Policy]) -> list[Object]:
    """The admission policies and bindings of all policies that the API server can enforce.

    >>> [item["metadata"]["name"] for item in objects([Policy("no-privileged", "site")])]
    ['usernetes-site-no-privileged', 'usernetes-site-no-privileged']
    """
    return [made for policy in policies if policy.name in RULES for made in pair(policy, object_name(policy))]


def object_name(policy: Policy) -> str:
    """How the objects of a policy are named.

    >>> object_name(Policy("registries", "spec"))
    'usernetes-spec-registries'
    """
    return f"usernetes-{policy.source}-{policy.name}"


def pair(policy: Policy, name: str, trial: str | None = None) -> list[Object]:
    """An admission policy and its binding.

    `trial`: it looks only at objects with this value of the annotation `TRIAL`, changed or not, and refuses one with
    the label `CANARY`, so that it can be seen to be in force.
    """
    rule = RULES[policy.name](policy)
    metadata = {"name": name, "labels": {LABEL: policy.source}}
    conditions = [("changed", CHANGED), ("bound", _is_bound(policy))]
    validations, resources = list(rule.validations), list(rule.resources)
    if trial:
        resources = [(group, resource, ("CREATE", "UPDATE")) for group, resource, _ in resources]
        canary = f"object.metadata.?labels[?'{CANARY}'].orValue('')"
        conditions = [
            ("trial", f"object.metadata.?annotations[?'{TRIAL}'].orValue('') == '{trial}'"),
            ("bound", f"{canary} == '{policy.name}' || ({_is_bound(policy)})"),
        ]
        validations.append((f"{canary} != '{policy.name}'", CANARY_REFUSED))
    kind = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy"}
    variables = {**VARIABLES, **rule.variables} if ("", "pods", ("CREATE", "UPDATE")) in rule.resources else {}
    return [
        {
            **kind,
            "metadata": metadata,
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [_resource(*one) for one in resources]},
                "matchConditions": [{"name": key, "expression": text} for key, text in conditions],
                "variables": [{"name": key, "expression": text} for key, text in variables.items()],
                "validations": [
                    {"expression": text, "message": f"{policy.title}: {message}", "reason": "Forbidden"}
                    for text, message in validations
                ],
            },
        },
        {
            **kind,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": metadata,
            "spec": {"policyName": name, "validationActions": ["Deny"]},
        },
    ]


def _resource(group: str, resource: str, operations: Sequence[str]) -> Object:
    return {"apiGroups": [group], "apiVersions": ["v1"], "operations": list(operations), "resources": [resource]}


def _is_bound(policy: Policy) -> str:
    namespaces = [*OWN_NAMESPACES, *policy.exempt.get("namespaces", ())]
    users = [*OWN_USERS, *policy.exempt.get("users", ())]
    groups = list(policy.exempt.get("groups", ()))
    return (
        f"!(request.?namespace.orValue('') in {_cel(namespaces)}) && !(request.userInfo.username in {_cel(users)})"
        f" && !request.userInfo.?groups.orValue([]).exists(group, group in {_cel(groups)})"
    )


def _cel(value: Any) -> str:
    """A CEL literal: JSON is one."""
    return json.dumps(value)


def _listed(policy: Policy, nothing: str) -> str:
    return ", ".join(policy.allowed) or nothing


def _no_host_network(_: Policy) -> Rule:
    return Rule(
        (*PODS, RUNTIMES),
        [
            ("!variables.isPod || !variables.spec.?hostNetwork.orValue(false)", "no pod may be on the host's network"),
            (
                "!variables.isPod || variables.spec.?runtimeClassName.orValue('') != 'native'",
                "no pod may have the RuntimeClass native",
            ),
            (
                "variables.isPod || object.metadata.name == 'native' || dyn(object).?handler.orValue('') != 'native'",
                "no RuntimeClass but native itself may have the handler native",
            ),
        ],
    )


def _host_paths(policy: Policy) -> Rule:
    prefixes = _cel(policy.allowed)
    outside = "!has(volume.hostPath)"
    below = f"{prefixes}.exists(one, one == '/' || PATH == one || PATH.startsWith(one + '/'))"
    message = f"volumes of the host may be below {_listed(policy, 'no folder')}"
    pv = "variables.spec.?{0}.?path.orValue('')"
    return Rule(
        (*PODS, VOLUMES),
        [
            (
                f"variables.volumes.all(volume, {outside} || {below.replace('PATH', 'volume.hostPath.path')})",
                message,
            ),
            *(
                (
                    f"variables.isPod || !has(variables.spec.{key}) || {below.replace('PATH', pv.format(key))}",
                    f"PersistentVolume: {message}",
                )
                for key in ("hostPath", "local")
            ),
        ],
    )


def _registries(policy: Policy) -> Rule:
    allowed = _cel([*policy.allowed, OWN_IMAGES])
    # As containerd reads names: what is before the first slash is a registry when it has a dot or a port, or is
    # localhost; else the image is docker.io's.
    first = "image.split('/')[0]"
    hosted = f"image.contains('/') && ({first}.contains('.') || {first}.contains(':') || {first} == 'localhost')"
    full = f"({hosted} ? image : (image.contains('/') ? 'docker.io/' : 'docker.io/library/') + image)"
    passes = (
        f"{allowed}.exists(one, {full}.startsWith(one + '/')"
        f" || (one.contains('/') && ({full} == one || {full}.startsWith(one + ':') || {full}.startsWith(one + '@'))))"
    )
    return Rule(
        PODS,
        [(f"variables.images.all(image, {passes})", f"images may come from {_listed(policy, 'nowhere')}")],
        {
            "images": "variables.containers.map(item, item.?image.orValue(''))"
            " + variables.volumes.filter(item, has(item.image)).map(item, item.image.?reference.orValue(''))"
        },
    )


def _no_privileged(_: Policy) -> Rule:
    return Rule(
        PODS,
        [
            (
                "variables.containers.all(item, !item.?securityContext.?privileged.orValue(false))",
                "no container may be privileged",
            ),
            (
                "!variables.spec.?hostPID.orValue(false) && !variables.spec.?hostIPC.orValue(false)",
                "no pod may share the node's processes (hostPID) or IPC (hostIPC)",
            ),
            (
                "variables.containers.all(item, item.?securityContext.?procMount.orValue('Default') == 'Default')",
                "no container may have an unmasked /proc (procMount)",
            ),
        ],
    )


def _capabilities(policy: Policy) -> Rule:
    added = "item.?securityContext.?capabilities.?add.orValue([])"
    return Rule(
        PODS,
        [
            (
                f"variables.containers.all(item, {added}.all(one, one in {_cel(policy.allowed)}))",
                f"containers may add the capabilities {_listed(policy, 'none')}",
            )
        ],
    )


def _devices(policy: Policy) -> Rule:
    named = _cel([f"{DEVICE}{name}" for name in policy.allowed])
    checks = [
        f"variables.containers.all(item, item.?resources.?{part}.orValue({{}})"
        f".all(key, !key.startsWith('{DEVICE}') || key in {named}))"
        for part in ("limits", "requests")
    ]
    message = f"pods may ask for the devices {_listed(policy, 'none')}"
    return Rule(PODS, [(check, message) for check in checks])


def _exposed_ports(policy: Policy) -> Rule:
    ranges = [found for text in policy.allowed if (found := port_range(text))]
    fits = " || ".join(f"({first} <= NUMBER && NUMBER <= {last})" for first, last in ranges) or "false"
    kind = "variables.spec.?type.orValue('ClusterIP')"
    ports = "variables.spec.?ports.orValue([])"
    allowed = _listed(policy, "no ports")
    return Rule(
        (*PODS, SERVICES),
        [
            (
                f"variables.isPod || !({kind} == 'LoadBalancer' || size(variables.spec.?externalIPs.orValue([])) > 0)"
                f" || {ports}.all(item, {fits.replace('NUMBER', 'item.port')})",
                f"{allowed} may be published",
            ),
            (
                f"variables.isPod || !({kind} in ['LoadBalancer', 'NodePort']) || {ports}.all(item, "
                f"item.?nodePort.orValue(0) == 0 || {fits.replace('NUMBER', 'item.nodePort')})",
                f"{allowed} may be published, and not this node port "
                "(a LoadBalancer has none with allocateLoadBalancerNodePorts: false)",
            ),
            (
                "variables.containers.all(item, item.?ports.orValue([]).all(port, port.?hostPort.orValue(0) == 0"
                f" || {fits.replace('NUMBER', 'port.hostPort')}))",
                f"{allowed} may be published, and not this hostPort",
            ),
        ],
    )


def _source_ranges(policy: Policy) -> Rule:
    ranges = "variables.spec.?loadBalancerSourceRanges.orValue([])"
    within = " || ".join(f"cidr('{one}').containsCIDR(item)" for one in policy.allowed) or "false"
    kind = "variables.spec.?type.orValue('ClusterIP')"
    networks = _listed(policy, "no network")
    return Rule(
        (*PODS, SERVICES),
        [
            (
                f"variables.isPod || ({kind} != 'NodePort' && size(variables.spec.?externalIPs.orValue([])) == 0)",
                "node ports and externalIPs answer everybody: take type LoadBalancer with loadBalancerSourceRanges",
            ),
            (
                f"variables.isPod || {kind} != 'LoadBalancer' || (size({ranges}) > 0"
                f" && {ranges}.all(item, isCIDR(item) && ({within})))",
                f"a LoadBalancer needs loadBalancerSourceRanges within {networks}",
            ),
            (
                "variables.containers.all(item, item.?ports.orValue([]).all(port, port.?hostPort.orValue(0) == 0))",
                "a hostPort answers everybody",
            ),
        ],
    )


def _longest_grant(policy: Policy) -> Rule:
    most = durations.seconds(policy.parameters["time"], "time")
    return Rule(
        (TOKENS,),
        [
            (
                f"request.namespace != '{HOME}' || object.spec.?expirationSeconds.orValue(3600) <= {most}",
                f"a grant's token may last {policy.parameters['time']}",
            )
        ],
    )


RULES: Mapping[str, Callable[[Policy], Rule]] = {
    "no-host-network": _no_host_network,
    "host-paths": _host_paths,
    "registries": _registries,
    "no-privileged": _no_privileged,
    "capabilities": _capabilities,
    "devices": _devices,
    "exposed-ports": _exposed_ports,
    "source-ranges": _source_ranges,
    "longest-grant": _longest_grant,
}
