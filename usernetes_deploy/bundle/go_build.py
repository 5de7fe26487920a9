"""How the Go compiler is called, so that the same sources give the same bytes on every machine."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

from usernetes_deploy.bundle import images
from usernetes_deploy.bundle.components import GoBuild

STATIC = "-linkmode=external -extldflags '-static -Wl,--build-id=none'"


def go_command(recipe: GoBuild, out: str, threads: int) -> list[str]:
    """The `go build` that gives the same bytes wherever it runs: no paths, build id, version control or clock."""
    flags = ["-s", "-w", "-buildid="] + ([STATIC] if recipe.cgo else [])
    flags += [f"-X {name}={value}" for name, value in sorted(recipe.stamps.items())]
    return [
        "go",
        "build",
        "-mod=readonly",
        "-trimpath",
        "-buildvcs=false",
        "-v",
        f"-p={threads}",
        f"-tags={','.join(recipe.tags)}",
        f"-ldflags={' '.join(flags)}",
        f"-o={out}/",
        *recipe.files.values(),
    ]


def command_name(package: str) -> str:
    """What `go build` calls the command of a package: its last word that is no major version.

    >>> command_name("go.etcd.io/etcd/server/v3")
    'server'
    """
    words = PurePosixPath(package).parts
    return words[-2] if re.fullmatch(r"v\d+", words[-1]) else words[-1]


def go_environment(cache: Path) -> dict[str, str]:
    """This process' environment without what would change the bytes; Go's caches go to `cache` if home is no place."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CGO_", "GOEXPERIMENT"))}
    environment |= {
        "GOFLAGS": "-mod=readonly",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "GOOS": "linux",
        "GOAMD64": "v1",
    }
    environment |= {"GOARCH": images.architecture(), "LC_ALL": "C", "SOURCE_DATE_EPOCH": "0"}
    home = environment.get("HOME", "")
    if not os.access(home, os.W_OK):
        for name, folder in {"GOCACHE": "go-build", "GOPATH": "go"}.items():
            environment.setdefault(name, str(cache / folder))
    return environment
