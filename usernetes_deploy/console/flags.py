"""Flags that several verbs share, each said once: those of a spec, of a field of it, and whole numbers."""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from invoke.tasks import Task

from usernetes_deploy.cluster import spec
from usernetes_deploy.errors import UsageError


def _flag(default: Any, help: str) -> Any:  # noqa: A002  as invoke calls it
    return dataclasses.field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class SpecFlags:
    """What a command line says of the cluster that it wants: the flags of `up` and `check`.

    A verb gets them by `with_spec_flags`; their order decides which of them have which short forms.
    """

    file: str | None = _flag(None, "spec file (YAML); flags go before it")
    cluster: str | None = _flag(None, "name of the new cluster (default: default)")
    nodes: str | None = _flag(None, "how many nodes")
    launcher: str | None = _flag(None, "local, flux, slurm or ssh")
    hosts: str | None = _flag(
        None, "hosts to reach by SSH: a list as node[01-16], a file, or an Ansible inventory (implies --launcher ssh)"
    )
    limit: str | None = _flag(None, "which hosts of an Ansible inventory, as workers:!node07")
    accept_new: bool = _flag(
        default=False, help="trust SSH host keys that were never seen before (a changed one is always refused)"
    )
    interface: str | None = _flag(None, "host interface, by name or by a CIDR it has an address in")
    bundle: str | None = _flag(None, "digest or folder of the bundle")
    label: Sequence[str] | None = _flag(None, "label of every node, as rack=r1; may be given again")
    taint: Sequence[str] | None = _flag(None, "taint of every node, as gpu=yes:NoSchedule; may be given again")
    set: Sequence[str] | None = _flag(None, "any other field of the spec, as network.mtu=1400; may be given again")

    def fields(self) -> dict[str, Any]:
        """The fields of the spec that were said, by their paths; those of ``--set`` last."""
        said: dict[str, Any] = {
            "name": self.cluster,
            "nodes": number("nodes", self.nodes),
            "launcher": self.launcher,
            "hosts": self.hosts,
            "network.interface": self.interface,
            "bundle": self.bundle,
        }
        said["labels"] = labelled(self.label or ()) or None
        said["taints"] = list(self.taint or ()) or None
        return {**said, **assigned(self.set or ())}


SPEC_HELP: dict[str, str] = {field.name: field.metadata["help"] for field in dataclasses.fields(SpecFlags)}


def with_spec_flags(verb: Callable[..., None]) -> Callable[..., None]:
    """Give the body of a verb, ``verb(context, wanted: SpecFlags, ...)``, each of those flags before its own."""
    context, _, *own = inspect.signature(verb).parameters.values()
    shared = [
        inspect.Parameter(field.name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=field.default)
        for field in dataclasses.fields(SpecFlags)
    ]

    @functools.wraps(verb)
    def body(context: Any, **values: Any) -> None:
        verb(context, SpecFlags(**{flag.name: values.pop(flag.name) for flag in shared}), **values)

    body.__signature__ = inspect.Signature([context, *shared, *own])  # type: ignore[attr-defined]
    return body


def flags_of(verb: Task[Any]) -> tuple[frozenset[str], frozenset[str]]:
    """The flags of a verb as they are typed: those that stand alone, and those that take a value.

    >>> from usernetes_deploy.commands.access import kubectl
    >>> flags_of(kubectl) == (frozenset(), {"--cluster", "-c"})
    True
    """
    silent = copy.copy(verb)
    silent.help = {}  # invoke takes the texts out of it, and the verb's page needs them
    alone: set[str] = set()
    valued: set[str] = set()
    for argument in silent.get_arguments():
        typed = (f"-{name}" if len(name) == 1 else f"--{name}" for name in argument.names)
        (valued if argument.takes_value else alone).update(typed)
    return frozenset(alone), frozenset(valued)


def labelled(words: Sequence[str]) -> dict[str, str]:
    """The labels that ``--label`` says; raises `UsageError` where that is no KEY=VALUE.

    >>> labelled(["rack=r1", "example.org/fast="])
    {'rack': 'r1', 'example.org/fast': ''}
    """
    without = next((word for word in words if "=" not in word), None)
    if without is not None:
        raise UsageError(f"--label {without}: expected KEY=VALUE, as rack=r1")
    return dict(word.split("=", 1) for word in words)


def assigned(assignments: Sequence[str]) -> dict[str, Any]:
    """The fields of a spec that ``--set`` says; raises `UsageError` where that is no FIELD=VALUE.

    >>> assigned(["network.mtu=1400", "metrics=true"])
    {'network.mtu': 1400, 'metrics': True}
    """
    values = {}
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not all(path.split(".")):
            raise UsageError(f"--set {assignment}: expected FIELD=VALUE, as network.mtu=1400")
        values[path] = spec.parse_value(text)
    return values


def number(flag: str, value: int | str | None) -> int | None:
    """A flag's whole number; raises `UsageError` for anything else."""
    if value is None:
        return None
    try:
        return int(value)
    except ValueError:
        raise UsageError(f"--{flag}: expected a whole number, got {value!r}") from None
