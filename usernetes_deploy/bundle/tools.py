"""Looks for everything that a build needs before it begins, and names all that is missing at once."""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from usernetes_deploy.bundle import elf
from usernetes_deploy.bundle.components import Component
from usernetes_deploy.errors import BundleError

USES_SECCOMP = "#include <seccomp.h>\nint main(void) { return seccomp_init(SCMP_ACT_ALLOW) == 0; }\n"


@dataclass(frozen=True)
class Tools:
    """What was found: versions decide the bytes and so are part of each component's key."""

    go: str = ""
    cc: str = ""
    busybox: Path | None = None
    busybox_version: str = ""

    def facts(self, component: Component) -> list[str]:
        """The versions on which the bytes of `component` depend."""
        facts = []
        if component.go or component.c:
            facts.append(self.go)
        if component.c or (component.go and component.go.cgo):
            facts.append(self.cc)
        if component.system and self.busybox:
            facts.append(hashlib.sha256(self.busybox.read_bytes()).hexdigest())
        return facts


def find(components: Sequence[Component], least_go: str) -> Tools:
    """Find the tools that building `components` takes. Raises `BundleError` with all that is missing."""
    missing: list[tuple[str, str]] = []
    go = cc = busybox_version = ""
    busybox = None
    if any(component.go or component.c for component in components):
        go = _go(least_go, missing)
    if any(component.c or (component.go and component.go.cgo) for component in components):
        cc = _cc(missing)
    for component in components:
        if component.system:
            busybox = _static(component.system)
            if busybox is None:
                missing.append(("no static busybox in " + ", ".join(component.system), "install busybox-static"))
            else:
                busybox_version = _busybox_version(busybox)
    if missing:
        lines = "".join(f"\n  {what}\n    fix: {remedy}" for what, remedy in missing)
        raise BundleError(
            f"this host cannot build the bundle:{lines}",
            remedy="or take one made elsewhere: usernetes bundle import FILE",
        )
    return Tools(go, cc, busybox, busybox_version)


def _go(least: str, missing: list[tuple[str, str]]) -> str:
    remedy = f"install Go {least} or newer (https://go.dev/dl) and put its bin folder in PATH"
    said = _output(["go", "env", "GOVERSION"])
    found = re.match(r"go(\d+(?:\.\d+)*)", said or "")
    if said is None or found is None:
        missing.append(("the Go compiler is missing: there is no working `go` in PATH", remedy))
    elif _numbers(found[1]) < _numbers(least):
        missing.append((f"Go is too old: {shutil.which('go')} is {found[1]}, the least is {least}", remedy))
    return said or ""


def _cc(missing: list[tuple[str, str]]) -> str:
    packages = "Debian: gcc libc6-dev libseccomp-dev pkg-config; Fedora: gcc glibc-static libseccomp-static pkgconf"
    said = _output(["gcc", "--version"])
    if said is None:
        missing.append(("the C compiler gcc is missing (runc and pause need it)", f"install {packages}"))
        return ""
    if _output(["pkg-config", "--version"]) is None:
        missing.append(("pkg-config is missing (runc's build asks it for libseccomp)", f"install {packages}"))
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "seccomp.c"
        source.write_text(USES_SECCOMP)
        if _output(["gcc", "-static", "-o", f"{folder}/seccomp", str(source), "-lseccomp"]) is None:
            missing.append(("no static libc and libseccomp to link runc with", f"install {packages}"))
    return said.splitlines()[0]


def _static(paths: Sequence[str]) -> Path | None:
    for path in map(Path, paths):
        with contextlib.suppress(OSError, ValueError):
            if elf.interpreter(path) is None:
                return path
    return None


def _busybox_version(path: Path) -> str:
    said = _output([str(path)]) or ""
    found = re.match(r"BusyBox v([0-9.]+)", said)
    if found is None:
        raise BundleError(f"{path} does not tell its version: {said[:80]!r}", remedy="install busybox-static")
    return found[1]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _output(argv: Sequence[str]) -> str | None:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
