"""The command line: exit codes, help, suggestions, and words that belong to another program."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from usernetes_deploy import cli
from usernetes_deploy.cluster import spec
from usernetes_deploy.commands import COLLECTION, up
from usernetes_deploy.console.flags import SpecFlags
from usernetes_deploy.errors import HostNotFit, NodeFailures, TimedOut


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nobody's clusters and no bundle."""
    for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "USERNETES_CLUSTER", "USERNETES_BUNDLE_CACHE", "FLUX_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def usernetes(*words: str) -> int:
    return cli.run(["usernetes", *words])


def test_the_help_names_every_verb_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert usernetes("--help") == 0
    page = capsys.readouterr().out
    for verb in ("up", "down", "status", "list", "kubeconfig", "kubectl", "logs", "check", "spec", "version"):
        assert f"\n  {verb}   " in page
    assert "bundle build" in page
    assert "images load" in page
    assert "4 timed out" in page


@pytest.mark.parametrize("verb", sorted(COLLECTION.task_names))
def test_every_verb_has_a_page_with_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert usernetes(*verb.split("."), "--help") == 0
    page = capsys.readouterr().out
    assert page.startswith(f"Usage: usernetes {verb.replace('.', ' ')}")
    assert "Example" in page or verb == "version"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["statsu"], "'statsu' is not a verb of usernetes; did you mean status?"),
        (["kubctl"], "did you mean kubectl?"),
        (["xyzzy"], "'xyzzy' is not a verb of usernetes\n"),
        (["status", "--jsno"], "status takes no flag --jsno; did you mean --json?"),
        (["status", "--nodes", "3"], "status takes no flag --nodes\n  fix: usernetes --help status\n"),
        (["bundle", "biuld"], "'bundle biuld' is not a verb of usernetes; did you mean bundle build?"),
        (["logs", "--lines", "many"], "--lines: expected a number, got 'many'"),
        (["status", "--watch=soon"], "--watch: expected a number, got 'soon'"),
        (["up", "--set", "storage.shared=data"], "storage.shared: expected an absolute path, got 'data'"),
        (["up", "--set", "storage.shared=/no/such"], "storage.shared: /no/such is no directory that you can write"),
        (["up", "--set", "images=[/no/such.tar]"], "images[0]: /no/such.tar is not a file"),
        (["down", "--cluster", ".."], "'..' is no name of a cluster"),
        (["down", "--cluster", "/"], "'/' is no name of a cluster"),
        (["up", "--nodes"], "--nodes needs a value"),
        (["up", "--nodes", "three"], "--nodes: expected a whole number, got 'three'"),
        (["up", "--nodes", "0"], "nodes: expected a whole number from 1 to 4096, got 0"),
        (["up", "--nodes=-1"], "got -1"),
        (["up", "--cluster", "No"], "name: expected lower-case letters"),
        (["up", "--set", "mtu"], "expected FIELD=VALUE"),
        (["up", "--set", "network.mtuu=3"], "network.mtuu: unknown field"),
        (["up", "--file", "/no/such.yaml"], "No such file"),
        (["up", "--time", "2h"], "--time and --queue are for a job that is submitted"),
        (["status"], "there is no cluster"),
        (["kubectl", "get", "nodes"], "there is no cluster"),
        (["images", "load", "/no/such.tar"], "is not a file"),
        (["status", "--watch=-1"], "expected seconds > 0"),
    ],
)
def test_wrong_use_is_exit_code_2_with_a_word_and_changes_nothing(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    assert usernetes(*words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert "Traceback" not in err
    assert not (home / ".local").exists()


def test_a_cluster_that_is_named_by_a_path_removes_nothing(home: Path) -> None:
    precious = home / "precious"
    precious.mkdir()
    for name in (str(precious), "../../../precious", "."):
        assert usernetes("down", "--cluster", name) == 2
        assert usernetes("status", "--cluster", name) == 2
    assert precious.exists()


@pytest.mark.parametrize("words", [["bundle"], ["bundle", "--help"], ["--help", "bundle"]])
def test_a_group_of_verbs_has_a_page(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert usernetes(*words) == 0
    page = capsys.readouterr().out
    assert page.startswith("Usage: usernetes bundle VERB")
    assert "\n  bundle build " in page
    assert "images" not in page


@pytest.mark.parametrize("columns", [20, 40, 200])
def test_help_fits_narrow_terminals(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in ("usernetes_deploy.console.program", "invoke.program"):
        monkeypatch.setattr(f"{module}.pty_size", lambda: (columns, 24))
    for words in (["--help"], ["--help", "up"], ["bundle"]):
        assert usernetes(*words) == 0
    page = capsys.readouterr().out
    assert "--min-nodes=STRING" in page
    assert "bundle build" in page


def test_the_short_form_of_help_is_no_flag(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in sorted(COLLECTION.task_names):
        assert usernetes("--help", *verb.split(".")) == 0
    assert "  -h " not in capsys.readouterr().out


def test_hosts_may_be_set_as_a_list() -> None:
    assert up.spec_from(SpecFlags(set=["hosts=[a, b]"])).hosts == ("a", "b")


def test_a_missing_bundle_says_how_to_make_one(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    assert usernetes("up") == 1
    assert "usernetes bundle build" in capsys.readouterr().err
    assert not (home / ".local").exists()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NodeFailures({"a": HostNotFit([("no tun", "")]), "b": OSError("x")}), 3),
        (TimedOut("not Ready"), 4),
        (KeyboardInterrupt(), 130),
        (BrokenPipeError(), 1),
    ],
)
def test_each_kind_of_failure_has_its_exit_code(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(spec, "describe", fail)
    if isinstance(error, BrokenPipeError):  # stdout is closed for good then: not that of the tests
        monkeypatch.setattr(os, "dup2", lambda *_: None)
    assert usernetes("spec") == code
    assert "Traceback" not in capfd.readouterr().err


def hit(number: signal.Signals) -> str:
    """Stands for a verb that is signalled while it works."""
    signal.raise_signal(number)
    return ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_term_and_a_lost_terminal_end_a_verb_as_ctrl_c_does(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.signal(number, signal.SIG_DFL)  # nohup, in front of the tests, leaves SIGHUP ignored
    try:
        monkeypatch.setattr(spec, "describe", partial(hit, number))
        assert usernetes("spec") == 130
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)


def test_a_hangup_that_is_ignored_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        monkeypatch.setattr(spec, "describe", partial(hit, signal.SIGHUP))
        assert usernetes("spec") == 0
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    ("redirection", "code", "said"),
    [("| true", 0, ""), (">/dev/full", 1, "usernetes: [Errno 28] No space left on device\n"), (">&-", 0, "")],
    ids=["reader gone", "disk full", "closed"],
)
def test_an_output_that_takes_nothing_is_no_traceback(home: Path, redirection: str, code: int, said: str) -> None:
    wait = "sleep 0.05; " if redirection.startswith("|") else ""
    script = f"{{ {wait}{sys.executable} -m usernetes_deploy.cli spec; }} {redirection}"
    done = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, check=False, env={"HOME": str(home)}, cwd=Path.cwd()
    )
    assert (done.returncode, done.stderr) == (code, said)


def test_results_go_to_stdout_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert usernetes("list", "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == []
    assert err == ""
    assert usernetes("version", "--json") == 0
    assert json.loads(capsys.readouterr().out)["bundle"] is None


def test_down_of_what_is_not_there_is_fine(capsys: pytest.CaptureFixture[str]) -> None:
    assert usernetes("down", "--cluster", "gone") == 0
    assert "nothing to do" in capsys.readouterr().err
    assert usernetes("down") == 0
    assert "there is no cluster; nothing to do" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "ours", "theirs"),
    [
        (["kubectl", "get", "nodes"], ["kubectl"], ["get", "nodes"]),
        (["kubectl", "--cluster", "a", "get", "-o", "wide"], ["kubectl", "--cluster", "a"], ["get", "-o", "wide"]),
        (["kubectl", "--cluster=a", "get", "--cluster", "b"], ["kubectl", "--cluster=a"], ["get", "--cluster", "b"]),
        (["kubectl", "-c", "a", "--", "--help"], ["kubectl", "-c", "a"], ["--help"]),
        (["kubectl", "-n", "x", "get", "pods"], ["kubectl"], ["-n", "x", "get", "pods"]),
        (["kubectl", "exec", "p", "--", "ls", "-l"], ["kubectl"], ["exec", "p", "--", "ls", "-l"]),
        (["run", "-n", "node1", "--socks", "--", "ls", "-n"], ["run", "-n", "node1", "--socks"], ["ls", "-n"]),
        (["job", "-g", "5", "--quiet", "./work", "-f"], ["job", "-g", "5", "--quiet"], ["./work", "-f"]),
        (["bundle", "build"], ["bundle.build"], []),
        (["images", "load", "kubectl"], ["images.load", "kubectl"], []),
        (["status", "--json"], ["status", "--json"], []),
        ([], [], []),
    ],
)
def test_words_of_another_program_are_handed_on_as_they_are(
    words: list[str], ours: list[str], theirs: list[str]
) -> None:
    assert cli.pass_on(["usernetes", *words]) == (["usernetes", *ours], theirs)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_is_printed_for_each_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert usernetes("--print-completion-script", shell) == 0
    script = capsys.readouterr().out
    assert "usernetes" in script
    if shell == "bash":
        done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_the_spec_that_is_printed_is_taken_back(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert usernetes("spec") == 0
    (home / "c.yaml").write_text(capsys.readouterr().out)
    flags = SpecFlags(str(home / "c.yaml"), "demo", nodes="3", set=["network.mtu=1400", "metrics=true"])
    loaded = up.spec_from(flags)
    assert (loaded.name, loaded.nodes, loaded.network.mtu, loaded.metrics) == ("demo", 3, 1400, True)


def test_nothing_is_made_that_anybody_else_may_write() -> None:
    code = "import os, usernetes_deploy.cli as cli; os.umask(0); cli.run = lambda _: os.umask(0); cli.main([])"
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=Path.cwd())
    assert done.returncode == 0o022
