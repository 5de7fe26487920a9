"""The `usernetes` program: the only place that reads argv, prints errors and picks exit codes."""

from __future__ import annotations

import difflib
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any

from invoke import Collection, Program
from invoke.exceptions import Exit, ParseError, UnexpectedExit
from invoke.parser import Argument

from usernetes_deploy import __version__
from usernetes_deploy.commands import COLLECTION, PASS_THROUGH
from usernetes_deploy.errors import UsageError, UsernetesError

EPILOGUE = """
Exit codes: 0 done, 1 failed, 2 wrong use, 3 a host is not fit, 4 timed out; 130 interrupted.
Results go to stdout, progress to stderr. Examples:

  usernetes up --nodes 3                    three nodes on this host
  usernetes up --file cluster.yaml          what a spec file says (`usernetes spec` prints one)
  usernetes kubectl get pods --all-namespaces
  usernetes status --json
  usernetes down
"""
INTERRUPTED = 130


class Usernetes(Program):  # type: ignore[misc]
    """invoke's Program with our exit codes, suggestions, and verbs that hand their words on to another program."""

    def core_args(self) -> list[Argument]:
        """Only what means something here; the rest of invoke's options is for task files."""
        kept = {"help", "version", "complete", "print-completion-script", "debug", "list"}
        return [argument for argument in super().core_args() if argument.name in kept]

    def _update_core_context(self, context: Any, new_args: Any) -> None:
        super()._update_core_context(context, new_args)

    def print_help(self) -> None:
        """invoke's page and what it leaves out."""
        super().print_help()
        print(EPILOGUE.strip("\n"))

    def update_config(self, merge: bool = True) -> None:
        """No configuration files, no environment: a verb's flags say everything."""
        self.config.load_overrides({"run": {"echo": False}}, merge=merge)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the program and exit."""
    sys.exit(run(list(argv if argv is not None else sys.argv)))


def run(argv: list[str]) -> int:
    """Run one command line (argv[0] is the program's name); returns the exit code.

    >>> run(["usernetes", "no-such-verb"])
    2
    """
    # TERM ends an `up` as Ctrl-C does: what was begun is taken back.
    previous = signal.signal(signal.SIGTERM, _interrupt)
    program = Usernetes(version=__version__, name="usernetes", binary="usernetes", namespace=COLLECTION)
    try:
        program.run(pass_on(argv), exit=False)
    except ParseError as error:
        print(explain(str(error), COLLECTION), file=sys.stderr)
        return UsageError.exit_code
    except UsernetesError as error:
        print(f"usernetes: {error}", file=sys.stderr)
        return error.exit_code
    except Exit as error:
        if error.message:
            print(error.message, file=sys.stderr)
        return int(error.code)
    except UnexpectedExit as error:
        return int(error.result.exited)
    except KeyboardInterrupt:
        print("usernetes: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    finally:
        signal.signal(signal.SIGTERM, previous)
    return 0


def pass_on(argv: Sequence[str]) -> list[str]:
    """Put what belongs to another program behind ``--``, so that our own parser leaves it alone.

    >>> pass_on(["usernetes", "kubectl", "--cluster", "a", "get", "nodes", "-o", "wide"])
    ['usernetes', 'kubectl', '--cluster', 'a', '--', 'get', 'nodes', '-o', 'wide']
    """
    words = list(argv)
    verb = next((place for place, word in enumerate(words[1:], 1) if not word.startswith("-")), None)
    if verb is None or words[verb] not in PASS_THROUGH:
        return words
    flags, valued = PASS_THROUGH[words[verb]]
    place = verb + 1
    while place < len(words):
        word = words[place]
        if word == "--":
            return words
        if word in valued:
            place += 2
        elif word in flags or word.partition("=")[0] in valued:
            place += 1
        else:
            break
    return [*words[:place], "--", *words[place:]] if place < len(words) else words


def explain(problem: str, collection: Collection) -> str:
    """A parse error in our words, with the verb or flag that may have been meant."""
    said = problem.partition("'")[2].partition("'")[0]
    verbs = list(collection.task_names)
    if problem.startswith("No idea what"):
        if said.startswith("-"):
            known = {f"--{name}" for task in verbs for name in _flags(collection, task)}
            near = difflib.get_close_matches(said.partition("=")[0], known, n=1)
            what = f"no verb here takes the flag {said}"
        else:
            near = difflib.get_close_matches(said, verbs, n=1, cutoff=0.5)
            what = f"{said!r} is not a verb of usernetes"
        return f"usernetes: {what}" + (f"; did you mean {near[0]}?" if near else "") + "\n  fix: usernetes --help"
    return f"usernetes: {problem}\n  fix: usernetes --help VERB"


def _flags(collection: Collection, task: str) -> list[str]:
    return [name.replace("_", "-") for argument in collection[task].get_arguments() for name in argument.names]


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
