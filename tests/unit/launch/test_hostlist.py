"""Host lists: what people write, and what they get told when it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usernetes_deploy.errors import SpecError, UsageError
from usernetes_deploy.launch.hostlist import Target, checked, compress, expand, load, node_name, targets


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        ("login", ["login"]),
        ("node[01-03]", ["node01", "node02", "node03"]),
        ("n[8-11]", ["n8", "n9", "n10", "n11"]),
        ("n[08-11]", ["n08", "n09", "n10", "n11"]),
        ("a[1-3,7]b", ["a1b", "a2b", "a3b", "a7b"]),
        ("r[1-2]n[01-02].site", ["r1n01.site", "r1n02.site", "r2n01.site", "r2n02.site"]),
        ("a, b ,c[1,2]", ["a", "b", "c1", "c2"]),
        ("[1-2]", ["1", "2"]),
        ("[fd00::1]:22,hpc@[fd00::2]", ["[fd00::1]:22", "hpc@[fd00::2]"]),
    ],
)
def test_a_list_is_expanded_in_its_order(text: str, names: list[str]) -> None:
    assert expand(text) == names


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("n[1-", "brackets"),
        ("n]1", "brackets"),
        ("n[[1]]", "brackets"),
        ("n[16-01]", "runs backwards"),
        ("n[a-c]", "'a-c' in 'n\\[a-c\\]' is no number"),
        ("n[]", "is no number"),
        ("n[1,]", "is no number"),
        ("a,,b", "comma"),
        ("a,", "comma"),
        ("n[1-99999999]", "more than 100000 hosts"),
        ("n[1-999]m[1-999]", "more than 100000 hosts"),
    ],
)
def test_a_bad_list_is_refused_with_the_part_that_is_wrong(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        expand(text)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("names", "short"),
    [
        ([], ""),
        (["a"], "a"),
        (["a1"], "a1"),
        (["n01", "n02", "n03", "n05"], "n[01-03,05]"),
        (["n8", "n9", "n10"], "n[8-10]"),
        (["n1.site4.org", "n2.site4.org"], "n[1-2].site4.org"),
        (["n09", "n010"], "n[09,010]"),
        (["b2", "b1"], "b[2,1]"),
        (["a1x", "a2x", "b"], "a[1-2]x,b"),
    ],
)
def test_names_are_written_short(names: list[str], short: str) -> None:
    assert compress(names) == short


@given(
    st.lists(
        st.from_regex(r"[a-c]{0,2}(0{0,2}[0-9]{1,3})?[a-b]?[0-9]{0,2}(\.[ab]?[0-9]?[ab])?", fullmatch=True).filter(bool)
    )
)
def test_the_short_form_means_the_same_names_in_the_same_order(names: list[str]) -> None:
    assert expand(compress(names)) == names


def test_a_comma_list_is_read_with_user_and_port() -> None:
    assert load("hpc@n[1-2]:2222,10.0.0.9") == [
        Target("n1", "n1", "hpc", 2222),
        Target("n2", "n2", "hpc", 2222),
        Target("10-0-0-9", "10.0.0.9"),
    ]


@pytest.mark.parametrize(
    ("hosts", "names"),
    [
        ("n1.site.org,n2.site.org", ["n1", "n2"]),
        ("n1.a.org,n1.b.org", ["n1-a-org", "n1-b-org"]),
        ("10.0.0.1,10.0.0.2", ["10-0-0-1", "10-0-0-2"]),
    ],
)
def test_nodes_are_called_after_their_hosts_as_shortly_as_possible(hosts: str, names: list[str]) -> None:
    assert [target.name for target in load(hosts)] == names


def test_ipv6_addresses_are_destinations_too() -> None:
    assert targets(["hpc@[fd00::1]:22", "fd00::2"]) == [
        Target("fd00--1", "fd00::1", "hpc", 22),
        Target("fd00--2", "fd00::2"),
    ]


def test_a_yaml_file_has_names_and_fields(tmp_path: Path) -> None:
    path = tmp_path / "hosts.yaml"
    path.write_text(
        """
# three racks
hosts:
  - node[01-02]
  - name: gpu[1-2]
    address: 10.0.0.[1-2]
    user: hpc
    port: 2222
    identity_file: ~/.ssh/bed
    proxy_jump: login
    labels: {rack: 7}
""",
        encoding="utf-8",
    )
    hosts = load(str(path))
    assert [host.name for host in hosts] == ["node01", "node02", "gpu1", "gpu2"]
    assert hosts[3] == Target("gpu2", "10.0.0.2", "hpc", 2222, "~/.ssh/bed", "login", {"rack": "7"})


@pytest.mark.parametrize(
    "text", ["- a\n- b\n", "[\"a\", 'b']", "a\nb # the second\n\n", "a b", "a,b\n", "hosts: 'a,b'"]
)
def test_lists_in_files_may_be_yaml_or_lines(text: str, tmp_path: Path) -> None:
    path = tmp_path / "my hosts"
    path.write_text(text, encoding="utf-8")
    assert [host.name for host in load(str(path))] == ["a", "b"]


def test_every_problem_of_a_file_is_listed_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "hosts.yaml"
    path.write_text(
        "hosts:\n  - name: a\n    prot: 22\n  - 7\n  - {name: b, port: '22'}\n  - {user: hpc}\n  - n[2-1]\n"
        "  - {name: 'c[1-2]', address: d}\n  - {name: e, port: 70000}\n",
        encoding="utf-8",
    )
    with pytest.raises(SpecError) as caught:
        load(str(path))
    assert [where for where, _ in caught.value.problems] == [
        "hosts[0].prot",
        "hosts[1]",
        "hosts[2].port",
        "hosts[3].name",
        "hosts[4]",
        "hosts[5].address",
        "hosts[6].port",
    ]
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["hosts: {a: b}", "hosts: [", "hosts: []\nnodes: 3", "- a\n: b"])
def test_a_file_of_another_shape_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "hosts.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError):
        load(str(path))


@pytest.mark.parametrize("text", ["", "# nobody\n", "hosts:\n", "hosts: []"])
def test_a_list_without_hosts_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "hosts.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match="names no host"):
        load(str(path))
    with pytest.raises(UsageError, match="names no host"):
        load("")


def test_hosts_that_are_listed_twice_are_named() -> None:
    with pytest.raises(UsageError, match=r"more than once: n2 \(2 times\), login \(3 times\)"):
        load("n[1-3],n2,login,LOGIN,hpc@login")


def test_a_file_that_is_not_there_is_not_taken_for_a_host(tmp_path: Path) -> None:
    for source in ("hosts.yaml", str(tmp_path / "hosts")):
        with pytest.raises(UsageError, match="there is no host file"):
            load(source)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="hosts"):
        load(str(tmp_path / "hosts"))


def test_node_names_are_made_fit_for_kubernetes() -> None:
    assert node_name("Node_01.Site.ORG") == "node-01.site.org"
    for bad in ("ä", "a b", "a..b", "x" * 64, "", "-"):
        with pytest.raises(UsageError, match="cannot be the name of a node"):
            node_name(bad)
    with pytest.raises(UsageError, match="no \\[user@\\]host"):
        targets(["a:b:"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a.b,a.c,a-b", "a.b and a-b are both a-b"),
        ("localhost,127.0.0.1", "localhost and 127.0.0.1 are both this machine"),
        ("127.0.0.1,127.0.0.2", "are both this machine"),
    ],
)
def test_hosts_that_would_be_one_node_are_refused_with_both_named(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        checked(load(text), text)
