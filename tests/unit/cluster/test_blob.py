"""A node's blob: each group of fields comes from where it is known, and the first node has more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.unit.cluster.made_up import member, plan
from usernetes_deploy.cluster.blob import Software, first_objects, node_config
from usernetes_deploy.cluster.identities import Credentials
from usernetes_deploy.cluster.spec import ClusterSpec, load
from usernetes_deploy.node.config import NodeConfig

FILES = {f"node{index}": {"/etc/kubernetes/pki/ca.crt": f"of node{index}"} for index in range(3)}


def blobs(spec: ClusterSpec | None = None, **fields: Any) -> list[NodeConfig]:
    """Those of three nodes."""
    spec = spec or ClusterSpec()
    members = [member(index, **fields) for index in range(3)]
    network = plan(members, spec)
    return [
        node_config(
            one,
            network,
            Credentials(FILES, "the authority"),
            spec,
            cluster_id="abcd",
            software=Software(Path(f"/bundle/{one.name}"), "localhost/busybox:1"),
            objects=[{"kind": "Namespace"}],
        )
        for one in members
    ]


def test_who_and_where_the_node_is_comes_from_the_member() -> None:
    second = blobs(labels={"rack": "r1"})[1]
    assert (second.name, second.number, second.control_plane) == ("node1", 1, False)
    assert (second.node_dir, second.host_address) == ("/var/tmp/usernetes-1/ab-1", "192.0.2.3")
    assert (second.interface, second.outer, second.nameservers) == ("eth0", "slirp4netns", ["192.0.2.53"])
    assert second.labels == {"usernetes.dev/cluster": "default", "rack": "r1"}


def test_its_addresses_and_peers_come_from_the_plan() -> None:
    first, second, third = blobs()
    assert [blob.node_ip for blob in (first, second, third)] == ["10.64.0.1", "10.64.0.2", "10.64.0.3"]
    assert (second.pod_cidr, second.api_url) == ("10.244.1.0/24", "https://10.64.0.1:6443")
    assert (second.api_outside, second.api_port) == ("https://192.0.2.2:20002", 20002)
    assert second.publishes
    assert len(second.network["peers"]) == 2
    assert len({blob.network["privateKey"] for blob in (first, second, third)}) == 3


def test_its_files_are_its_own_and_the_control_planes_are_the_first_nodes() -> None:
    first, second, _ = blobs()
    assert second.files == FILES["node1"]
    assert {"/run/usernetes/helper-image", "/run/usernetes/local-path.json"} <= set(first.files)
    assert (first.manifests, second.manifests) == ([{"kind": "Namespace"}], [])


def test_what_the_user_asked_for_comes_from_the_spec() -> None:
    spec = load(
        {
            "name": "demo",
            "durability": "memory",
            "systemCpus": "0-1",
            "devices": [{"name": "gpu", "paths": ["/dev/null"], "count": 2}],
            "network": {"dnsDomain": "site.local"},
        }
    )
    blob = blobs(spec, cgroups="delegated")[2]
    assert (blob.cluster, blob.durability, blob.system_cpus) == ("demo", "memory", "0-1")
    assert (blob.cgroups, blob.dns_domain, blob.bundle) == ("delegated", "site.local", "/bundle/node2")
    assert blob.devices == [{"name": "gpu", "paths": ["/dev/null"], "count": 2}]


def test_it_can_be_read_back() -> None:
    blob = blobs()[0]
    assert NodeConfig.from_json(blob.to_json()) == blob


def test_a_new_cluster_begins_with_its_own_objects_and_those_of_its_network() -> None:
    members = [member(index) for index in range(2)]
    found = first_objects(ClusterSpec(), plan(members), "PEM", "localhost/busybox:1", counted=False)
    hosts = next(item for item in found if item["metadata"]["name"] == "usernetes-hosts")
    assert hosts["data"] == {"node0": "192.0.2.2", "node1": "192.0.2.3"}
    assert found[0]["kind"] == "ClusterRoleBinding"


def test_what_containerd_is_told_of_registries_is_among_every_nodes_files() -> None:
    found = blobs(load({"registries": [{"name": "r.example", "url": "http://10.0.0.5:5000"}]}))
    assert [blob.files["/run/usernetes/registries/r.example/hosts.toml"] for blob in found] == [
        'server = "http://10.0.0.5:5000"\n'
    ] * 3
