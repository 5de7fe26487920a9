"""``usernetes bundle``: make, check, carry and clear away the binaries that nodes run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from invoke.collection import Collection
from invoke.tasks import task

from usernetes_deploy.bundle import archive, build, components, contents, download, pins, stage, store, unpacking
from usernetes_deploy.cluster.launchers import ssh_launcher
from usernetes_deploy.cluster.state import clusters
from usernetes_deploy.commands.common import Verb, bundle_cache, node_program, roots
from usernetes_deploy.console.moving import MovingLine
from usernetes_deploy.errors import BundleError, UsageError
from usernetes_deploy.launch.base import Host, on_all
from usernetes_deploy.launch.local import LocalLauncher

CACHE = "folder of the cache (default: $USERNETES_BUNDLE_CACHE, or $XDG_CACHE_HOME/usernetes)"
WITH = "an optional component: flannel, kwok, metrics-server or traefik; may be repeated"
PRUNE_SECONDS = 60.0
PINS = "file of pins (default: $XDG_CONFIG_HOME/usernetes/pins.yaml)"
PATH = "a bundle's folder (default: the current one of the cache)"
JSON = "print JSON"


@task(
    name="build",
    iterable=["with_"],
    help={"cache": CACHE, "with_": WITH, "jobs": "components at a time (default: as cores and memory allow)"},
)
def build_(_: Any, cache: str = "", with_: list[str] | None = None, jobs: int = 0) -> None:
    """Build every binary from its pinned Go module; what is built already is kept.

    Example: usernetes bundle build --with metrics-server
    """
    if jobs < 0:
        raise UsageError(f"--jobs: expected a whole number >= 1, got {jobs}")
    line = MovingLine(sys.stderr)
    made = build.build(
        components.load(), _cache(cache), line.say, extra=with_ or (), jobs=jobs or None, moving=line.show
    )
    line.clear()
    print(made.root)


@task(name="download", iterable=["with_"], help={"cache": CACHE, "with_": WITH, "pins": PINS})
def download_(_: Any, cache: str = "", with_: list[str] | None = None, pins: str = "") -> None:
    """Take the binaries from their authors' release archives; only those whose sha256 is pinned.

    Example: usernetes bundle download
    """
    pinned = _load_pins(pins)
    made = download.download(components.load(), _cache(cache), _say, pinned, extra=with_ or ())
    print(made.root)


@task(positional=["file"], help={"file": "a release archive that you have checked, or its list of sums", "pins": PINS})
def pin(_: Any, file: str, pins: str = "") -> None:
    """Trust a release archive from now on: write down its sha256.

    Example: usernetes bundle pin kubernetes-server-linux-amd64.tar.gz
    """
    for url, sha256 in _pin(Path(file), pins).items():
        print(f"{sha256}  {url}")


@task(
    help={"path": "a bundle's folder or archive (default: the current one of the cache)", "cache": CACHE, "json": JSON}
)
def verify(_: Any, path: str = "", cache: str = "", json: bool = False) -> None:
    """Hash every file of a bundle and compare it with the manifest.

    Example: usernetes bundle verify
    """
    place = (
        Path(path) if path and Path(path).is_file() else store.locate(Path(path) if path else None, _cache(cache)).root
    )
    manifest = unpacking.extract(place, None) if place.is_file() else stage.verify(place, again=True)
    said = {"path": str(place), "digest": manifest.digest, "files": len(manifest.files), "bytes": manifest.size}
    if json:
        _print_json(said)
    else:
        print(f"{place}: {len(manifest.files)} files, {mib(manifest.size)}, sound; sha256:{manifest.digest}")


@task(name="list", help={"cache": CACHE, "json": JSON})
def list_(_: Any, cache: str = "", json: bool = False) -> None:
    """List the bundles of the cache (the current one marked) and what they are made of.

    Example: usernetes bundle list --json
    """
    folder = _cache(cache)
    current = (folder / "bundles" / "current").resolve()
    found = store.bundles(folder)
    if json:
        _print_json(
            [
                {
                    "path": str(bundle.root),
                    "digest": bundle.digest,
                    "current": bundle.root == current,
                    "bytes": bundle.manifest.size,
                    "components": bundle.components,
                    "images": sorted(bundle.images),
                }
                for bundle in found
            ]
        )
        return
    for bundle in found:
        print(f"{'*' if bundle.root == current else ' '} {bundle.manifest.name}  {mib(bundle.manifest.size):>9}")
        for name, version in bundle.versions.items():
            print(f"    {name:24} {version}")
    if not found:
        _say(f"no bundle in {folder}; fix: {contents.REMEDY}")


@task(positional=["out"], help={"out": "NAME.tar.zst (needs zstd) or NAME.tar.gz", "path": PATH, "cache": CACHE})
def pack(_: Any, out: str, path: str = "", cache: str = "") -> None:
    """Write a bundle to one archive, for sites without a network.

    Example: usernetes bundle pack bundle.tar.zst
    """
    found = store.locate(Path(path) if path else None, _cache(cache))
    print(archive.pack(found, Path(out)))


@task(
    name="import",
    positional=["file"],
    help={"file": "the archive, or its URL", "sha256": "of the archive; needed with a URL", "cache": CACHE},
)
def import_(_: Any, file: str, sha256: str = "", cache: str = "") -> None:
    """Take in an archive that `pack` has made, verify it, and make it the current bundle.

    Example: usernetes bundle import bundle.tar.zst
    """
    folder, path = _cache(cache), Path(file)
    if file.startswith(("http://", "https://")):
        if not pins.HEX.fullmatch(sha256):
            raise UsageError("a bundle from a URL needs the sha256 of the archive", remedy="--sha256 HEX")
        path = download.fetch(file, sha256, folder / "downloads", _say)
    elif not path.is_file():
        raise UsageError(f"{file} is not a file", remedy="usernetes bundle pack bundle.tar.gz, where there is a bundle")
    elif sha256 and download.sum_of(path) != sha256:
        raise UsageError(f"{path} does not have the sha256 {sha256}", remedy="get the archive again")
    print(archive.unpack(path, folder).root)


@task(
    klass=Verb,
    help={
        "cache": CACHE,
        "staged": "remove bundles from this host's node disk (/var/tmp ...) that no node needs, not from the cache",
        "hosts": "the same on hosts that are reached by SSH: a list as node[01-16], a file, or an inventory",
        "folder": "storage.nodeDirectory of the specs, where that is none of the usual places",
    },
)
def gc(_: Any, cache: str = "", staged: bool = False, hosts: str = "", folder: str = "") -> None:
    """Remove from the cache all that the current bundle does not need; with --staged or --hosts from nodes' disks.

    Of a host's disk the current bundle stays, and what a node of yours, running or not, was started from.

    Examples:

      usernetes bundle gc
      usernetes bundle gc --staged
      usernetes bundle gc --hosts node[01-16]
    """
    if staged or hosts:
        _prune_hosts(hosts, folder, cache)
        return
    _collect(cache)


def _prune_hosts(hosts: str, folder: str, cache: str) -> None:
    launcher = ssh_launcher(hosts, node_program()) if hosts else LocalLauncher(1, node_program())
    try:
        keep = [f"--keep={store.locate(None, _cache(cache)).manifest.name}"]
    except BundleError:  # there is no current one
        keep = []
    words = ["prune", *keep, *([f"--folder={folder}"] if folder else [])]

    def prune(host: Host) -> Any:
        done = launcher.run(host, [*launcher.node_program(host), *words], timeout=PRUNE_SECONDS)
        return json.loads(done.check(host.name).stdout)

    try:
        outcome = on_all(launcher.hosts(), prune, deadline=PRUNE_SECONDS + 30)
    finally:
        launcher.close()
    for name, found in outcome.results.items():
        for path in found["removed"]:
            print(f"{name}  {path}" if hosts else path)
    _say(f"{mib(sum(found['bytes'] for found in outcome.results.values()))} freed")
    outcome.check("remove bundles")


def _collect(cache: str) -> None:
    folder = _cache(cache)
    with store.locked(folder):
        gone = store.collect_garbage(folder, _of_clusters())
    for name, size in gone:
        print(f"{name}  {mib(size)}")
    _say(f"{mib(sum(size for _, size in gone))} freed")


def _of_clusters() -> set[str]:
    """The names of the bundles that this user's clusters were started from; a record that cannot be read has none."""
    return {Path(str(found["root"])).name for state in clusters(roots()) if "root" in (found := state.bundle())}


def mib(size: int) -> str:
    """A size for people: ``812.3 MiB``."""
    return f"{size / (1 << 20):.1f} MiB"


def _cache(cache: str) -> Path:
    return Path(cache).expanduser().absolute() if cache else bundle_cache()


def _load_pins(file: str) -> dict[str, str]:
    return pins.load(pins.SHIPPED, Path(file) if file else pins.site_file())


def _pin(archive_file: Path, file: str) -> dict[str, str]:
    return pins.pin([archive_file], components.load().components, Path(file) if file else pins.site_file())


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))


collection = Collection("bundle", build_, download_, verify, list_, pack, import_, pin, gc)
