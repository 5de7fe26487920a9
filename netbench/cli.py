"""The `netbench` program: the only place of netbench that reads argv, prints errors and picks exit codes."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from invoke.collection import Collection

from netbench.commands import data
from netbench.commands import run as running
from usernetes_deploy import __version__
from usernetes_deploy.console.program import Verbs, exit_code

EPILOGUE = """
Exit codes: 0 done, 1 failed (a run, or all), 2 wrong use, 3 a host is not fit, 4 every failed run hung;
130 interrupted (a campaign: 1, and the same command goes on).
Results go to stdout, progress to stderr. Examples:

  netbench quick                                          a first look on this machine
  netbench plan --case osu_latency --case noise           what would be run
  netbench run campaign.yaml --out results                run it; the same command goes on after an interruption
  netbench report results
"""


class Netbench(Verbs):
    """invoke's front page, and no configuration files."""

    def print_help(self) -> None:
        """invoke's page and what it leaves out."""
        super().print_help()
        print(EPILOGUE.strip("\n"))

    def update_config(self, merge: bool = True) -> None:
        """No configuration files, no environment: a verb's flags say everything."""
        self.config.load_overrides({"run": {"echo": False}}, merge=merge)


VERBS = (
    running.quick,
    running.plan,
    running.run,
    running.job,
    data.report,
    data.compare,
    data.import_,
    running.cases,
    running.places,
)


def collection() -> Collection:
    """All verbs, at the top level."""
    return Collection(*VERBS)


def main(argv: Sequence[str] | None = None) -> None:
    """Run one verb; ends the process with its exit code."""
    sys.exit(run(list(argv if argv is not None else sys.argv)))


def run(argv: list[str]) -> int:
    """Run one command line (argv[0] is the program's name); returns the exit code.

    >>> run(["netbench", "no-such-verb"])
    2
    """
    verbs = collection()
    program = Netbench(version=__version__, name="netbench", binary="netbench", namespace=verbs)
    return exit_code("netbench", verbs, lambda: program.carry_out(named(argv)))


def named(argv: Sequence[str]) -> list[str]:
    """Give the plan file its flag: invoke has no positional arguments that may be left out.

    >>> named(["netbench", "run", "campaign.yaml", "--out", "results"])
    ['netbench', 'run', '--plan', 'campaign.yaml', '--out', 'results']
    """
    words = list(argv)
    if len(words) > 2 and words[1] in ("plan", "run", "job") and not words[2].startswith("-"):
        words.insert(2, "--plan")
    return words


if __name__ == "__main__":
    main()
