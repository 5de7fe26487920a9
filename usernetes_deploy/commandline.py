"""What the programs `usernetes` and `netbench` share as command lines: parsing, wrong use explained, exit codes."""

from __future__ import annotations

import difflib
import inspect
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType

from invoke.collection import Collection
from invoke.exceptions import Exit, ParseError, UnexpectedExit
from invoke.program import Program

from usernetes_deploy.errors import UsageError, UsernetesError

INTERRUPTED = 130
HELP = ("--help", "-h")


class Verbs(Program):
    """invoke's Program that raises what goes wrong, where invoke would print and exit."""

    def carry_out(self, argv: Sequence[str], words: Sequence[str] = ()) -> None:
        """Parse and run; `words` are another program's, left for the verb in its context."""
        self.create_config()
        self.parse_core(help_first(argv))
        self.parse_collection()
        try:
            self.parse_tasks()
        except ValueError as error:  # invoke's own conversion: invalid literal for int() with base 10: 'x'
            raise UsageError(f"expected a whole number, got {str(error).rpartition(': ')[2]}") from error
        self.parse_cleanup()
        self.update_config()
        self.config.load_overrides({"words": list(words)})
        self.execute()

    def print_task_help(self, name: str) -> None:
        """The page of one verb."""
        text = inspect.getdoc(self.collection[name]) or ""
        print(f"Usage: {self.binary} {name.replace('.', ' ')} [--flags]\n\n{text}\n")
        flags = self.parser.contexts[name].help_tuples()
        if flags:
            print("Flags:\n")
            self.print_columns(flags)


def exit_code(name: str, verbs: Collection, call: Callable[[], None]) -> int:
    """Run `call`, which carries out one command line of the program `name`; errors are printed, the exit code returned.

    TERM (the end of a job's time) ends it as Ctrl-C does: what was begun is taken back, or can be gone on with.
    """
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        call()
    except ParseError as error:
        print(explain(name, str(error), verbs), file=sys.stderr)
        return UsageError.exit_code
    except UsernetesError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.exit_code
    except Exit as error:
        if error.message:
            print(error.message, file=sys.stderr)
        return int(error.code)
    except UnexpectedExit as error:
        return int(error.result.exited)
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    finally:
        signal.signal(signal.SIGTERM, previous)
    return 0


def help_first(argv: Sequence[str]) -> list[str]:
    """``VERB --help`` as invoke takes it with any verb: ``--help VERB``.

    >>> help_first(["usernetes", "images.load", "--help"])
    ['usernetes', '--help', 'images.load']
    """
    words = list(argv)
    if len(words) > 2 and not words[1].startswith("-") and any(word in HELP for word in words[2:]):
        return [words[0], HELP[0], words[1]]
    return words


def explain(name: str, problem: str, verbs: Collection) -> str:
    """A parse error in our words, with the verb or flag that may have been meant."""
    said = problem.partition("'")[2].partition("'")[0]
    known = list(verbs.task_names)
    if problem.startswith("No idea what"):
        if said.startswith("-"):
            flags = {f"--{flag}" for verb in known for flag in _flags(verbs, verb)}
            near = difflib.get_close_matches(said.partition("=")[0], flags, n=1)
            what = f"no verb here takes the flag {said}"
        else:
            near = difflib.get_close_matches(said, known, n=1, cutoff=0.5)
            what = f"{said!r} is not a verb of {name}"
        return f"{name}: {what}" + (f"; did you mean {near[0]}?" if near else "") + f"\n  fix: {name} --help"
    return f"{name}: {problem}\n  fix: {name} --help VERB"


def _flags(verbs: Collection, verb: str) -> list[str]:
    return [flag.replace("_", "-") for argument in verbs[verb].get_arguments() for flag in argument.names]


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
