"""The command line of netbench: the only place that prints its errors and picks exit codes."""

from __future__ import annotations

import sys

from invoke import Collection, Program

from netbench.commands import data
from netbench.commands import run as running
from usernetes_deploy import __version__
from usernetes_deploy.errors import UsernetesError

EPILOGUE = "exit codes: 0 done, 1 failed, 2 wrong use, 3 host not fit, 4 timed out"


def program() -> Program:
    """The program with all verbs at its top level."""
    verbs = Collection()
    for source in (running.collection, data.collection):
        for verb in source.tasks.values():
            verbs.add_task(verb)
    return Program(name="netbench", binary="netbench", version=__version__, namespace=verbs)


def main(argv: list[str] | None = None) -> None:
    """Run one verb; ends the process with its exit code."""
    made = program()
    try:
        made.run(argv, exit=False)
    except UsernetesError as error:
        print(f"netbench: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main(sys.argv)
