"""The `usernetes` program: the only place that reads argv, prints errors and picks exit codes."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Sequence

from usernetes_deploy import __version__
from usernetes_deploy.cluster.state import clusters
from usernetes_deploy.commands import COLLECTION, PASS_THROUGH
from usernetes_deploy.commands.common import roots
from usernetes_deploy.console.completion import completions
from usernetes_deploy.console.program import HELP, Verbs, exit_code

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
GROUPS = tuple(COLLECTION.collections)


class Usernetes(Verbs):
    """Our own front page."""

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


def main(argv: Sequence[str] | None = None) -> None:
    """Run the program and exit."""
    os.umask(os.umask(0o022) | 0o022)  # a batch system's may be 0; what nodes run must be nobody else's to write
    sys.exit(run(list(argv if argv is not None else sys.argv)))


def run(argv: list[str]) -> int:
    """Run one command line (argv[0] is the program's name); returns the exit code.

    >>> run(["usernetes", "no-such-verb"])
    2
    """
    if argv[1:3] == ["--complete", "--"]:  # the shells' scripts; invoke's own knows no groups of verbs
        print("\n".join(completions(argv[4:], COLLECTION, [state.name for state in clusters(roots())])))
        return 0
    program = Usernetes(version=__version__, name="usernetes", binary="usernetes", namespace=COLLECTION)
    ours, words = pass_on(argv)
    return exit_code("usernetes", COLLECTION, lambda: program.carry_out(ours, words))


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


if __name__ == "__main__":
    main()
