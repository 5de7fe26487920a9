"""The spec: what is wrong with it is said at once, each with its path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from usernetes_deploy.cluster import spec
from usernetes_deploy.errors import SpecError, UsageError


def problems(document: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(SpecError) as caught:
        spec.load(document)
    assert caught.value.exit_code == 2
    return dict(caught.value.problems)


def test_an_empty_spec_is_one_local_node() -> None:
    loaded = spec.load(None)
    assert (loaded.name, loaded.nodes, loaded.launcher, loaded.durability) == ("default", 1, "local", "disk")


@pytest.mark.parametrize(
    ("document", "path", "words"),
    [
        ({"nodez": 3}, "nodez", "unknown field; the fields here are name, nodes"),
        ({"network": {"mut": 1400}}, "network.mut", "unknown field"),
        ({"nodes": "3"}, "nodes", "expected a whole number, got '3'"),
        ({"nodes": True}, "nodes", "expected a whole number, got True"),
        ({"nodes": 1.5}, "nodes", "expected a whole number, got 1.5"),
        ({"nodes": 0}, "nodes", "expected a whole number from 1 to 4096, got 0"),
        ({"nodes": -1}, "nodes", "got -1"),
        ({"nodes": 4097}, "nodes", "got 4097"),
        ({"name": "Demo"}, "name", "expected lower-case letters, digits and dashes"),
        ({"name": "../x"}, "name", "got '../x'"),
        ({"name": "a" * 41}, "name", "at most 40"),
        ({"name": "demo\n"}, "name", "got 'demo\\n'"),
        ({"name": ""}, "name", "got ''"),
        ({"launcher": "pbs"}, "launcher", "expected one of local, flux, slurm, ssh, got 'pbs'"),
        ({"launcher": "ssh"}, "hosts", "needs at least one host"),
        ({"minNodes": 2}, "minNodes", "expected 1 to 1 (nodes), got 2"),
        ({"network": 3}, "network", "expected a mapping of fields, got 3"),
        ({"network": {"mtu": 100}}, "network.mtu", "expected 576 to 65520 bytes, got 100"),
        ({"network": {"podCIDR": "10.64.0.0/16"}}, "network.podCIDR", "overlaps network.nodeCIDR 10.64.0.0/16"),
        ({"network": {"serviceCIDR": "10.244.7.0/24"}}, "network.serviceCIDR", "overlaps network.podCIDR"),
        ({"network": {"podCIDR": "10.244.0.1/16"}}, "network.podCIDR", "has host bits set"),
        ({"network": {"podCIDR": "pods"}}, "network.podCIDR", "expected an IPv4 network"),
        ({"nodes": 300}, "network.podCIDR", "too small for 300 nodes"),
        ({"network": {"nameservers": ["dns.example"]}}, "network.nameservers[0]", "expected an IPv4 address"),
        ({"network": {"nameservers": "10.0.0.1"}}, "network.nameservers", "expected a list"),
        ({"apiPort": 0}, "apiPort", "expected a port from 1 to 65535, got 0"),
        ({"meshPort": 70000}, "meshPort", "got 70000"),
        ({"waitSeconds": 0}, "waitSeconds", "expected seconds > 0"),
        ({"systemCpus": "1-0"}, "systemCpus", "expected CPUs as in 0-1,8"),
        ({"devices": [{"name": "ib"}]}, "devices[0].paths", "at least one glob"),
        ({"devices": [{"name": "I B", "paths": ["/dev/x"]}]}, "devices[0].name", "expected a resource name"),
        ({"devices": [{"nam": "ib"}]}, "devices[0].nam", "unknown field"),
        ({"registries": [{"name": "a/b"}]}, "registries[0].name", "expected a host or host:port, got 'a/b'"),
        ({"registries": [{"name": "a", "url": "a:5000"}]}, "registries[0].url", "expected http://"),
        ({"registries": [{"name": "a", "mirrors": ["ftp://a"]}]}, "registries[0].mirrors[0]", "expected http://"),
        (
            {"registries": [{"name": "a", "url": "https://u:p@a"}]},
            "registries[0].url",
            "name a file with `credentials`",
        ),
        ({"registries": [{"name": "a"}, {"name": "a"}]}, "registries[1].name", "a is there twice"),
        ({"registries": [{"name": "a", "ca": "ca.pem"}]}, "registries[0].ca", "expected an absolute path"),
        ({"registries": [{"name": "a", "credentials": "b"}]}, "registries[0].credentials", "expected an absolute path"),
        ({"apiVersion": "v1"}, "apiVersion", "expected usernetes.dev/v1alpha1, got 'v1'"),
        ({"kind": "Pod"}, "kind", "expected Cluster, got 'Pod'"),
    ],
)
def test_a_bad_field_is_named_with_its_path_and_what_was_given(document: dict[str, Any], path: str, words: str) -> None:
    found = problems(document)
    assert path in found, found
    assert words in found[path]


def test_a_number_where_text_is_meant_is_that_text() -> None:
    assert spec.load({"systemCpus": 0}).system_cpus == "0"


def test_all_problems_are_listed_at_once() -> None:
    found = problems({"nodes": 0, "name": "X", "colour": 1, "network": {"mtu": "big", "podCIDR": "10.96.0.0/12"}})
    assert set(found) == {"nodes", "name", "colour", "network.mtu", "network.serviceCIDR"}
    with pytest.raises(SpecError, match="5 problems"):
        spec.load({"nodes": 0, "name": "X", "colour": 1, "network": {"mtu": "big", "podCIDR": "10.96.0.0/12"}})


def test_what_is_dumped_loads_to_the_same_spec() -> None:
    asked = {
        "name": "big",
        "nodes": 7,
        "launcher": "ssh",
        "hosts": ["n[0-6]"],
        "network": {"mtu": 1400, "nameservers": ["10.0.0.1"]},
        "devices": [{"name": "gpu", "paths": ["/dev/gpu*"], "count": 2}],
        "registries": [{"name": "r:5000", "url": "http://r:5000", "mirrors": ["https://m"], "credentials": "docker"}],
        "storage": {"shared": "/scratch"},
    }
    loaded = spec.load(asked)
    assert spec.load(spec.dump(loaded)) == loaded


def test_the_printed_default_loads_to_the_default() -> None:
    text = spec.describe()
    assert spec.load(yaml.safe_load(text)) == spec.ClusterSpec()
    fields = [line for line in text.splitlines() if "apiPort:" in line or "mtu:" in line]
    assert fields == ["  # mtu:", "# apiPort:"]  # those without a default are comments


def test_flags_are_laid_over_the_file() -> None:
    merged = spec.merge(
        {"nodes": 2, "network": {"mtu": 1400}}, {"nodes": 3, "network.backend": "flannel", "name": None}
    )
    assert merged == {"nodes": 3, "network": {"mtu": 1400, "backend": "flannel"}}


def test_a_flag_below_a_field_that_is_no_mapping_is_refused() -> None:
    with pytest.raises(SpecError, match="network: expected a mapping"):
        spec.merge({"network": 3}, {"network.mtu": 1400})


@pytest.mark.parametrize(
    ("text", "words"), [("[1, 2]", "expected a mapping"), ("a: [", "not YAML"), ("", "expected a mapping")]
)
def test_a_file_that_is_no_spec_is_refused_by_name(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=words) as caught:
        spec.read(file)
    assert str(file) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"read .*/none\.yaml: No such file"):
        spec.read(tmp_path / "none.yaml")


def test_a_value_on_the_command_line_is_yaml() -> None:
    assert [spec.parse_value(text) for text in ("3", "[a, b]", "true", "x")] == [3, ["a", "b"], True, "x"]
    with pytest.raises(UsageError, match="not a YAML value"):
        spec.parse_value("[")


@given(
    st.dictionaries(
        st.text(max_size=8), st.one_of(st.none(), st.integers(), st.text(max_size=8), st.lists(st.integers()))
    )
)
def test_whatever_is_given_is_loaded_or_refused_as_a_spec_error(document: dict[str, Any]) -> None:
    try:
        loaded = spec.load(document)
    except SpecError as error:
        assert error.problems
    else:
        assert 1 <= loaded.nodes <= spec.MAX_NODES


@given(st.sets(st.integers(0, 200), min_size=1))
def test_a_cpu_list_is_read_as_the_kernel_writes_it(cpus: set[int]) -> None:
    assert spec.cpu_set(",".join(map(str, sorted(cpus)))) == frozenset(cpus)


@pytest.mark.parametrize(
    ("document", "path", "said"),
    [
        (
            {"network": {"dnsDomain": "no such {domain}\n  evil"}},
            "network.dnsDomain",
            "expected a domain as cluster.local",
        ),
        ({"storage": {"nodeDirectory": "/a b\nc"}}, "storage.nodeDirectory", "expected no control characters"),
        ({"network": {"interface": "x y"}}, "network.interface", "expected the name of an interface"),
        ({"systemCpus": "0-99999999"}, "systemCpus", "expected CPUs as in 0-1,8"),
        ({"labels": {"bad key!": "a"}}, "labels.bad key!", "expected a key as rack"),
        ({"labels": {"node-role.kubernetes.io/x": "y"}}, "labels.node-role.kubernetes.io/x", "is reserved"),
        ({"labels": {"rack": "a,b=c"}}, "labels.rack", "expected a value of letters"),
        ({"labels": {"rack": 3.5}}, "labels.rack", "expected text, got 3.5"),
        ({"taints": ["gpu"]}, "taints[0]", "expected KEY=VALUE:EFFECT"),
        ({"taints": ["a=b:NoSchedule", "gpu=yes:Never"]}, "taints[1]", "NoExecute"),
        (
            {"extraArgs": {"apiServer": {"anonymous-auth": "true"}}},
            "extraArgs.apiServer.anonymous-auth",
            "it cannot be set: nobody",
        ),
        ({"extraArgs": {"kubelet": {"--v": "4"}}}, "extraArgs.kubelet.--v", "a flag without its dashes"),
        ({"extraArgs": {"etcd": {"v": "4"}}}, "extraArgs.etcd", "the fields here are apiServer, controllerManager"),
    ],
)
def test_what_would_harm_a_node_is_refused(document: dict[str, Any], path: str, said: str) -> None:
    assert said in problems(document)[path]


def test_a_number_is_a_fine_value_of_a_label_and_of_a_flag() -> None:
    made = spec.load({"labels": {"rack": 3}, "extraArgs": {"kubelet": {"v": 4}}})
    assert (made.labels, made.extra_args.kubelet) == ({"rack": "3"}, {"v": "4"})


def test_a_key_that_is_there_twice_is_refused_with_both_lines(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text("nodes: 2\nnetwork:\n  mtu: 1400\nnodes: 9\n")
    with pytest.raises(UsageError, match="nodes is there twice: in line 1 and in line 4"):
        spec.read(tmp_path / "spec.yaml")


def test_flags_are_laid_over_the_labels_of_a_file() -> None:
    assert spec.merge({"labels": {"a": "1"}}, {"labels": {"b": "2"}}) == {"labels": {"a": "1", "b": "2"}}


def test_the_schema_takes_what_load_takes() -> None:
    schema = spec.json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid(spec.dump(spec.ClusterSpec(nodes=3)))
    assert validator.is_valid(yaml.safe_load(spec.describe()))
    assert not validator.is_valid({"nodes": "three"})
    assert not validator.is_valid({"nodez": 3})
    assert schema["properties"]["nodes"]["description"].startswith("how many nodes")
