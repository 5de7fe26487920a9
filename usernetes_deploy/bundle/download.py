"""Takes components from the release archives of their authors, for sites with a network: nothing without a pin.

What has no release archive (our helpers, pause, the local-path provisioner, busybox) is built as `build` does it.
"""

from __future__ import annotations

import hashlib
import http.client
import shutil
import tarfile
import threading
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from usernetes_deploy.bundle import build, store, tools
from usernetes_deploy.bundle.components import Component, Components, Release
from usernetes_deploy.bundle.progress import Progress
from usernetes_deploy.bundle.store import Bundle
from usernetes_deploy.errors import BundleError

CHUNK = 1 << 18
SILENCE = 30.0
DEADLINE = 1800.0
RETRY = "try again (what is complete is kept); behind a proxy, set https_proxy"
DISTRUST = "do not use what that server sends; find out why it differs from what was pinned"


def download(
    parts: Components,
    cache: Path,
    report: build.Report,
    pinned: Mapping[str, str],
    *,
    extra: Sequence[str] = (),
    silence: float = SILENCE,
    deadline: float = DEADLINE,
) -> Bundle:
    """Make the current bundle of `cache` from release archives, each checked against `pinned` (sha256 by URL).

    Refuses, before the first connection, when any archive has no pin. `silence` is how many seconds a server may say
    nothing, `deadline` how many one archive may take.
    """
    chosen = parts.chosen(extra)
    released = {component.name: component.release for component in chosen if component.release}
    unpinned = [release.url for release in released.values() if release.url not in pinned]
    if unpinned:
        lines = "".join(f"\n  {url}" for url in sorted(set(unpinned)))
        raise BundleError(
            f"no pinned sha256 for {len(set(unpinned))} of the release archives:{lines}",
            remedy="usernetes bundle pin FILE (an archive that you have checked, or its list of sums); or bundle build",
        )
    built = [component for component in chosen if component.name not in released]
    with store.locked(cache):
        found = tools.find(built, parts.go)
        progress = Progress({component.name: component.packages for component in chosen})
        builder = build.Builder(found, cache, progress, 1)

        one_at_a_time = {release.url: threading.Lock() for release in released.values()}

        def take(component: Component, out: Path) -> Mapping[str, str]:
            release = released[component.name]
            sha256 = pinned[release.url]
            with one_at_a_time[release.url]:
                archive = fetch(release.url, sha256, cache / "downloads", report, silence=silence, deadline=deadline)
            unpack(archive, release, out)
            return {"downloaded": release.url, "sha256": sha256}

        makers: dict[str, tuple[build.Maker, str]] = {}
        for component in chosen:
            if component.name in released:
                makers[component.name] = (take, component.key(pinned[released[component.name].url]))
            else:
                makers[component.name] = (builder.make, builder.key(component))
        return build.make_bundle(chosen, makers, cache, report, workers=4, cancel=builder.cancel, progress=progress)


def fetch(
    url: str,
    sha256: str,
    folder: Path,
    report: build.Report,
    *,
    silence: float = SILENCE,
    deadline: float = DEADLINE,
) -> Path:
    """Download `url` to ``folder/<sha256>`` unless it is there; return that path.

    Raises `BundleError`, with a message of its own for each: HTTP status, no connection, slow, truncated, wrong sum.
    """
    target = folder / sha256
    if target.exists() and sum_of(target) == sha256:
        return target
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{sha256}.part"
    report(f"        {url} ...")
    try:
        got = _receive(url, part, silence, deadline)
        if got != sha256:
            raise BundleError(f"{url}: wrong sum: its sha256 is {got}, pinned is {sha256}", remedy=DISTRUST)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return target


def unpack(archive: Path, release: Release, out: Path) -> None:
    """Put the files that `release` names from `archive` into `out`, and nothing else of it."""
    wanted = {str(PurePosixPath(member)): path for path, member in release.files.items() if member}
    for path in release.files:
        (out / path).parent.mkdir(exist_ok=True)
    for path, source in release.files.items():
        if not source:
            shutil.copyfile(archive, out / path)
            (out / path).chmod(0o755)
    if not wanted:
        return
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                wanted_path = wanted.get(str(PurePosixPath(member.name)))
                content = tar.extractfile(member) if wanted_path and member.isreg() else None
                if content is None or wanted_path is None:
                    continue
                with (out / wanted_path).open("wb") as file:
                    shutil.copyfileobj(content, file)
                (out / wanted_path).chmod(0o755)
                del wanted[str(PurePosixPath(member.name))]
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise BundleError(f"{release.url} is not the archive that it should be: {error}") from error
    if wanted:
        raise BundleError(f"{release.url} lacks {', '.join(sorted(wanted))}")


def _receive(url: str, part: Path, silence: float, deadline: float) -> str:
    ends = time.monotonic() + deadline
    sha256, size, expected = hashlib.sha256(), 0, None
    try:
        with urllib.request.urlopen(url, timeout=silence) as answer, part.open("wb") as out:
            length = answer.headers.get("Content-Length")
            expected = int(length) if length else None
            # read1 gives what has come so far: read would wait for a whole chunk, however slowly it drips
            while chunk := answer.read1(CHUNK):
                sha256.update(chunk)
                out.write(chunk)
                size += len(chunk)
                if time.monotonic() > ends:
                    reason = f"{url}: too slow: {size} bytes of {length or '?'} in {deadline:g} s"
                    raise BundleError(reason, remedy=RETRY)
    except urllib.error.HTTPError as error:
        error.close()
        raise BundleError(f"{url}: HTTP {error.code} {error.reason}", remedy="is the pinned version right?") from error
    except TimeoutError as error:
        raise BundleError(f"{url}: too slow: nothing came for {silence:g} s", remedy=RETRY) from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise BundleError(f"{url}: too slow: no connection within {silence:g} s", remedy=RETRY) from error
        raise BundleError(f"{url}: cannot be reached: {error.reason}", remedy=RETRY) from error
    except http.client.HTTPException as error:
        raise BundleError(f"{url}: the server broke off after {size} bytes: {error!r}", remedy=RETRY) from error
    except ConnectionError as error:
        reason = f"{url}: truncated: {size} bytes of {expected or '?'}: {error.strerror}"
        raise BundleError(reason, remedy=RETRY) from error
    if expected is not None and size != expected:
        raise BundleError(f"{url}: truncated: {size} bytes of {expected}", remedy=RETRY)
    return sha256.hexdigest()


def sum_of(path: Path) -> str:
    """The sha256 of a file, as hexadecimal text."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
