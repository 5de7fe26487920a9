"""What the programs `usernetes` and `netbench` share as command lines: parsing, wrong use explained, exit codes."""

from __future__ import annotations

import difflib
import inspect
import itertools
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from types import FrameType

from invoke.collection import Collection
from invoke.exceptions import Exit, ParseError, UnexpectedExit
from invoke.program import Program
from invoke.terminals import pty_size

from usernetes_deploy.errors import UsageError, UsernetesError

INTERRUPTED = 130
HELP = ("--help", "-h")


class Verbs(Program):
    """invoke's Program that raises what goes wrong, where invoke would print and exit."""

    @property
    def groups(self) -> Mapping[str, Collection]:
        """Groups of verbs by name, such as `bundle`."""
        return self.namespace.collections if self.namespace else {}

    def carry_out(self, argv: Sequence[str], words: Sequence[str] = ()) -> None:
        """Parse and run; `words` are another program's, left for the verb in its context."""
        self.create_config()
        try:
            self.parse_core(help_first(argv, tuple(self.groups)))
            self.parse_collection()
            self.parse_tasks()
        except ValueError as error:  # a flag whose default is a number
            raise UsageError(no_number(str(error), argv)) from None
        self.parse_cleanup()
        self.update_config()
        self.config.load_overrides({"words": list(words)})
        self.execute()

    def print_columns(self, tuples: Sequence[tuple[str, str | None]]) -> None:
        """Names and their help; a terminal too narrow for two columns gets the help below the name."""
        if pty_size()[0] > max(len(name) for name, _ in tuples) + 30:
            super().print_columns(tuples)
            return
        for name, text in tuples:
            print(f"{self.leading_indent}{name}\n{self.leading_indent * 3}{text or ''}")
        print()

    def parse_cleanup(self) -> None:
        """What is no verb but asks for a page; invoke knows none for a group of verbs."""
        group = self.args.help.value
        if group in self.groups:
            tasks = self.groups[group].tasks
            pages = [(f"{group} {name}", (task.__doc__ or "").partition("\n")[0]) for name, task in tasks.items()]
            print(f"Usage: {self.binary} {group} VERB [--flags]\n\nVerbs:\n")
            self.print_columns(pages)
            raise Exit
        super().parse_cleanup()

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

    TERM (the end of a job's time) and a lost terminal end it as Ctrl-C does: what was begun is taken back, or can be
    gone on with.
    """
    previous = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in previous.items():
        if handler is not signal.SIG_IGN:  # nohup
            signal.signal(number, _interrupt)
    try:
        call()
        if sys.stdout:
            sys.stdout.flush()  # a reader that has gone is an error of ours, not of the interpreter's end
    except ParseError as error:
        print(explain(name, str(error), verbs, error.context.name if error.context else None), file=sys.stderr)
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
        _give_up_stdout()
        return 1
    except OSError as error:
        _give_up_stdout()  # it may be the full disk that stdout is on
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return 0


def help_first(argv: Sequence[str], groups: Sequence[str] = ()) -> list[str]:
    """``VERB --help`` and a group of verbs alone as invoke takes them: ``--help VERB``.

    >>> help_first(["usernetes", "images.load", "--help"])
    ['usernetes', '--help', 'images.load']
    >>> help_first(["usernetes", "images"], ["images"])
    ['usernetes', '--help', 'images']
    """
    words = list(argv)
    if words[1:] in [[group] for group in groups]:
        return [words[0], HELP[0], words[1]]
    if len(words) > 2 and not words[1].startswith("-") and any(word in HELP for word in words[2:]):
        return [words[0], HELP[0], words[1]]
    return words


def explain(name: str, problem: str, verbs: Collection, verb: str | None = None) -> str:
    """A parse error in our words, with the verb, or the flag of `verb`, that may have been meant."""

    def spoken(task: str) -> str:  # invoke's ``bundle.build`` is typed ``bundle build``
        group, dot, rest = task.partition(".")
        return f"{group} {rest}" if dot and group in verbs.collections else task

    said = problem.partition("'")[2].partition("'")[0]
    known = list(verbs.task_names)
    page = f" {spoken(verb)}" if verb in known and verb else ""
    if lacks := re.search(r"<Argument: ([\w-]+).*needed value", problem):
        return f"{name}: --{lacks[1].replace('_', '-')} needs a value\n  fix: {name} --help{page or ' VERB'}"
    if not problem.startswith("No idea what"):
        return f"{name}: {problem}\n  fix: {name} --help VERB"
    if said.startswith("-"):
        flags = {f"--{flag}" for task in ([verb] if page and verb else known) for flag in _flags(verbs, task)}
        near = difflib.get_close_matches(said.partition("=")[0], flags, n=1)
        what = f"{page.strip() or 'no verb'} takes no flag {said}"
    else:
        near = difflib.get_close_matches(said, known, n=1, cutoff=0.5)
        what = f"{spoken(said)!r} is not a verb of {name}"
    meant = f"; did you mean {spoken(near[0])}?" if near else ""
    return f"{name}: {what}{meant}\n  fix: {name} --help{page}"


def no_number(problem: str, argv: Sequence[str]) -> str:
    """Which flag has no number where it needs one.

    >>> no_number("invalid literal for int() with base 10: 'many'", ["usernetes", "logs", "--lines=many"])
    "--lines: expected a number, got 'many'"
    """
    value = problem.partition("'")[2].rpartition("'")[0]
    flags = [
        before if word == value else word.partition("=")[0]
        for before, word in itertools.pairwise(argv)
        if word == value or word.endswith(f"={value}")
    ]
    return f"{flags[0] if flags else 'a flag'}: expected a number, got {value!r}"


def _flags(verbs: Collection, verb: str) -> list[str]:
    return [flag.replace("_", "-") for argument in verbs[verb].get_arguments() for flag in argument.names]


def _give_up_stdout() -> None:
    """Nothing more goes to stdout, not even what is still in its buffer."""
    if sys.stdout:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
