"""RENEW: every certificate of a running cluster is issued anew, by the same authorities; pods run on.

The authorities last for ten years, what they issue for one. Nodes get their files over the launcher, into memory, and
start again what reads them; containerd and the pods are left alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from usernetes_deploy.changes.phase import Report
from usernetes_deploy.cluster import administrator
from usernetes_deploy.cluster.addressing import networks_of
from usernetes_deploy.cluster.identities import Identities
from usernetes_deploy.cluster.launchers import launcher_from_state
from usernetes_deploy.cluster.record import Record
from usernetes_deploy.cluster.spec import ClusterSpec, load
from usernetes_deploy.cluster.state import ClusterState
from usernetes_deploy.launch.base import Host, on_all
from usernetes_deploy.phases.issue_credentials import ends, issue
from usernetes_deploy.waiting import retry

RENEW_SECONDS = 60.0


def renew(state: ClusterState, report: Report, program: Path, *, revoke_all: bool = False) -> list[str]:
    """Issue all certificates anew and hand them to the nodes; returns the names of the nodes that have theirs.

    With `revoke_all` the authorities are new as well: whatever was issued before, tokens too, is refused from then on.

    `program` is the node program on this machine. Raises `NodeFailures` for nodes that did not take them: they go on
    with the old ones (cut off from the others after `revoke_all`), and another `renew` tries again.
    """
    with state.locked():
        record = state.record()
        spec = load(record.spec, "the record")
        identities = Identities.from_secret(state.read_secret("secrets.json"))
        if revoke_all:
            identities = identities.replaced()
            state.write_secret("secrets.json", identities.to_secret())  # first: a `renew` after a failure goes on
        files = files_of(identities, record, spec)
        members = {member.name: member for member in record.members.running()}
        launcher = launcher_from_state(record.launcher, program)

        def hand_over(host: Host) -> None:
            argv = [*launcher.node_program(host), "renew", members[host.name].directory]
            blob = json.dumps({"files": files[host.name]}).encode()
            launcher.run(host, argv, stdin=blob, timeout=RENEW_SECONDS).check(host.name)

        try:
            outcome = on_all((member.host for member in members.values()), hand_over, deadline=RENEW_SECONDS + 10)
        finally:
            launcher.close()
        for name in outcome.results:
            record.members.update(name, certificates_end=ends(files[name]))
        state.write(record.document())  # a node that did not take them is warned of by `status`, in its time
        if record.members.first.name in outcome.results:  # the API shows the certificates of the first node
            administrator.write(state)
            if revoke_all:
                _wait_for_api(state, spec.wait_seconds)
        report.line(f"{len(outcome.results)} of {len(members)} nodes have new certificates; {state.kubeconfig} is new")
        outcome.check("hand over new certificates")
        return list(outcome.results)


def _wait_for_api(state: ClusterState, seconds: float) -> None:
    """Wait until the API, which starts again, takes the new kubeconfig."""
    api = state.api()
    try:
        retry(lambda: api.get("/readyz"), seconds, pause=0.2, longest=2.0)
    finally:
        api.close()


def files_of(identities: Identities, record: Record, spec: ClusterSpec) -> Mapping[str, Mapping[str, str]]:
    """The files of every running node, by node name: those of its start, with new certificates."""
    return issue(identities, record.members.running(), networks_of(spec), spec).files
