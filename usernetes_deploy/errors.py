"""Every error of the product, and how it reads: node, what was tried, the reason, the remedy.

::

    UsernetesError                  exit code 1   something failed
    ├── UsageError                  exit code 2   the call itself is wrong; nothing was changed
    │   ├── SpecError               exit code 2   every bad field at once, each with its path
    │   └── JobEnded                exit code 2   the batch job is over, and its cluster with it
    ├── HostNotFit                  exit code 3   preflight: what a host lacks, each with its remedy
    ├── TimedOut                    exit code 4   a deadline passed
    ├── CommandFailed               exit code 1   a command on a node, with the tail of its output
    ├── BundleError                 exit code 1   a binary is missing, damaged or cannot be built
    └── NodeFailures                worst of its members; one line a node

Only ``usernetes_deploy.console.program`` prints errors and turns them into exit codes. This module uses the standard
library alone, because nodes run it too.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence

TAIL_LINES = 5


class Secret:
    """A value that must not be shown: its ``str`` and ``repr`` are ``***``.

    >>> token = Secret("abcdef.0123456789abcdef")
    >>> f"join with {token}", token.reveal()
    ('join with ***', 'abcdef.0123456789abcdef')
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value itself; call it only where it leaves for its destination."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


class UsernetesError(Exception):
    """What went wrong, where, and what to do about it.

    >>> print(UsernetesError("port 10250 in use by pid 4121", node="node03", remedy="choose another --api-port"))
    node03: port 10250 in use by pid 4121
      fix: choose another --api-port
    """

    exit_code = 1

    def __init__(self, reason: str, *, node: str | None = None, tried: str | None = None, remedy: str | None = None):
        super().__init__(reason)
        self.reason = reason
        self.node = node
        self.tried = tried
        self.remedy = remedy

    def headline(self) -> str:
        """The one-line form, used in lists: ``node03: create /dev/net/tun: EACCES``."""
        return ": ".join(part for part in (self.node, self.tried, self.reason) if part)

    def __str__(self) -> str:
        return self.headline() + (f"\n  fix: {self.remedy}" if self.remedy else "")


class UsageError(UsernetesError):
    """The call is wrong: a flag, a name, a combination. Nothing was changed."""

    exit_code = 2


class SpecError(UsageError):
    """All problems of a spec at once: ``[(path, problem)]``.

    >>> print(SpecError([("nodes", "expected a whole number >= 1, got -1")]))
    the spec has 1 problem:
      nodes: expected a whole number >= 1, got -1
    """

    def __init__(self, problems: Sequence[tuple[str, str]], source: str = "the spec"):
        self.problems = list(problems)
        plural = "problem" if len(self.problems) == 1 else "problems"
        lines = "".join(f"\n  {path}: {problem}" for path, problem in self.problems)
        super().__init__(f"{source} has {len(self.problems)} {plural}:{lines}")


class JobEnded(UsageError):
    """The batch job is over, and its cluster with it."""


class HostNotFit(UsernetesError):
    """A host cannot carry a node: ``problems`` is ``[(what, remedy)]``."""

    exit_code = 3

    def __init__(self, problems: Sequence[tuple[str, str]], *, node: str | None = None):
        self.problems = list(problems)
        super().__init__("; ".join(what for what, _ in self.problems), node=node)

    def __str__(self) -> str:
        where = f"{self.node}: " if self.node else ""
        return "\n".join(f"{where}{what}" + (f"\n  fix: {remedy}" if remedy else "") for what, remedy in self.problems)


class TimedOut(UsernetesError):
    """A deadline passed; the text says what was still missing."""

    exit_code = 4


class BundleError(UsernetesError):
    """A binary of the bundle is missing, damaged, unpinned or cannot be built."""


class CommandFailed(UsernetesError):
    """A command on a node failed; it can be pasted, and the last lines of its output follow."""

    def __init__(
        self,
        argv: Sequence[str],
        returncode: int,
        output: str = "",
        *,
        node: str | None = None,
        remedy: str | None = None,
    ):
        self.argv = list(argv)
        self.returncode = returncode
        self.output = output
        how = f"signal {-returncode}" if returncode < 0 else f"exit code {returncode}"
        super().__init__(how, node=node, tried=shlex.join(self.argv), remedy=remedy)

    def __str__(self) -> str:
        tail = self.output.strip().splitlines()[-TAIL_LINES:]
        body = "".join(f"\n  | {line}" for line in tail)
        return self.headline() + body + (f"\n  fix: {self.remedy}" if self.remedy else "")


class NodeFailures(UsernetesError):
    """What failed on which nodes; the exceptions stay objects in ``failures``."""

    def __init__(self, failures: Mapping[str, BaseException], tried: str | None = None):
        self.failures = dict(failures)
        self.exit_code = max((getattr(error, "exit_code", 1) for error in self.failures.values()), default=1)
        count = len(self.failures)
        super().__init__(f"failed on {count} {'node' if count == 1 else 'nodes'}", tried=tried)

    def __str__(self) -> str:
        return "\n".join([self.headline() + ":", *_indented(self.failures.items())])


def _indented(failures: Iterable[tuple[str, BaseException]]) -> Iterable[str]:
    for node, error in sorted(failures):
        text = str(error) or type(error).__name__
        if not text.startswith(f"{node}:"):
            text = f"{node}: {text}"
        yield "  " + text.replace("\n", "\n  ")
