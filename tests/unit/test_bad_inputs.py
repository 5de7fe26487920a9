"""Bad input of every kind: each row is a command line with its files, the exit code, and words that the message has.

After each of them the user's home is as it was: names, modes, contents. Nothing here needs root, a bundle or a host.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import shlex
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.unit.bundle.conftest import write_bundle
from tests.unit.made_up import make_cluster
from usernetes_deploy import cli

Tree = dict[str, tuple[int, bytes]]


@dataclass(frozen=True)
class Row:
    """One command line: what it is about, the words after `usernetes`, what it may read, the exit code, its message.

    `files` are written into the folder that it runs in, name -> content; one whose name ends in
    ``?`` may be read by nobody but root. `cluster`: "" for a user without a cluster, else ``demo`` is recorded
    and `record` replaces its cluster.json. `bundle`: there is a current bundle.
    """

    what: str
    line: str
    code: int
    said: tuple[str, ...]
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    cluster: bool = False
    record: Mapping[str, object] | str | None = None
    kubeconfig: str | None = None
    bundle: bool = False


def spec(what: str, text: str | bytes, *said: str, code: int = 2) -> Row:
    """A spec file of which `check` says what is wrong."""
    return Row(f"spec: {what}", "check --file c.yaml", code, said, {"c.yaml": text})


def tar(*names: str, content: bytes = b"{}") -> bytes:
    """A tar archive of these files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


SPECS = (
    spec("empty file", "", "read c.yaml", "expected a mapping of fields"),
    spec("a list", "- a\n- b\n", "expected a mapping of fields at the top"),
    spec("no YAML", "nodes: [1,\n", "read c.yaml: not YAML", "line 2"),
    spec("binary", b"\x00\xff\xfe\x80nodes", "read c.yaml: not YAML"),
    spec("two documents", "nodes: 1\n---\nnodes: 2\n", "read c.yaml", "document"),
    spec("a key twice", "nodes: 2\nnodes: 9\n", "c.yaml", "nodes is there twice: in line 1 and in line 2"),
    spec("another kind", "kind: Pod\napiVersion: v1\n", "kind: expected Cluster, got 'Pod'", "apiVersion: expected"),
    spec("unknown field", "nodez: 3\n", "c.yaml has 1 problem", "nodez: unknown field", "nodes"),
    spec("unknown field below", "network: {mtuu: 1}\n", "network.mtuu: unknown field", "mtu"),
    spec("a section that is text", "network: mesh\n", "network: expected a mapping of fields, got 'mesh'"),
    spec("nodes as text", "nodes: three\n", "nodes: expected a whole number, got 'three'"),
    spec("no nodes", "nodes: 0\n", "nodes: expected a whole number from 1 to 4096, got 0"),
    spec("too many nodes", "nodes: 5000\n", "nodes: expected a whole number from 1 to 4096"),
    spec("a number that is infinite", "nodes: .inf\n", "nodes: expected a whole number"),
    spec("minNodes above nodes", "nodes: 2\nminNodes: 3\n", "minNodes: expected 1 to 2 (nodes), got 3"),
    spec("launcher unknown", "launcher: pbs\n", "launcher: expected one of local, flux, slurm, ssh, got 'pbs'"),
    spec("ssh without hosts", "launcher: ssh\n", "hosts: the ssh launcher needs at least one host"),
    spec("hosts with a hole", "launcher: ssh\nhosts: ['n[01-']\n", "n[01-"),
    spec("hosts that are no text", "launcher: ssh\nhosts: [1, {a: b}]\n", "hosts[1]: expected text"),
    spec("name with capitals", "name: Demo\n", "name: expected lower-case letters"),
    spec("name that is a path", "name: ../demo\n", "name: expected lower-case letters"),
    spec("port", "apiPort: 70000\n", "apiPort: expected a port from 1 to 65535, got 70000"),
    spec("networks overlap", "network: {podCIDR: 10.64.0.0/16}\n", "network.podCIDR", "overlaps network.nodeCIDR"),
    spec("network too small", "nodes: 3\nnetwork: {podCIDR: 10.1.0.0/24}\n", "network.podCIDR", "too small for 3"),
    spec("IPv6 network", "network: {podCIDR: 'fd00::/48'}\n", "network.podCIDR: expected an IPv4 network"),
    spec("MTU", "network: {mtu: 100}\n", "network.mtu: expected 576 to 65520 bytes, got 100"),
    spec(
        "nameserver by name", "network: {nameservers: [dns.example.org]}\n", "network.nameservers[0]: expected an IPv4"
    ),
    spec("DNS domain", "network: {dnsDomain: 'a..b'}\n", "network.dnsDomain: expected a domain"),
    spec("label reserved", "labels: {node-role.kubernetes.io/x: ''}\n", "labels.node-role.kubernetes.io/x", "reserved"),
    spec("taint", "taints: [gpu]\n", "taints[0]: expected KEY=VALUE:EFFECT", "got 'gpu'"),
    spec("eviction", "eviction: {disk: lots}\n", "eviction.disk: expected a size as 500Mi", "got 'lots'"),
    spec("longest grant", "access: {longestGrant: ever}\n", "access.longestGrant: expected a time as 30m"),
    spec("CPUs", "systemCpus: 3-1\n", "systemCpus: expected CPUs as in 0-1,8, got '3-1'"),
    spec("flag of a program", "extraArgs: {kubelet: {config: /x}}\n", "extraArgs.kubelet.config: it cannot be set"),
    spec("flag with dashes", "extraArgs: {scheduler: {--v: '4'}}\n", "extraArgs.scheduler.--v", "without its dashes"),
    spec(
        "registry with a password", "registries: [{name: r, url: 'http://u:p@r'}]\n", "registries[0].url", "credentials"
    ),
    spec("device without paths", "devices: [{name: gpu}]\n", "devices[0].paths: expected at least one glob"),
    spec("shared disk not there", "storage: {shared: /no/such}\n", "storage.shared: /no/such is no directory"),
    spec("shared disk relative", "storage: {shared: data}\n", "storage.shared: expected an absolute path, got 'data'"),
    spec("image not there", "images: [no.tar]\n", "images[0]: ", "no.tar is not a file"),
    spec("wait below zero", "waitSeconds: -5\n", "waitSeconds: expected seconds > 0, got -5"),
    spec(
        "alias bomb",
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"k{n}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(9)),
        "read c.yaml: its aliases unfold to more than 100000 values",
    ),
    spec("alias of itself", "labels: &l {a: *l}\n", "read c.yaml: an alias in line 1 holds itself"),
    spec("nested without end", "a: " + "[" * 3000 + "\n", "read c.yaml: it is nested too deeply"),
)
FLAGS = (
    Row("file that is a folder", "check --file .", 2, ("read .", "Is a directory")),
    Row("file not there", "up --file no.yaml", 2, ("read no.yaml", "No such file")),
    Row("file unreadable", "check --file c.yaml", 2, ("read c.yaml", "Permission denied"), {"c.yaml?": "nodes: 1"}),
    Row("verb", "upp", 2, ("'upp' is not a verb of usernetes", "up")),
    Row("flag of no verb", "up --nodez 3", 2, ("up takes no flag --nodez; did you mean --nodes?",)),
    Row("flag without value", "up --nodes", 2, ("--nodes needs a value", "--help up")),
    Row("number", "up --nodes many", 2, ("--nodes: expected a whole number, got 'many'",)),
    Row("number huge", "up --nodes " + "9" * 5000, 2, ("--nodes",)),
    Row("set without value", "up --set nodes", 2, ("--set nodes: expected FIELD=VALUE",)),
    Row("set with no field", "up --set =3", 2, ("--set", "FIELD=VALUE")),
    Row("set below text", "up --set name.x=3", 2, ("name",)),
    Row("set below a list", "up --file c.yaml --set hosts.x=3", 2, ("hosts",), {"c.yaml": "hosts: [a]"}),
    Row("set unknown", "up --set network.mtuu=3", 2, ("network.mtuu: unknown field",)),
    Row("label", "up --label rack", 2, ("--label rack: expected KEY=VALUE",)),
    Row("hosts empty", "check --hosts ''", 2, ("host",)),
    Row("hosts too many", "check --hosts 'n[1-99999999]'", 2, ("'n[1-99999999]' is more than 100000 hosts",)),
    Row("hosts twice", "check --hosts a,b,a", 2, ("names a host more than once: a (2 times)",)),
    Row("hosts file not there", "check --hosts hosts.txt", 2, ("there is no host file hosts.txt",)),
    Row("hosts file unreadable", "check --hosts h.txt", 2, ("h.txt", "Permission denied"), {"h.txt?": "a"}),
    Row("hosts file binary", "check --hosts h.txt", 2, ("h.txt",), {"h.txt": b"\xff\xfe\x00a"}),
    Row(
        "hosts file unknown field",
        "check --hosts h.yaml",
        2,
        ("h.yaml", "colour"),
        {"h.yaml": "hosts: [{name: a, colour: red}]"},
    ),
    Row("durability", "up --durability tape", 2, ("durability: expected one of disk, memory, got 'tape'",)),
    Row("down by path", "down --cluster ../../x", 2, ("'../../x' is no name of a cluster",)),
    Row("job outside a job", "job", 2, ("job",)),
    Row("init nodes", "init --nodes 0", 2, ("--nodes: expected a whole number >= 1, got 0",)),
    Row("init there already", "init", 2, ("cluster.yaml exist", "--force"), {"cluster.yaml": "nodes: 1"}),
    Row("init shared", "init --shared /no/such", 2, ("--shared: /no/such is no directory that you can write",)),
    Row("prepare tags", "prepare --tags tune", 2, ("--tags tune: expected some of prerequisites",)),
)
BUNDLES = (
    Row("bundle a file", "up --bundle b.tar", 1, ("b.tar is a file", "usernetes bundle import"), {"b.tar": b"x"}),
    Row("archive not there", "bundle import no.tar.zst", 2, ("no.tar.zst is not a file", "bundle pack")),
    Row(
        "archive empty",
        "bundle import b.tar.gz",
        1,
        ("b.tar.gz is neither a .tar.zst nor a .tar.gz",),
        {"b.tar.gz": b""},
    ),
    Row("archive no archive", "bundle import b.tar.gz", 1, ("b.tar.gz",), {"b.tar.gz": b"hello" * 100}),
    Row(
        "archive cut off",
        "bundle import b.tar.gz",
        1,
        ("b.tar.gz",),
        {"b.tar.gz": gzip.compress(tar("manifest.json"))[:60]},
    ),
    Row("archive foreign", "bundle import b.tar.gz", 1, ("b.tar.gz",), {"b.tar.gz": gzip.compress(tar("etc/passwd"))}),
    Row(
        "archive leads outside", "bundle import b.tar.gz", 1, ("b.tar.gz",), {"b.tar.gz": gzip.compress(tar("../../x"))}
    ),
    Row("archive's sum", "bundle import b.tar.gz --sha256 00", 2, ("does not have the sha256 00",), {"b.tar.gz": b"x"}),
    Row("archive by URL without a sum", "bundle import http://127.0.0.1:9/b.tar.gz", 2, ("--sha256 HEX",)),
    Row("sum of a file not there", "bundle import no.tar.gz --sha256 00", 2, ("no.tar.gz is not a file",)),
    Row("pack to nowhere", "bundle pack /no/such/b.tar.gz", 1, ("cannot write /no/such/b.tar.gz",), bundle=True),
    Row("pack to no archive", "bundle pack b.zip", 2, ("b.zip", "expected NAME.tar.zst or NAME.tar.gz"), bundle=True),
    Row("pin of nothing", "bundle pin foo.txt", 2, ("foo.txt is neither an archive",), {"foo.txt": "hello"}),
    Row("jobs", "bundle build --jobs -1", 2, ("--jobs: expected a whole number >= 1, got -1",)),
    Row("component", "bundle build --with nope", 2, ("nope",)),
    Row("digest of no bundle", "up --bundle 0123abcd", 1, ("digest that begins 0123abcd", "usernetes bundle list")),
)
UP = (
    Row("manifest not there", "up --set manifests=[no.yaml]", 2, ("manifests[0]", "no.yaml"), bundle=True),
    Row(
        "manifest no YAML",
        "up --set manifests=[m.yaml]",
        2,
        ("manifests[0]", "m.yaml"),
        {"m.yaml": "a: ["},
        bundle=True,
    ),
    Row(
        "manifest no object",
        "up --set manifests=[m.yaml]",
        2,
        ("manifests[0]", "m.yaml"),
        {"m.yaml": "hello"},
        bundle=True,
    ),
    Row(
        "manifest without kind",
        "up --set manifests=[m.yaml]",
        2,
        ("manifests[0]", "kind"),
        {"m.yaml": "a: 1"},
        bundle=True,
    ),
    Row(
        "manifest binary",
        "up --set manifests=[m.yaml]",
        2,
        ("manifests[0]", "m.yaml"),
        {"m.yaml": b"\xff\xfe\x00"},
        bundle=True,
    ),
    Row("manifest an empty folder", "up --set manifests=[.]", 2, ("manifests[0]",), bundle=True),
    Row(
        "authority no PEM",
        "up --file c.yaml",
        2,
        ("registries[0].ca", "expected certificates (PEM)"),
        {"c.yaml": "registries: [{name: r, ca: /etc/hostname}]"},
        bundle=True,
    ),
    Row(
        "login that others read",
        "up --file c.yaml",
        2,
        ("registries[0].credentials", "fix: chmod 600"),
        {"c.yaml": "registries: [{name: r, credentials: /etc/hostname}]"},
        bundle=True,
    ),
    Row(
        "login not there",
        "up --file c.yaml",
        2,
        ("registries[0].credentials", "/no/such"),
        {"c.yaml": "registries: [{name: r, credentials: /no/such}]"},
        bundle=True,
    ),
    Row(
        "component that the bundle lacks",
        "up --set metrics=true",
        1,
        ("no metrics-server", "--with metrics-server"),
        bundle=True,
    ),
    Row("time outside a job", "up --time 2h", 2, ("--time and --queue are for a job",), bundle=True),
)
RECORDED = (
    Row("which of none", "status", 2, ("there is no cluster", "usernetes up")),
    Row(
        "cluster unknown",
        "kubectl --cluster nope get pods",
        2,
        ("there is no cluster named nope", "demo"),
        cluster=True,
    ),
    Row(
        "record empty", "status", 1, ("cluster.json", "usernetes down --cluster demo --force"), cluster=True, record=""
    ),
    Row("record a list", "down", 1, ("cluster.json: not a mapping", "--force"), cluster=True, record="[]"),
    Row(
        "record cut off",
        "list",
        1,
        ("the record of 1 of 1 clusters cannot be read", "demo"),
        cluster=True,
        record='{"schema": 2,',
    ),
    Row(
        "record of another version",
        "status",
        1,
        ("another version of usernetes (record 99",),
        cluster=True,
        record={"schema": 99},
    ),
    Row(
        "record without members",
        "kubectl get pods",
        1,
        ("cluster.json: it has no proper members", "--force"),
        cluster=True,
        record={"members": None},
    ),
    Row("record without members: logs", "logs", 1, ("cluster.json", "members"), cluster=True, record={"members": None}),
    Row(
        "record with a strange member", "status", 1, ("members[0]",), cluster=True, record={"members": [{"name": "x"}]}
    ),
    Row("record without a launcher", "add --nodes 1", 1, ("launcher",), cluster=True, record={"launcher": {}}),
    Row(
        "record with a launcher of the future",
        "down",
        1,
        ("no launcher is called 'pbs'",),
        cluster=True,
        record={"launcher": {"launcher": "pbs"}},
    ),
    Row(
        "record with half a launcher",
        "down",
        1,
        ("the local launcher is not as `up` wrote it: KeyError('count')",),
        cluster=True,
        record={"launcher": {"launcher": "local"}},
    ),
    Row("record without spec", "grant me", 1, ("spec",), cluster=True, record={"spec": None}),
    Row("record without bundle", "kubectl get pods", 1, ("bundle",), cluster=True, record={"bundle": {}}),
    Row("kubeconfig not there", "grants", 1, ("kubeconfig: No such file",), cluster=True),
    Row(
        "kubeconfig cut off", "expose web", 1, ("kubeconfig", "not as usernetes wrote it"), cluster=True, kubeconfig="{"
    ),
    Row(
        "kubeconfig without keys",
        "grants",
        1,
        ("kubeconfig", "not as usernetes wrote it"),
        cluster=True,
        kubeconfig=json.dumps({"clusters": [{"cluster": {}}], "users": [{"user": {}}]}),
    ),
    Row(
        "kubeconfig with garbage for keys",
        "revoke me",
        1,
        ("kubeconfig",),
        cluster=True,
        kubeconfig=json.dumps(
            {
                "clusters": [{"cluster": {"server": "https://127.0.0.1:1", "certificate-authority-data": "AAAA"}}],
                "users": [{"user": {"client-certificate-data": "AAAA", "client-key-data": "AAAA"}}],
            }
        ),
    ),
    Row(
        "merge into no kubeconfig",
        "kubeconfig --merge",
        2,
        ("it is no kubeconfig",),
        {".kube/config": "- a"},
        cluster=True,
        kubeconfig='{"clusters": [{"cluster": {}}], "users": [{"user": {}}]}',
    ),
    Row(
        "merge into binary",
        "kubeconfig --merge",
        2,
        ("it is no kubeconfig",),
        {".kube/config": b"\xff\xfe"},
        cluster=True,
        kubeconfig='{"clusters": [{"cluster": {}}], "users": [{"user": {}}]}',
    ),
    Row("grant name", "grant Reader", 2, ("expected a name of lower-case letters", "'Reader'"), cluster=True),
    Row("grant too long", "grant me --for 900d", 2, ("--for: expected 10m to 24h",), cluster=True),
    Row("grant role", "grant me --role god", 2, ("--role: expected view, edit, admin or a file",), cluster=True),
    Row("grant role no YAML", "grant me --role r.yaml", 2, ("r.yaml is not YAML",), {"r.yaml": "a: ["}, cluster=True),
    Row(
        "grant role no rules",
        "grant me --role r.yaml",
        2,
        ("r.yaml is no list of rules",),
        {"r.yaml": "rules: []"},
        cluster=True,
    ),
    Row(
        "grant quota",
        "grant me --quota cpu=lots",
        2,
        ("--quota: expected RESOURCE=QUANTITY", "'cpu=lots'"),
        cluster=True,
    ),
    Row("grant namespace", "grant me --namespace kube-system", 2, ("kube-system is the cluster's own",), cluster=True),
    Row("grant level", "grant me --pod-security none", 2, ("--pod-security: expected one of",), cluster=True),
    Row("image not there", "images load no.tar", 2, ("no.tar is not a file", "docker save"), cluster=True),
    Row("image a folder", "images load .", 2, (". is not a file",), cluster=True),
    Row("image name unknown", "images load nothing", 2, ("neither a file nor an image",), cluster=True),
    Row("node unknown", "logs --node node9", 2, ("node9", "node0"), cluster=True),
    Row("logs out without all", "logs --out x.tar.gz", 2, ("--all and --out go together",), cluster=True),
    Row("logs out there already", "logs --all --out there", 2, ("there",), {"there/x": "x"}, cluster=True),
    Row("logs lines", "logs --lines -5", 2, ("--lines",), cluster=True),
    Row("remove unknown", "remove node9", 2, ("node9",), cluster=True),
    Row("remove the first", "remove node0", 2, ("node0",), cluster=True),
    Row("remove nothing", "remove ,", 2, ("node",), cluster=True),
    Row("remove drain", "remove node1 --drain-seconds -3", 2, ("--drain-seconds",), cluster=True),
    Row("add nothing", "add --nodes 0", 2, ("--nodes: expected a whole number >= 1, got 0",), cluster=True),
    Row(
        "up where one is",
        "up --cluster demo",
        2,
        ("a cluster named demo exists", "usernetes down"),
        cluster=True,
        bundle=True,
    ),
    Row("run nothing", "run", 2, ("expected a command after --",), cluster=True),
    Row("run on no node", "run --node node9 -- true", 2, ("node9",), cluster=True),
    Row("watch", "status --watch -1", 2, ("--watch: expected seconds > 0",), cluster=True),
)
ROWS = (*SPECS, *FLAGS, *BUNDLES, *UP, *RECORDED)


def snapshot(root: Path) -> Tree:
    """Every file and folder below `root`: its mode and content; without what is only a cache and made anew at will."""
    found: Tree = {}
    for path in sorted(root.rglob("*")):
        if path.relative_to(root).parts[0] == ".cache" or path.name == ".verified":
            continue
        mode = path.lstat().st_mode
        content = path.read_bytes() if path.is_file() and not path.is_symlink() and os.access(path, os.R_OK) else b""
        found[str(path.relative_to(root))] = (mode, content)
    return found


@pytest.mark.parametrize("row", ROWS, ids=[row.what for row in ROWS])
def test_bad_input_is_refused_with_its_reason_and_changes_nothing(
    row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "USERNETES_CLUSTER", "KUBECONFIG", "FLUX_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("USERNETES_BUNDLE_CACHE", str(tmp_path / "site"))
    if row.cluster:
        made = make_cluster(tmp_path / ".local" / "state" / "usernetes")
        made.state.write({**made.state.read(), "launcher": {"launcher": "local", "count": 2}})
        file = made.state.directory / "cluster.json"
        if isinstance(row.record, str):
            file.write_text(row.record)
        elif row.record:
            file.write_text(json.dumps({**made.state.read(), **row.record}))
        if row.kubeconfig is not None:
            made.state.kubeconfig.write_text(row.kubeconfig)
    for name, content in row.files.items():
        path = tmp_path / name.rstrip("?")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        if name.endswith("?"):
            if os.geteuid() == 0:
                pytest.skip("root may read everything")
            path.chmod(0)
    if row.bundle:
        (tmp_path / "site" / "bundles").mkdir(parents=True)
        write_bundle(tmp_path / "site" / "bundles" / "b")
        (tmp_path / "site" / "bundles" / "current").symlink_to("b")
    monkeypatch.chdir(tmp_path)
    before = snapshot(tmp_path)
    code = cli.run(["usernetes", *shlex.split(row.line)])
    out, err = capsys.readouterr()
    assert not [f"{word!r} is not in: {err}" for word in row.said if word not in err]
    assert "Traceback" not in err
    assert (code, out) == (row.code, ""), err
    assert snapshot(tmp_path) == before
