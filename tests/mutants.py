"""Defects put into a copy of the most dangerous modules, one at a time: a named unit test must fail for each.

    python tests/mutants.py            all; exit code 1 when a test does not notice its defect
    python tests/mutants.py secrets    those whose line has the word

Who changes one of these modules runs this by hand; it takes one to two seconds a defect. A line whose text is no longer
in its module is an error: give it the new text.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[1]


class Mutant(NamedTuple):
    """`old` becomes `new` in `module`; one of the tests that pytest selects by `test` has to fail."""

    about: str
    module: str
    old: str
    new: str
    test: str
    needs_root: bool = False  # its test makes files of other users


MEMBERSHIP, FOLDER, PHASE = "cluster/membership.py", "node/folder.py", "changes/phase.py"
TEST_MEMBERSHIP, TEST_FOLDER = "cluster/test_membership.py", "node/test_folder.py"
MUTANTS = (
    Mutant("moves: a lost node cannot come back", MEMBERSHIP,
           "State.LOST: {State.READY, State.LEAVING}", "State.LOST: {State.LEAVING}", TEST_MEMBERSHIP),
    Mutant("moves: one that left comes back", MEMBERSHIP, "State.LEFT: set()", "State.LEFT: {State.READY}",
           f"{TEST_MEMBERSHIP}::test_every_state_can_be_reached_and_all_but_one_can_be_left"),
    Mutant("moves: no move is refused", MEMBERSHIP,
           "if state not in MOVES[member.state] and", "if False and",
           f"{TEST_MEMBERSHIP}::test_only_the_moves_of_the_table_are_made"),
    Mutant("moves: what may run is forgotten", MEMBERSHIP, "if may_be_there(member):\n                raise",
           "if False:\n                raise",
           f"{TEST_MEMBERSHIP}::test_who_may_have_something_on_its_host_is_neither_forgotten_nor_joined_again"),
    Mutant("owner: whose the folder is", FOLDER, "if status.st_uid != os.getuid():\n        raise",
           "if False:\n        raise", TEST_FOLDER, needs_root=True),
    Mutant("owner: a link in its place", FOLDER, "status = path.lstat()", "status = path.stat()",
           f"{TEST_FOLDER}::test_a_link_in_the_place_of_a_folder_is_refused"),
    Mutant("owner: others may write to it", "paths.py", "if status.st_mode & stat.S_IWOTH:", "if False:",
           f"{TEST_FOLDER}::test_a_folder_that_others_may_write_to_is_refused_everywhere"),
    Mutant("owner: the folder above is not looked at", FOLDER, "for path in (folder.parent, folder))",
           "for path in (folder,))", f"{TEST_FOLDER}::test_a_folder_that_others_may_write_to_is_refused_everywhere"),
    Mutant("secrets: files that all may read", "cluster/files.py", "| os.O_NOFOLLOW, 0o600)", "| os.O_NOFOLLOW, 0o644)",
           "cluster/test_state.py::test_nobody_else_may_read_anything_of_it"),
    Mutant("secrets: an open state directory stays open", "cluster/state.py",
           "self.directory.chmod(stat.S_IRWXU)", "pass",
           "cluster/test_state.py::test_a_directory_that_others_could_read_is_closed"),
    Mutant("secrets: shown by str", "errors.py", 'return "***"', "return self._value", "test_errors.py"),
    Mutant("secrets: a login that others may read", "cluster/registries.py", "& 0o077:", "& 0o007:",
           "cluster/test_registries.py::test_a_file_that_others_may_read_is_refused"),
    Mutant("secrets: a blob that can be changed", "node/config.py", "| fcntl.F_SEAL_WRITE", "",
           "../../usernetes_deploy/node/config.py"),
    Mutant("undo: in the order of doing", PHASE, "reversed(begun)", "begun",
           "changes/test_phase.py::test_whatever_ends_a_phase_undoes_those_begun_in_reverse_and_goes_on"),
    Mutant("undo: the phase that failed is left out", PHASE,
           "            begun.append(phase)\n            detail = phase.apply(context)\n",
           "            detail = phase.apply(context)\n            begun.append(phase)\n", "changes/test_phase.py"),
    Mutant("undo: one failure ends it", PHASE,
           "except BaseException as error:  #", "except ZeroDivisionError as error:  #",
           "changes/test_phase.py::test_what_cannot_be_undone_is_reported_and_the_others_are_undone"),
    Mutant("undo: a node that runs is forgotten", "phases/record_growth.py",
           "if may_be_there(up.members[name])]", "if False]",
           "changes/test_add_undone.py::test_nodes_that_could_not_be_stopped_stay_known"),
    Mutant("renewal: a restart begins with the first certificates", "node/keeper.py",
           "self.config = self.config.renewed(request)", "self.config.renewed(request)",
           "node/test_keeper.py::test_a_node_that_is_started_again_begins_with_what_it_was_told_since"),
)  # fmt: skip


def copy(target: Path) -> None:
    """What the unit tests need of the repository."""
    names = ["pyproject.toml", *(path.name for path in REPOSITORY.iterdir() if path.is_dir() and path.name[0] != ".")]
    for name in names:
        if name in ("usernetes_deploy", "tests"):
            shutil.copytree(REPOSITORY / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (target / name).symlink_to(REPOSITORY / name)


def passes(tree: Path, tests: list[str]) -> subprocess.CompletedProcess[str]:
    """pytest's run of these tests with the code of `tree`."""
    argv = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--no-header", *tests]
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(argv, cwd=tree, env=environment, capture_output=True, text=True, timeout=120, check=False)


def main(words: list[str]) -> int:
    """Try all mutants that a word selects; 0 when each was noticed."""
    chosen = [mutant for mutant in MUTANTS if all(word in f"{mutant.about} {mutant.module}" for word in words)]
    unnoticed = 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = Path(folder)
        copy(tree)
        sound = passes(tree, sorted({f"tests/unit/{mutant.test}" for mutant in chosen}))
        if sound.returncode:
            print(f"the tests fail without any defect:\n{sound.stdout[-3000:]}{sound.stderr[-1000:]}")
            return 1
        for mutant in chosen:
            if mutant.needs_root and os.geteuid() != 0:
                print(f"not tried {mutant.about} ({mutant.module}): its test needs root")
                continue
            path = tree / "usernetes_deploy" / mutant.module
            text = path.read_text(encoding="utf-8")
            if text.count(mutant.old) != 1:
                print(f"WRONG     {mutant.about}: {text.count(mutant.old)} times in {mutant.module}: {mutant.old!r}")
                unnoticed += 1
                continue
            path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
            noticed = passes(tree, [f"tests/unit/{mutant.test}"]).returncode == 1  # 2 and above: no test was run
            path.write_text(text, encoding="utf-8")
            print(f"{'noticed ' if noticed else 'UNNOTICED'} {mutant.about} ({mutant.module})", flush=True)
            unnoticed += not noticed
    print(f"{unnoticed} of {len(chosen)} defects were not noticed")
    return 1 if unnoticed or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
