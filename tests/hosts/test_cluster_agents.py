"""`usernetes mcp` on a real cluster, asked by the SDK's own client over stdio."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
from mcp import Client, StdioServerParameters

from tests.hosts.clusters import BUSYBOX, Cluster

pytestmark = pytest.mark.cluster
PASSWORD = "hunter2-of-the-test"
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "agents-stuck", "namespace": "default"},
    "spec": {
        "nodeSelector": {"no-such": "label"},
        "containers": [{"name": "a", "image": BUSYBOX, "command": ["true"]}],
    },
}
SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "agents-secret", "namespace": "default"},
    "stringData": {"password": PASSWORD},
}


def as_agent(cluster: Cluster, body: Callable[[Client], Awaitable[None]]) -> None:
    """Run `body` with a client of a server that may read this cluster."""
    argv = cluster.account.argv("mcp", "--cluster", cluster.name)

    async def run() -> None:
        async with Client(StdioServerParameters(command=argv[0], args=argv[1:], cwd="/")) as client:
            await body(client)

    asyncio.run(asyncio.wait_for(run(), 120))


def keys_of_agents(cluster: Cluster) -> list[str]:
    """The kubeconfigs of the grants that servers for agents made."""
    found = json.loads(cluster.usernetes("grants", "--json").stdout)
    return [one["kubeconfig"] for one in found if one["name"].startswith("mcp-")]


def test_an_agent_reads_and_is_told_why_a_pod_waits(cluster: Cluster) -> None:
    cluster.apply(POD, SECRET)

    async def body(client: Client) -> None:
        tools = (await client.list_tools()).tools
        assert 0 < len(tools) < 25
        assert all(tool.annotations and tool.annotations.read_only_hint and tool.output_schema for tool in tools)
        listed = await client.call_tool("clusters_list", {})
        assert listed.structured_content == {"clusters": [cluster.name]}
        status = await client.call_tool("cluster_status", {})
        assert status.structured_content and status.structured_content["cluster"] == cluster.name
        pods = await client.call_tool("kubernetes_get", {"kind": "pods", "namespace": "default"})
        assert pods.structured_content and "outside" in pods.structured_content["source"]
        assert "agents-stuck" in pods.structured_content["text"]
        for _ in range(20):
            why = await client.call_tool("explain_pod", {"namespace": "default", "pod": "agents-stuck"})
            assert why.structured_content
            if "Unschedulable" in why.structured_content["text"]:
                break
            await asyncio.sleep(0.5)
        assert "Unschedulable" in why.structured_content["text"]

    try:
        as_agent(cluster, body)
    finally:
        cluster.kubectl("delete", "pod/agents-stuck", "secret/agents-secret", "--wait=false")
    assert not keys_of_agents(cluster), "the grant is taken back"


def test_what_an_agent_must_not_have_is_refused(cluster: Cluster) -> None:
    cluster.apply(SECRET)

    async def body(client: Client) -> None:
        for tool, arguments in (
            ("kubernetes_get", {"kind": "secrets"}),
            ("kubernetes_get", {"kind": "pods,secrets"}),
            ("kubernetes_get", {"kind": "pods", "namespace": "default", "name": "--raw=/api/v1/secrets"}),
            ("kubernetes_logs", {"namespace": "--kubeconfig=/x", "pod": "a"}),
            ("kubernetes_events", {"name": "a,involvedObject.kind=Secret"}),
            ("kubernetes_get", {"kind": "pods", "cursor": -1}),
            ("cluster_status", {"cluster": "another"}),
            ("cluster_status", {"cluster": "../" + cluster.name}),
        ):
            answer = await client.call_tool(tool, arguments)
            assert answer.is_error, (tool, arguments)
            assert PASSWORD not in str(answer)
        keys = keys_of_agents(cluster)
        assert keys, "the server asks by a grant of its own"
        kubectl = str(cluster.account.bundle / "bin" / "kubectl")
        for words in ("get secrets", "get configmaps", "delete pod x", "create namespace x", "get roles"):
            done = cluster.account.sh(f"{kubectl} --kubeconfig={keys[0]} {words} -n default")
            assert "orbidden" in done.stderr, (words, done)

    try:
        as_agent(cluster, body)
    finally:
        cluster.kubectl("delete", "secret/agents-secret")
