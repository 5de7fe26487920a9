"""Downloads: each way in which a server can fail has its own message, and nothing unpinned is asked for."""

from __future__ import annotations

import hashlib
import io
import socket
import tarfile
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.bundle.conftest import Server
from usernetes_deploy.bundle import download, locate, stage
from usernetes_deploy.bundle.components import Component, Components, Release
from usernetes_deploy.errors import BundleError

CONTENT = b"binary" * 10000


def sha256(content: bytes) -> str:
    """Its sum, as hexadecimal text."""
    return hashlib.sha256(content).hexdigest()


def quiet(line: str) -> None:
    """A report that nobody reads."""


def tar_of(**files: bytes) -> bytes:
    """A .tar.gz with these files; ``__`` in a name stands for ``/``."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo("./" + name.replace("__", "/"))
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def part(name: str, url: str, **files: str) -> Component:
    """A component with a release; ``bin_tool="x/tool"`` takes the member x/tool as bin/tool."""
    return Component(name, "v1", "MIT", "why", release=Release(url, {k.replace("_", "/"): v for k, v in files.items()}))


def left_in(folder: Path) -> list[str]:
    """The names in `folder`, if there is one."""
    return sorted(path.name for path in folder.glob("*"))


def test_a_sound_download_is_kept_under_its_sum_and_not_asked_for_again(server: Server, tmp_path: Path) -> None:
    url = server.serve("/a", CONTENT)
    path = download.fetch(url, sha256(CONTENT), tmp_path, quiet)
    assert path == tmp_path / sha256(CONTENT)
    assert path.read_bytes() == CONTENT
    assert download.fetch(url, sha256(CONTENT), tmp_path, quiet) == path
    assert server.asked == ["/a"]


def test_a_kept_download_that_was_damaged_is_taken_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / sha256(CONTENT)).write_bytes(b"damaged")
    path = download.fetch(server.serve("/a", CONTENT), sha256(CONTENT), tmp_path, quiet)
    assert path.read_bytes() == CONTENT


def test_a_wrong_sum_is_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=f"wrong sum: its sha256 is {sha256(CONTENT)}, pinned is {'0' * 64}"):
        download.fetch(server.serve("/a", CONTENT), "0" * 64, tmp_path, quiet)
    assert left_in(tmp_path) == []


def test_a_truncated_download_is_refused(server: Server, tmp_path: Path) -> None:
    url = server.serve("/a", CONTENT[:1000], claims=len(CONTENT))
    with pytest.raises(BundleError, match=f"truncated: 1000 bytes of {len(CONTENT)}"):
        download.fetch(url, sha256(CONTENT), tmp_path, quiet)
    assert left_in(tmp_path) == []


def test_a_missing_release_is_named_with_its_status(server: Server, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"/nothing: HTTP 404 Not Found"):
        download.fetch(server.url("/nothing"), "0" * 64, tmp_path, quiet)


def test_a_server_that_falls_silent_is_given_up_on(server: Server, tmp_path: Path) -> None:
    url = server.serve("/a", CONTENT, drip=1000, pause=1.0)
    with pytest.raises(BundleError, match=r"too slow: nothing came for 0.2 s"):
        download.fetch(url, sha256(CONTENT), tmp_path, quiet, silence=0.2)
    assert left_in(tmp_path) == []


def test_a_server_that_only_drips_is_given_up_on(server: Server, tmp_path: Path) -> None:
    url = server.serve("/a", CONTENT, drip=100, pause=0.01)
    with pytest.raises(BundleError, match=rf"too slow: \d+ bytes of {len(CONTENT)} in 0.3 s"):
        download.fetch(url, sha256(CONTENT), tmp_path, quiet, deadline=0.3)


def test_a_server_that_is_not_there_cannot_be_reached(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/a"
        with pytest.raises(BundleError, match=r"cannot be reached: .*Connection refused"):
            download.fetch(url, "0" * 64, tmp_path, quiet)


def test_what_is_no_http_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/a"

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"hello\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(BundleError, match="broke off after 0 bytes: BadStatusLine"):
            download.fetch(url, "0" * 64, tmp_path, quiet)
        thread.join()


def test_a_bundle_is_made_of_pinned_archives(server: Server, tmp_path: Path) -> None:
    one = tar_of(x__tool=b"one", x__other=b"not asked for")
    url, plain = server.serve("/one.tar.gz", one), server.serve("/runc.amd64", b"runc")
    parts = Components("1", [part("one", url, bin_tool="x/tool"), part("two", plain, bin_runc="")])
    made = download.download(parts, tmp_path, quiet, {url: sha256(one), plain: sha256(b"runc")})
    assert {path: (made.root / path).read_bytes() for path in made.manifest.files} == {
        "bin/tool": b"one",
        "bin/runc": b"runc",
    }
    assert stage.verify(made.root, again=True)
    assert made.components[0]["downloaded"] == url and made.components[0]["sha256"] == sha256(one)
    assert locate(None, tmp_path).digest == made.digest


def test_nothing_is_asked_for_when_one_pin_is_missing(server: Server, tmp_path: Path) -> None:
    one, two = server.serve("/one", CONTENT), server.serve("/two", CONTENT)
    parts = Components("1", [part("one", one, bin_one=""), part("two", two, bin_two="")])
    with pytest.raises(BundleError, match=r"no pinned sha256 for 1 of the release archives:\n  .*/two") as error:
        download.download(parts, tmp_path / "cache", quiet, {one: sha256(CONTENT)})
    assert "usernetes bundle pin" in (error.value.remedy or "")
    assert server.asked == []
    assert not (tmp_path / "cache").exists()


def test_what_arrived_is_kept_when_another_archive_fails(server: Server, tmp_path: Path) -> None:
    good, bad = server.serve("/good", CONTENT), server.url("/bad")
    parts = Components("1", [part("good", good, bin_good=""), part("bad", bad, bin_bad="")])
    with pytest.raises(BundleError, match="HTTP 404"):
        download.download(parts, tmp_path, quiet, {good: sha256(CONTENT), bad: "0" * 64})
    with pytest.raises(BundleError, match="there is no bundle"):
        locate(None, tmp_path)
    server.serve("/bad", b"better")
    made = download.download(parts, tmp_path, quiet, {good: sha256(CONTENT), bad: sha256(b"better")})
    assert set(made.versions) == {"good", "bad"}
    assert server.asked.count("/good") == 1


def test_an_archive_shared_by_two_components_is_taken_once(server: Server, tmp_path: Path) -> None:
    both = tar_of(bin__a=b"a", bin__b=b"b")
    url = server.serve("/both", both)
    parts = Components("1", [part("a", url, bin_a="bin/a"), part("b", url, bin_b="bin/b")])
    download.download(parts, tmp_path, quiet, {url: sha256(both)})
    assert server.asked == ["/both"]


@pytest.mark.parametrize(
    ("content", "said"),
    [(tar_of(x__other=b"1"), "lacks x/tool"), (b"<html>", "is not the archive that it should be")],
    ids=["another archive", "a page"],
)
def test_an_archive_with_another_content_is_refused(content: bytes, said: str, server: Server, tmp_path: Path) -> None:
    url = server.serve("/one", content)
    parts = Components("1", [part("one", url, bin_tool="x/tool")])
    with pytest.raises(BundleError, match=said):
        download.download(parts, tmp_path, quiet, {url: sha256(content)})
    assert [name for name in left_in(tmp_path / "built") if not name.startswith(".")] == []


def test_a_link_in_an_archive_is_not_followed(server: Server, tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        info = tarfile.TarInfo("x/tool")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)
    url = server.serve("/one", out.getvalue())
    parts = Components("1", [part("one", url, bin_tool="x/tool")])
    with pytest.raises(BundleError, match="lacks x/tool"):
        download.download(parts, tmp_path, quiet, {url: sha256(out.getvalue())})


def test_another_pin_is_another_component(server: Server, tmp_path: Path) -> None:
    url = server.serve("/one", b"old")
    component = part("one", url, bin_one="")
    old = download.download(Components("1", [component]), tmp_path, quiet, {url: sha256(b"old")})
    server.serve("/one", b"new")
    new = download.download(Components("1", [replace(component)]), tmp_path, quiet, {url: sha256(b"new")})
    assert old.digest != new.digest
    assert new.binary("one").read_bytes() == b"new"
