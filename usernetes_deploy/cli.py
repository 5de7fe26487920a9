"""The `usernetes` program: the only place that reads argv, prints errors and picks exit codes."""

from __future__ import annotations

import contextlib
import difflib
import inspect
import io
import itertools
import os
import re
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from invoke.collection import Collection
from invoke.exceptions import Exit, ParseError, UnexpectedExit
from invoke.program import Program
from invoke.terminals import pty_size

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
        try:
            self.parse_core(list(argv))
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
        if group in GROUPS:
            tasks = COLLECTION.collections[group].tasks
            pages = [(f"{group} {name}", (task.__doc__ or "").partition("\n")[0]) for name, task in tasks.items()]
            print(f"Usage: {self.binary} {group} VERB [--flags]\n\nVerbs:\n")
            self.print_columns(pages)
            raise Exit
        super().parse_cleanup()

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
    os.umask(os.umask(0o002) | 0o002)  # a batch system's may be 0, and folders in between would be everybody's
    sys.exit(run(list(argv if argv is not None else sys.argv)))


def run(argv: list[str]) -> int:
    """Run one command line (argv[0] is the program's name); returns the exit code.

    >>> run(["usernetes", "no-such-verb"])
    2
    """
    # TERM and a lost terminal end an `up` as Ctrl-C does: what was begun is taken back.
    previous = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in previous.items():
        if handler is not signal.SIG_IGN:  # nohup
            signal.signal(number, _interrupt)
    program = Usernetes(version=__version__, name="usernetes", binary="usernetes", namespace=COLLECTION)
    try:
        ours, words = pass_on(argv)
        ours = help_first(ours)
        program.carry_out(ours, words)
        if sys.stdout:
            sys.stdout.flush()  # a reader that has gone is an error of ours, not of the interpreter's end
    except ParseError as error:
        print(explain(str(error), COLLECTION, error.context.name if error.context else None), file=sys.stderr)
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
        _give_up_stdout()
        return 1
    except OSError as error:
        _give_up_stdout()  # it may be the full disk that stdout is on
        print(f"usernetes: {error}", file=sys.stderr)
        return 1
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return 0


def pass_on(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split off what belongs to another program: (our words, theirs).

    >>> pass_on(["usernetes", "kubectl", "--cluster", "a", "get", "nodes", "-o", "wide"])
    (['usernetes', 'kubectl', '--cluster', 'a'], ['get', 'nodes', '-o', 'wide'])
    """
    words = list(argv)
    for place, word in enumerate(words[1:-1], 1):
        if word in GROUPS and not words[place + 1].startswith("-"):  # `bundle build` is invoke's bundle.build
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
    if words[1:] in [[group] for group in GROUPS]:
        return [words[0], HELP[0], words[1]]
    if len(words) > 2 and not words[1].startswith("-") and any(word in HELP for word in words[2:]):
        return [words[0], HELP[0], words[1]]
    return words


def explain(problem: str, collection: Collection, verb: str | None = None) -> str:
    """A parse error in our words, with the verb, or the flag of `verb`, that may have been meant."""
    said = problem.partition("'")[2].partition("'")[0]
    verbs = list(collection.task_names)
    if problem.startswith("No idea what"):
        if said.startswith("-"):
            own = [verb] if verb in verbs else verbs
            known = {f"--{name}" for task in own for name in _flags(collection, task)}
            near = difflib.get_close_matches(said.partition("=")[0], known, n=1)
            what = f"{_spoken(verb) if verb in verbs else 'no verb'} takes no flag {said}"
        else:
            near = difflib.get_close_matches(said, verbs, n=1, cutoff=0.5)
            what = f"{_spoken(said)!r} is not a verb of usernetes"
        meant = f"; did you mean {_spoken(near[0])}?" if near else ""
        return f"usernetes: {what}{meant}\n  fix: usernetes --help" + (f" {_spoken(verb)}" if verb in verbs else "")
    return f"usernetes: {problem}\n  fix: usernetes --help VERB"


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


def _spoken(name: str | None) -> str:
    """A verb as it is typed: invoke's ``bundle.build`` is ``bundle build``."""
    group, dot, rest = (name or "").partition(".")
    return f"{group} {rest}" if dot and group in GROUPS else name or ""


def _flags(collection: Collection, task: str) -> list[str]:
    return [name.replace("_", "-") for argument in collection[task].get_arguments() for name in argument.names]


def _give_up_stdout() -> None:
    """Nothing more goes to stdout, not even what is still in its buffer."""
    if sys.stdout:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
