"""A `flux` command for tests without Flux: it gives recorded answers, and runs what `flux exec` is given right here."""

from __future__ import annotations

import json
import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from usernetes_deploy.cluster.state import SCHEMA
from usernetes_deploy.launch.flux.instance import Instance
from usernetes_deploy.launch.flux.questions import ByCommand

DATA = Path(__file__).resolve().parents[3] / "data" / "flux"

PROGRAM = f"""#!{sys.executable} -IS
import json, os, subprocess, sys
folder = os.path.dirname(os.path.abspath(__file__))
argv = sys.argv[1:]
call = {{"argv": argv, "uri": os.environ.get("FLUX_URI")}}
if argv[0] in ("kvs", "batch") and not sys.stdin.isatty():
    call["stdin"] = sys.stdin.read()
with open(folder + "/calls", "a") as calls:
    print(json.dumps(call), file=calls)
with open(folder + "/answers") as file:
    answers = json.load(file)
for begin, stdout, stderr, code in answers:
    if argv[: len(begin)] == begin:
        sys.stdout.write(stdout)
        sys.stderr.write(stderr)
        sys.exit(code)
if argv[0] == "exec":
    words = argv[argv.index("--") + 1 :]
    if "--bg" in argv:
        child = subprocess.Popen(words, stdin=-3, stdout=-3, stderr=-3, start_new_session=True)
        print(f"{{argv[argv.index('-r') + 1]}}: {{child.pid}}")
        sys.exit(0)
    try:
        code = subprocess.run(words).returncode
    except FileNotFoundError:
        print(f"flux-exec: Error: rank 1: {{words[0]}}: No such file or directory", file=sys.stderr)
        code = 127
    sys.exit(128 - code if code < 0 else code)
sys.exit(f"flux: no answer was recorded for {{argv}}")
"""


@dataclass
class FakeFlux:
    """The command at `path`; `answer` records what it says to a call that begins with certain words."""

    folder: Path

    @property
    def path(self) -> str:
        """The command to give to `Instance`."""
        return str(self.folder / "flux")

    def instance(self) -> Instance:
        """The instance that is asked by this command."""
        asked = Instance("local:///f", flux=self.path)
        return Instance(asked.uri, flux=self.path, questions=ByCommand(asked.command))

    def shows(self, name: str, **changes: Any) -> None:
        """Have ``flux jobs`` show this recorded job."""
        self.answer("jobs", "--json", stdout=json.dumps(recorded_job(name, **changes)))

    def answer(self, *begin: str, stdout: str = "", stderr: str = "", code: int = 0) -> None:
        """Give this answer from now on; the latest one that fits is given."""
        answers = json.loads((self.folder / "answers").read_text())
        (self.folder / "answers").write_text(json.dumps([[list(begin), stdout, stderr, code], *answers]))

    def calls(self) -> list[dict[str, Any]]:
        """The calls so far: argv, FLUX_URI, and stdin where it was read."""
        path = self.folder / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def called_with(self, *begin: str) -> dict[str, Any]:
        """The last call that begins so."""
        return next(call for call in reversed(self.calls()) if call["argv"][: len(begin)] == list(begin))


def make_fake_flux(folder: Path) -> FakeFlux:
    """Write the command into `folder`, with the answers of an instance of three hosts whose owner we are."""
    folder.mkdir(parents=True, exist_ok=True)
    made = FakeFlux(folder)
    (folder / "answers").write_text("[]")
    command = folder / "flux"
    command.write_text(PROGRAM)
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    made.answer("resource", "R", stdout=(DATA / "resource-set.json").read_text())
    made.answer("resource", "status", stdout="\n")
    made.answer("getattr", "security.owner", stdout=f"{os.getuid()}\n")
    made.answer("getattr", "version", stdout="0.88.0-59-g4a5e79f56\n")
    made.answer("getattr", "rank", stdout="0\n")
    made.answer("getattr", "hostname", stdout="fl0\n")
    made.answer("getattr", "local-uri", stdout="local:///tmp/flux-8YueC4/local-0\n")
    for name in ("parent-uri", "jobid"):
        made.answer("getattr", name, stderr=f"flux-getattr: {name}: No such file or directory\n", code=1)
    return made


NUMBER = "2734686208000"
RECORD = {"cluster.json": json.dumps({"schema": SCHEMA, "name": "job-1", "launcher": {}}), "kubeconfig": "the-key"}


def flux_with_a_cluster(folder: Path) -> FakeFlux:
    """The command with one running job, which has a cluster."""
    made = make_fake_flux(folder)
    made.answer("job", "id", stdout=f"{NUMBER}\n")
    made.answer("job", "namespace", stdout=f"job-{NUMBER}\n")
    made.answer("job", "info", stdout=json.dumps(RECORD))
    for quiet in (("kvs", "put"), ("kvs", "unlink"), ("job", "memo")):
        made.answer(*quiet)
    made.shows("job-running")
    return made


def recorded_job(name: str, **changes: Any) -> dict[str, Any]:
    """A recorded job, ours unless `changes` say otherwise."""
    job = json.loads((DATA / f"{name}.json").read_text())
    return {**job, "userid": os.getuid(), **changes}
