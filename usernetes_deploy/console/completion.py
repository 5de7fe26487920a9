"""What a shell may offer next on the command line of `usernetes`: verbs, their flags, and names of clusters."""

from __future__ import annotations

from collections.abc import Sequence

from invoke.collection import Collection


def completions(words: Sequence[str], verbs: Collection, clusters: Sequence[str] = ()) -> list[str]:
    """What may follow `words` or complete the last of them; [] where that is for the shell to say: files and the like.

    >>> from usernetes_deploy.commands import COLLECTION
    >>> completions(["images"], COLLECTION), completions(["images", "list", "--"], COLLECTION)
    (['list', 'load'], ['--cluster', '--json'])
    """
    groups = {name: sorted(group.task_names) for name, group in verbs.collections.items()}
    first, last = (words[0], words[-1]) if words else ("", "")
    verb = f"{first}.{words[1]}" if first in groups and len(words) > 1 else first
    if verb not in verbs.task_names:
        return groups.get(first) or [*sorted(verbs.tasks), *sorted(groups)]
    if "--cluster" in words[-2:]:
        return sorted(clusters)
    if "--" in words[:-1]:
        return []
    return flags(verbs, verb) if last.startswith("-") or len(words) == verb.count(".") + 1 else []


def flags(verbs: Collection, verb: str) -> list[str]:
    """The long flags of a verb."""
    found = []
    for argument in verbs[verb].get_arguments():
        name = next(name for name in argument.names if len(name) > 1)
        found += [f"--{name}", *([f"--no-{name}"] if argument.default is True else [])]
    return sorted(found)
