"""Judge the answers of the probe, all of them, and decide where each node goes."""

from __future__ import annotations

from pathlib import Path

from usernetes_deploy import facts
from usernetes_deploy.changes.context import BringUp
from usernetes_deploy.cluster.membership import Place, State
from usernetes_deploy.errors import HostNotFit
from usernetes_deploy.facts import HostFacts, Problem
from usernetes_deploy.launch.base import Host
from usernetes_deploy.network import backend_named
from usernetes_deploy.paths import base_in
from usernetes_deploy.phases.probe_nodes import fixed_mesh_port, let_go, need, need_of


class CheckNodes:
    """Raises `NodeFailures` with every problem of every host; warnings are reported and let pass."""

    title = "check the hosts"

    def check(self, up: BringUp) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def apply(self, up: BringUp) -> str:
        """Place the members whose hosts are fit."""
        together = facts.judge_together(up.facts)
        failures: dict[str, BaseException] = {}
        warnings: dict[str, dict[str, str]] = {}
        for host in up.hosts:
            if host.name not in up.facts:
                continue
            answers = up.facts[host.name]
            found = [*judge(up, host, answers), *together.get(host.name, [])]
            bad = [problem for problem in found if problem.severity == "problem"]
            for problem in found:
                if problem.severity == "warning":
                    warnings.setdefault(problem.what, {})[host.name] = problem.remedy
            if bad:
                failures[host.name] = HostNotFit([(item.what, item.remedy) for item in bad], node=host.name)
            else:
                up.members.move(host.name, State.PLACED, place=place(up, host, answers))
        let_go(up, failures)
        for what, remedies in warnings.items():
            names = ", ".join(remedies) if len(remedies) < 4 else f"{len(remedies)} hosts"
            remedy = next(iter(remedies.values()))
            fix = f"; fix: {remedy}" if remedy and set(remedies.values()) == {remedy} else ""
            up.report.line(f"  warning: {what} ({names}){fix}")
        fit = up.newcomers
        return f"{len(fit)} fit, over {fit[0].at.interface}"

    def undo(self, up: BringUp) -> None:
        """Nothing was changed."""


def judge(up: BringUp, host: Host, answers: HostFacts) -> list[Problem]:
    """What a host lacks; of the ports drawn, one free one of a kind is enough."""
    node = "" if up.launcher.shares_host else host.name  # for remedies: another machine has to be named
    found = [item for item in facts.judge(answers, need_of(up), node=node) if item.fact != "ports"]
    link, least = facts.choose_interface(answers, need(up.spec)), backend_named(up.spec.network.backend).least_mtu
    if not up.launcher.shares_host and not isinstance(link, str) and link.mtu < least:
        found.append(
            Problem(
                f"interface {link.interface} has MTU {link.mtu}, the {up.spec.network.backend} needs {least} or more",
                "choose another interface with --interface, or raise its MTU",
                "interfaces",
            )
        )
    for kind in ("udp", "tcp") if host.name == up.control_plane else ("udp",):
        if not free_port(up, host, answers, kind):
            wanted = up.spec.mesh_port if kind == "udp" else up.spec.api_port
            found.append(
                Problem(
                    f"{kind.upper()} port {wanted} is in use" if wanted else f"no free {kind.upper()} port was found",
                    f"choose another {'meshPort' if kind == 'udp' else 'apiPort'}, or leave it to be found",
                    "ports",
                )
            )
    return found


def free_port(up: BringUp, host: Host, answers: HostFacts, kind: str) -> int | None:
    """The first port of `kind` that this host could bind, among those that are this node's."""
    fixed = up.spec.api_port if kind == "tcp" else up.spec.mesh_port if fixed_mesh_port(up) else None
    wanted = [fixed] if fixed else list(up.found.ports[host.name])
    free = {entry.name for entry in answers.ports.ports if not entry.error}
    return next((port for port in wanted if f"{kind}/{port}" in free), None)


def place(up: BringUp, host: Host, answers: HostFacts) -> Place:
    """Where the node of `host` goes, of answers that were judged fit."""
    spec = up.spec
    index = up.members[host.name].index
    disk = facts.choose_node_dir(answers, need(spec))
    link = facts.choose_interface(answers, need(spec))
    base = base_in(Path(disk.path), answers.user.uid)
    local = up.launcher.shares_host
    mesh_port = free_port(up, host, answers, "udp")
    if isinstance(link, str) or mesh_port is None:
        raise HostNotFit([(str(link), "")], node=host.name)  # judged before; kept for whoever calls this alone
    outer = spec.network.outer if spec.network.outer != "auto" else answers.outer.usable()[0]
    return Place(
        address=link.address,
        interface="lo" if local else link.interface,
        why="all nodes are on this host" if local else link.why,
        mtu=65535 if local else link.mtu,
        base=base,
        node_dir=base / f"{up.record.id}-{index}",
        outer=outer,
        cgroups="delegated" if answers.cgroups.via else "none",
        manager=answers.cgroups.manager if answers.cgroups.via == "systemd user" else "",
        nameservers=tuple(spec.network.nameservers or answers.resolver.best_first()),
        mesh_port=mesh_port,
        api_port=free_port(up, host, answers, "tcp") if index == 0 else None,
    )
