"""A session lives as long as its workflow, hears of its end in time, and leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cluster.made_up import member, recorded
from tests.unit.launch.flux.flux_fake import FakeFlux, make_fake_flux, recorded_job
from usernetes_deploy.cluster.state import ClusterState
from usernetes_deploy.errors import UsageError, UsernetesError
from usernetes_deploy.jobs.ending import Signals, TimeLimit, end_pods
from usernetes_deploy.jobs.losses import Caretaker
from usernetes_deploy.jobs.session import Session
from usernetes_deploy.launch.flux.system import FluxSystem


@pytest.fixture
def fake(tmp_path: Path) -> FakeFlux:
    """A `flux` command inside a job."""
    made = make_fake_flux(tmp_path / "bin")
    made.answer("getattr", "parent-uri", stdout="local:///parent\n")
    made.answer("getattr", "jobid", stdout="ƒ2EqTrdbu\n")
    made.answer("job", "id", stdout="2734686208000\n")
    made.answer("job", "namespace", stdout="job-2734686208000\n")
    made.answer("job", "timeleft", stdout="infinity\n")
    made.answer("overlay", "status", stdout="full\n")
    made.answer("jobs", "--json", stdout=json.dumps(recorded_job("job-running")))
    for quiet in (("kvs", "put"), ("kvs", "unlink"), ("job", "memo")):
        made.answer(*quiet)
    return made


@dataclass
class World:
    """A session whose cluster is a state directory and nothing else."""

    fake: FakeFlux
    root: Path
    told: list[str] = field(default_factory=list)
    kept: list[Path | None] = field(default_factory=list)
    fails: bool = False

    def session(self, **options: Any) -> Session:
        """The session, for a cluster named ``c``."""
        state = ClusterState(self.root / "state", "c")
        system = FluxSystem(self.fake.instance())
        job = system.own_job()
        assert job

        def up() -> Path:
            if self.fails:
                raise UsernetesError("the bring-up failed")
            state.create()
            whole = recorded([member(0)]).document()
            state.write({**whole, "name": "c", "members": [], "launcher": {"launcher": "flux"}})
            return self.root / "kubeconfig"

        def down(keep: Path | None) -> None:
            self.kept.append(keep)
            state.remove()

        return Session(system, job, state, up, down, self.told.append, **options)

    def memos(self) -> list[str]:
        """What the job said of itself."""
        return [call["argv"][3] for call in self.fake.calls() if call["argv"][:2] == ["job", "memo"]]


@pytest.fixture
def world(fake: FakeFlux, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Where sessions are made; they look ten times a second."""
    monkeypatch.setattr("usernetes_deploy.jobs.session.LOOK_SECONDS", 0.1)
    return World(fake, tmp_path)


def when_ready(world: World, call: Callable[[], object]) -> threading.Thread:
    """Call `call` a moment after the session has said that its cluster is ready."""

    def wait() -> None:
        ends = time.monotonic() + 20
        while not any("is ready" in line for line in world.told) and time.monotonic() < ends:
            time.sleep(0.02)
        time.sleep(0.2)
        call()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)])
def test_the_exit_code_is_the_workflows(world: World, script: str, code: int) -> None:
    assert world.session().run(["sh", "-c", script]) == code
    assert world.kept == [None]
    assert world.memos() == ["usernetes=starting", "usernetes=ready"]
    assert world.fake.called_with("kvs", "unlink")


def test_the_workflow_has_its_cluster_at_hand(world: World, tmp_path: Path) -> None:
    said = tmp_path / "said"
    script = f'echo "$KUBECONFIG|$USERNETES_CLUSTER|${{PATH%%:*}}" >{said}'
    world.session(path="/bundle/bin").run(["sh", "-c", script])
    assert said.read_text() == f"{tmp_path}/kubeconfig|c|/bundle/bin\n"


def test_what_the_workflow_leaves_in_the_background_is_ended(world: World, tmp_path: Path) -> None:
    said = tmp_path / "pid"
    world.session().run(["sh", "-c", f"sleep 60 & echo $! >{said}"])
    time.sleep(0.2)
    stat = Path(f"/proc/{int(said.read_text())}/stat")
    assert not stat.exists() or stat.read_text().split()[2] == "Z"


def test_a_workflow_that_is_not_there_is_a_wrong_call_and_the_cluster_is_taken_down(world: World) -> None:
    with pytest.raises(UsageError, match="No such file"):
        world.session().run(["./no-such-workflow"])
    assert world.kept == [None]
    assert world.memos()[-1] == "usernetes=failed"


def test_a_failed_bring_up_is_announced(world: World) -> None:
    world.fails = True
    with pytest.raises(UsernetesError, match="the bring-up failed"):
        world.session().run()
    assert world.memos() == ["usernetes=starting", "usernetes=failed"]


def test_a_session_without_a_workflow_lasts_until_it_is_asked_to_end(world: World) -> None:
    thread = when_ready(world, lambda: os.kill(os.getpid(), signal.SIGUSR1))
    session = world.session(logs=world.root / "logs")
    assert session.run() == 0
    thread.join()
    assert world.memos()[-1] == "usernetes=ending"
    assert world.kept == [world.root / "logs"]


def test_a_word_that_the_batch_system_does_not_take_keeps_no_cluster_from_ending(world: World) -> None:
    def end() -> None:
        world.fake.answer("job", "memo", stderr="update not available right now\n", code=1)
        os.kill(os.getpid(), signal.SIGUSR1)

    thread = when_ready(world, end)
    assert world.session(logs=world.root / "logs").run() == 0
    thread.join()
    assert world.kept == [world.root / "logs"]
    assert world.fake.called_with("kvs", "unlink")


def test_a_session_whose_cluster_was_taken_down_ends(world: World) -> None:
    session = world.session()
    thread = when_ready(world, session.state.remove)
    assert session.run() == 0
    thread.join()
    assert "the cluster was taken down" in world.told


def test_a_workflow_is_told_of_the_end_and_has_time(world: World) -> None:
    thread = when_ready(world, lambda: os.kill(os.getpid(), signal.SIGUSR1))
    code = world.session().run(["sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.1; done"])
    thread.join()
    assert code == 3


def test_a_workflow_that_does_not_listen_is_ended(world: World) -> None:
    thread = when_ready(world, lambda: os.kill(os.getpid(), signal.SIGUSR1))
    code = world.session(grace=0.3).run(["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"])
    thread.join()
    assert code == 128 + signal.SIGKILL


class Care(Caretaker):
    """Takes `seconds` over a node that is lost, as an `add` may."""

    seconds = 0.0

    def notices(self) -> bool:
        return not self.state.read().get("losses")

    def act(self) -> None:
        self.tell("at work")
        time.sleep(self.seconds)
        self.state.write({**self.state.read(), "losses": ["a loss"]})

    def drop(self) -> None:
        self.tell("dropped")


def care(session: Session) -> Care:
    session.caretaker = Care(session.state, lambda _: {}, lambda _: None, None, session.tell)
    return session.caretaker


def test_what_was_done_about_a_lost_node_is_published(world: World, fake: FakeFlux) -> None:
    session = world.session()
    care(session)
    watched = f"{session.state.directory}/cluster.json"
    assert session.run(["sh", "-c", f"until grep -q 'a loss' {watched}; do sleep 0.1; done; sleep 0.5"]) == 0
    assert world.told.count("at work") == 1
    assert world.told[-1] == "dropped"
    assert any("a loss" in call.get("stdin", "") for call in fake.calls() if call["argv"][:2] == ["kvs", "put"])


def test_seeing_to_a_lost_node_is_broken_off_when_the_job_is_to_end(world: World) -> None:
    session = world.session()
    care(session).seconds = 30.0
    thread = when_ready(world, lambda: os.kill(os.getpid(), signal.SIGUSR1))
    began = time.monotonic()
    assert session.run() == 0
    thread.join()
    assert time.monotonic() - began < 15
    assert "seeing to lost nodes was broken off: the job ends" in world.told
    assert world.memos()[-1] == "usernetes=ending"


def test_seeing_to_a_lost_node_is_broken_off_at_the_notice_before_the_time_limit() -> None:
    signals = Signals(lambda: None)
    with signals.heard():
        with pytest.raises(KeyboardInterrupt), signals.interrupting(0.1):
            time.sleep(5)
        assert signals.ending.is_set()
        with pytest.raises(KeyboardInterrupt), signals.interrupting(float("inf")):
            pytest.fail("the end that was announced before was not heard")


def test_signals_are_given_back(world: World) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    world.session().run(["true"])
    assert signal.getsignal(signal.SIGUSR1) is before


def test_a_cancelled_session_forgets_its_cluster_and_leaves_at_once(world: World) -> None:
    session = world.session()
    child = os.fork()
    if child == 0:
        session.run()
        os._exit(0)
    ends = time.monotonic() + 10
    while not (session.state.directory / "session.json").exists():
        assert time.monotonic() < ends
        time.sleep(0.05)
    began = time.monotonic()
    os.kill(child, signal.SIGHUP)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGTERM
    assert time.monotonic() - began < 3
    assert not session.state.exists()
    assert world.fake.called_with("kvs", "unlink")


@pytest.mark.parametrize(
    ("left", "near"), [("infinity\n", False), ("3600\n", False), ("0.1\n", False), ("not a number\n", False)]
)
def test_the_time_limit_is_not_near_at_the_beginning(world: World, fake: FakeFlux, left: str, near: bool) -> None:
    fake.answer("job", "timeleft", stdout=left)
    assert TimeLimit(world.session().system.time_left, 60).near() is near


def test_the_time_limit_nears(world: World, fake: FakeFlux) -> None:
    fake.answer("job", "timeleft", stdout="1.0\n")
    limit = TimeLimit(world.session().system.time_left, 60)
    fake.answer("job", "timeleft", stdout="0.4\n")
    ends = time.monotonic() + 5
    while not limit.near():
        assert time.monotonic() < ends
        time.sleep(0.05)


class PodApi:
    """An API with pods that end a moment after they were deleted."""

    def __init__(self, stubborn: bool = False) -> None:
        self.asked: list[tuple[str, str]] = []
        self.stubborn = stubborn
        self.deleted = False
        self.closed = False

    def get(self, path: str) -> Any:
        if path == "/api/v1/nodes":
            return {"items": [{"metadata": {"name": "fl0"}}]}
        pods = [
            pod("kube-system", "dns", "fl0"),
            pod("default", "pending", None),
            pod("default", "done", "fl0", "Succeeded"),
        ]
        if self.stubborn or not self.deleted:
            pods.append(pod("default", "web", "fl0"))
        return {"items": pods}

    def request(self, method: str, path: str, body: Any = None, kind: str = "") -> Any:
        self.asked.append((method, path))
        self.deleted |= method == "DELETE"

    def close(self) -> None:
        self.closed = True


def pod(namespace: str, name: str, node: str | None, phase: str = "Running") -> dict[str, Any]:
    spec = {"nodeName": node} if node else {}
    return {"metadata": {"namespace": namespace, "name": name}, "spec": spec, "status": {"phase": phase}}


def test_pods_end_and_none_comes_again() -> None:
    api = PodApi()
    assert end_pods(api, 5) == []  # type: ignore[arg-type]
    assert api.asked == [("PATCH", "/api/v1/nodes/fl0"), ("DELETE", "/api/v1/namespaces/default/pods")]
    assert api.closed


def test_pods_that_do_not_end_are_named() -> None:
    assert end_pods(PodApi(stubborn=True), 0.3) == ["default/web"]  # type: ignore[arg-type]
