"""The `usernetes` program: the only place that reads argv, prints errors and picks exit codes."""

from __future__ import annotations

import contextlib
import difflib
import inspect
import io
import os
import re
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from invoke.collection import Collection
from invoke.exceptions import Exit, ParseError, UnexpectedExit
from invoke.program import Program

from usernetes_deploy import __version__
from usernetes_deploy.commands import COLLECTION, PASS_THROUGH
from usernetes_deploy.errors import UsageError, UsernetesError

OPTIONS = """
  -h, --help [VERB]                 this page, or that of a verb
  -V, --version                     the version
  --print-completion-script SHELL   completion for bash, zsh or fish: source <(usernetes --print-completion-script bash)
"""
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
HELP = ("--help", "-h")
GROUPS = tuple(COLLECTION.collections)


class Usernetes(Program):
    """invoke's Program with our exit codes and suggestions, and verbs that hand their words on to another program."""

    def carry_out(self, argv: Sequence[str], words: Sequence[str]) -> None:
        """Parse and run; `words` are another program's. Raises what goes wrong, where invoke would print and exit."""
        self.create_config()
        self.parse_core(list(argv))
        self.parse_collection()
        self.parse_tasks()
        self.parse_cleanup()
        self.update_config()
        self.config.load_overrides({"words": list(words)})
        self.execute()

    def print_help(self) -> None:
        """One page: the verbs and the flags that mean something here (invoke's others are for task files)."""
        print(f"Usage: {self.binary} VERB [--flags] [-- words for another program]\n")
        with contextlib.redirect_stdout(io.StringIO()) as page:
            self.list_tasks()
        print(
            re.sub(rf"(?m)^  ({'|'.join(GROUPS)})\.", r"  \1 ", page.getvalue()).replace("Subcommands:", "Verbs:"),
            end="",
        )
        print(OPTIONS.strip("\n"))
        print(EPILOGUE)

    def print_task_help(self, name: str) -> None:
        """The page of one verb."""
        text = inspect.getdoc(self.collection[name]) or ""
        print(f"Usage: {self.binary} {name.replace('.', ' ')} [--flags]\n\n{text}\n")
        flags = self.parser.contexts[name].help_tuples()
        if flags:
            print("Flags:\n")
            self.print_columns(flags)


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
        ours, words = pass_on(argv)
        ours = help_first(ours)
        program.carry_out(ours, words)
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


def pass_on(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split off what belongs to another program: (our words, theirs).

    >>> pass_on(["usernetes", "kubectl", "--cluster", "a", "get", "nodes", "-o", "wide"])
    (['usernetes', 'kubectl', '--cluster', 'a'], ['get', 'nodes', '-o', 'wide'])
    """
    words = list(argv)
    for place, word in enumerate(words[1:-1], 1):
        if word in GROUPS:  # `bundle build` is invoke's bundle.build
            words[place : place + 2] = [f"{word}.{words[place + 1]}"]
            break
        if not word.startswith("-"):
            break
    verb = next((place for place, word in enumerate(words[1:], 1) if not word.startswith("-")), None)
    if verb is None or words[verb] not in PASS_THROUGH:
        return words, []
    flags, valued = PASS_THROUGH[words[verb]]
    place = verb + 1
    while place < len(words) and words[place] != "--":
        word = words[place]
        if word in valued:
            place += 2
        elif word in flags or word in HELP or word.partition("=")[0] in valued:
            place += 1
        else:
            return words[:place], words[place:]
    return words[:place], words[place + 1 :]


def help_first(argv: Sequence[str]) -> list[str]:
    """``VERB --help`` as invoke takes it with any verb: ``--help VERB``.

    >>> help_first(["usernetes", "images.load", "--help"])
    ['usernetes', '--help', 'images.load']
    """
    words = list(argv)
    if len(words) > 2 and not words[1].startswith("-") and any(word in HELP for word in words[2:]):
        return [words[0], HELP[0], words[1]]
    return words


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
