"""The sha256 of each release archive that `download` may take; without a pin nothing is downloaded.

A pin is made from an archive that somebody has checked, or from the list of sums that its authors publish. Ours are in
``pins.yaml`` beside this file, a site's own in ``$XDG_CONFIG_HOME/usernetes/pins.yaml``.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import yaml

from usernetes_deploy.bundle.components import HERE, Component
from usernetes_deploy.errors import BundleError, UsageError

SHIPPED = HERE / "pins.yaml"
HEX = re.compile(r"[0-9a-f]{64}")
SUM_LINE = re.compile(r"([0-9a-fA-F]{64})(?:\s+\*?(\S+))?")
LARGEST_LIST = 1 << 20


def site_file(environ: Mapping[str, str] = os.environ) -> Path:
    """``$XDG_CONFIG_HOME/usernetes/pins.yaml``, or below ``~/.config`` as the XDG rules say."""
    base = environ.get("XDG_CONFIG_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".config") / "usernetes" / "pins.yaml"


def load(*files: Path) -> dict[str, str]:
    """The sha256 by URL from all `files` that exist; a later file overrides. Raises `BundleError` for a bad one."""
    pins: dict[str, str] = {}
    for file in files:
        if not file.exists():
            continue
        try:
            said = yaml.safe_load(file.read_text()) or {}
            found = {str(url): str(sha256) for url, sha256 in said.items()}
        except (OSError, yaml.YAMLError, AttributeError) as error:
            raise BundleError(f"{file} is not a list of pins (URL: sha256): {error}") from error
        bad = [url for url, sha256 in found.items() if not HEX.fullmatch(sha256)]
        if bad:
            raise BundleError(f"{file}: the pin of {bad[0]} is no sha256 of 64 hexadecimal digits")
        pins |= found
    return pins


def pin(files: Sequence[Path], components: Iterable[Component], target: Path) -> dict[str, str]:
    """Add pins to `target` from `files`: release archives, or lists of sums as ``sha256sum`` writes them.

    A file stands for the component whose archive has its name. Returns what was pinned. Raises `UsageError` for a file
    that belongs to none, `BundleError` when `target` holds another sum for it.
    """
    urls: dict[str, str] = {}
    for component in components:
        if component.release:
            urls[file_name(component.release.url)] = component.release.url
    made: dict[str, str] = {}
    for file in files:
        found = _sums(file, urls)
        if not found:
            reason = f"{file} is neither an archive of a component nor a list that names one"
            raise UsageError(reason, remedy=_names(urls))
        made |= {urls[name]: sha256 for name, sha256 in found.items()}
    known = load(target)
    for url, sha256 in made.items():
        if known.get(url, sha256) != sha256:
            raise BundleError(
                f"{target} pins {url} to {known[url]}, which is not {sha256}",
                remedy="find out which one is right; to replace the pin, remove its line first",
            )
    text = yaml.safe_dump(known | made, default_flow_style=False, width=1000)
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_name(f".{target.name}.{os.getpid()}")
    new.write_text("# URL of a release archive: its sha256. Written by `usernetes bundle pin`.\n" + text)
    new.replace(target)
    return made


def file_name(url: str) -> str:
    """The last word of a URL's path."""
    return PurePosixPath(urlsplit(url).path).name


def _sums(file: Path, urls: Mapping[str, str]) -> dict[str, str]:
    try:
        if file.name in urls:
            with file.open("rb") as content:
                return {file.name: hashlib.file_digest(content, "sha256").hexdigest()}
        if file.stat().st_size > LARGEST_LIST:
            return {}
        lines = [SUM_LINE.fullmatch(line.strip()) for line in file.read_text(errors="replace").splitlines()]
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from error
    own = file.name.removesuffix(".sha256sum").removesuffix(".sha256")
    named = [(PurePosixPath(line[2] or own).name, line[1].lower()) for line in lines if line]
    return {name: sha256 for name, sha256 in named if name in urls}


def _names(urls: Mapping[str, str]) -> str:
    return "expected one of: " + ", ".join(sorted(urls))
