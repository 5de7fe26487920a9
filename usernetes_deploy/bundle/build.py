"""Builds the bundle from Go modules: pinned, reproducible, in parallel, resumed where it was interrupted.

Each component is built in a folder of its own, named by everything that decides its bytes; what is there and sound is
not built again. The bundle is then put together from these folders, and named by the digest of its manifest.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from usernetes_deploy.bundle import contents, elf, images, stage, store, tools, unpacking
from usernetes_deploy.bundle.components import CBuild, Component, Components, GoBuild
from usernetes_deploy.bundle.go_build import command_name, go_command, go_environment
from usernetes_deploy.bundle.progress import Progress
from usernetes_deploy.bundle.store import Bundle
from usernetes_deploy.errors import BundleError

Report = Callable[[str], None]
Maker = Callable[[Component, Path], Mapping[str, str]]
TICK = 1.0  # seconds between two looks at how far it is

JOB_MEMORY = 2 << 30
NETWORK = re.compile(r"dial tcp|no such host|proxyconnect|i/o timeout|TLS handshake|connection refused")


def quietly(_: str) -> None:
    """A report that shows nothing."""


def build(
    parts: Components,
    cache: Path,
    report: Report,
    *,
    extra: Sequence[str] = (),
    jobs: int | None = None,
    moving: Report = quietly,
) -> Bundle:
    """Build what is not yet built, and make the bundle of it the current one of `cache`.

    `extra` names optional components; `jobs` is how many are built at a time (default: as cores and memory allow).
    What was done goes to `report`, a line a call, and how far it is to `moving`, once a second. Raises `BundleError`:
    missing tools, a held cache, a failed build.
    """
    chosen = parts.chosen(extra)
    with store.locked(cache):
        found = tools.find(chosen, parts.go)
        workers = jobs or default_jobs()
        progress = Progress({component.name: component.packages for component in chosen})
        builder = Builder(found, cache, progress, threads_for(workers))
        makers = {component.name: (builder.make, builder.key(component)) for component in chosen}
        return make_bundle(
            chosen,
            makers,
            cache,
            report,
            workers=workers,
            cancel=builder.cancel,
            progress=progress,
            moving=moving,
        )


def make_bundle(
    chosen: Sequence[Component],
    makers: Mapping[str, tuple[Maker, str]],
    cache: Path,
    report: Report,
    *,
    workers: int,
    cancel: Callable[[], None] = lambda: None,
    progress: Progress | None = None,
    moving: Report = quietly,
) -> Bundle:
    """Make each component with its maker unless ``built/<name>-<key>`` is sound, then put the bundle together.

    The largest is begun first: it takes the longest. The first failure ends the others with `cancel`; what was finished
    stays for the next call.
    """
    shown = progress or Progress({component.name: component.packages for component in chosen})
    roots = {component.name: cache / "built" / f"{component.name}-{makers[component.name][1]}" for component in chosen}
    counted = itertools.count(1)
    stopped = threading.Event()

    def one(component: Component) -> None:
        if stopped.is_set():
            return
        began = time.monotonic()
        try:
            made = _make(component, roots[component.name], makers[component.name][0], report, shown)
        except BaseException:
            stopped.set()
            raise
        shown.finish(component.name, made=made)
        how = f"{time.monotonic() - began:.1f} s" if made else "there already"
        report(f"[{next(counted):2}/{len(chosen)}] {component.name} {component.version}: {how}")

    (cache / "built").mkdir(parents=True, exist_ok=True)
    for stale in (cache / "built").glob(".placing-*"):
        shutil.rmtree(stale, ignore_errors=True)
    with ThreadPoolExecutor(max_workers=workers) as pool:
        try:
            largest_first = sorted(chosen, key=lambda component: -component.packages)
            pending = [pool.submit(one, component) for component in largest_first]
            finished, unfinished = wait(pending, timeout=TICK, return_when=FIRST_EXCEPTION)
            while unfinished and not any(future.exception() for future in finished):
                if text := shown.text():
                    moving(text)
                finished, unfinished = wait(pending, timeout=TICK, return_when=FIRST_EXCEPTION)
            failures = [error for future in finished if (error := future.exception())]
            if failures:
                raise failures[0]
        except BaseException:
            stopped.set()
            cancel()
            raise
    return _assemble(chosen, roots, cache)


def default_jobs() -> int:
    """Components at a time: at most 4, one a core, and 2 GiB of free memory for each (linking kubelet takes that)."""
    return max(1, min(4, len(os.sched_getaffinity(0)), _free_memory() // JOB_MEMORY))


def threads_for(workers: int) -> int:
    """Cores that one Go build may take: all that memory lasts for, because one component takes far the longest."""
    cores = len(os.sched_getaffinity(0))
    return max(1, min(cores, _free_memory() // (JOB_MEMORY * workers)))


def _free_memory() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return 0


class Builder:
    """Makes components with the compilers of this host; `threads` is how many cores one Go build takes."""

    def __init__(self, found: tools.Tools, cache: Path, progress: Progress, threads: int):
        self._tools = found
        self._progress = progress
        self._threads = threads
        self._environment = go_environment(cache)
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._cancelled = False

    def key(self, component: Component) -> str:
        """What everything that decides the bytes of `component` comes down to, the compiler's flags included."""
        command = go_command(component.go, "", 1) if component.go else []
        return component.key(*self._tools.facts(component), *command)

    def make(self, component: Component, out: Path) -> Mapping[str, str]:
        """Build `component` into the empty folder `out`; return what its record says about where it came from."""
        if component.go:
            self._go(component, component.go, out)
            _check_static(out)
            if component.image:
                _into_image(component, component.go, out)
            return {"built": self._tools.go}
        if component.c:
            self._c(component, component.c, out)
            return {"built": self._tools.cc}
        assert self._tools.busybox is not None  # noqa: S101 (tools.find has seen to it)
        return self._system(component, self._tools.busybox, out)

    def cancel(self) -> None:
        """End what is running, and start nothing more."""
        with self._lock:
            self._cancelled = True
            for process in self._running:
                process.send_signal(signal.SIGINT)  # go clears its work folder away then, which it does not on TERM

    def _go(self, component: Component, recipe: GoBuild, out: Path) -> None:
        with tempfile.TemporaryDirectory(prefix=".go-", dir=out) as made:
            argv = go_command(recipe, made, self._threads)
            self._run(component, argv, recipe.folder, {"CGO_ENABLED": "1" if recipe.cgo else "0"})
            for path, package in recipe.files.items():
                (out / path).parent.mkdir(exist_ok=True)
                (Path(made) / command_name(package)).rename(out / path)

    def _c(self, component: Component, recipe: CBuild, out: Path) -> None:
        argv = ["go", "mod", "download", recipe.module]
        self._run(component, argv, recipe.folder, {})
        argv = ["go", "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", recipe.module]
        source = Path(self._run(component, argv, recipe.folder, {}).strip()) / recipe.source
        with tempfile.TemporaryDirectory(prefix=".c-", dir=out) as made:
            binary = Path(made) / component.name
            argv = ["gcc", *recipe.flags, "-static", "-s", "-Wl,--build-id=none", "-o", str(binary), str(source)]
            self._run(component, argv, Path(made), {})
            write_image(images.program(binary, component.name, component.version), component, out)

    def _system(self, component: Component, binary: Path, out: Path) -> Mapping[str, str]:
        applets = self._run(component, [str(binary), "--list"], out, {}).split()
        write_image(images.busybox(binary, self._tools.busybox_version, applets), component, out)
        return {"distribution": self._tools.facts(component)[0], "version": self._tools.busybox_version}

    def _run(self, component: Component, argv: Sequence[str], folder: Path, extra: Mapping[str, str]) -> str:
        with self._lock:
            if self._cancelled:
                raise BundleError(f"{component.name}: not built, because another component failed")
            process = subprocess.Popen(
                ["nice", "-n", "5", *argv],
                cwd=folder,
                env={**self._environment, **extra},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
            self._running.add(process)
        assert process.stdout is not None  # noqa: S101 (for the type checker)
        lines = []
        with process:
            for line in process.stdout:
                lines.append(line)
                self._progress.compiled(component.name, len(lines))
        with self._lock:
            self._running.discard(process)
        if process.returncode:
            raise _failure(component, argv, folder, "".join(lines))
        return "".join(lines)


def write_image(image: images.Image, component: Component, out: Path) -> None:
    """Write the image of `component` to its place in `out`."""
    (out / "images").mkdir(exist_ok=True)
    images.write(image, out / "images" / f"{component.name}.tar")
    (out / "name").write_text(image.name)


def _into_image(component: Component, recipe: GoBuild, out: Path) -> None:
    """Put the one command of `component` into an image; no node needs it besides."""
    (path,) = recipe.files
    binary = out / path
    write_image(images.program(binary, component.name, component.version), component, out)
    binary.unlink()
    binary.parent.rmdir()


def _make(component: Component, root: Path, maker: Maker, report: Report, progress: Progress) -> bool:
    """Fill `root` with a bundle of this one component; False when it is there and sound."""
    if (root / contents.MANIFEST).exists():
        try:
            manifest = unpacking.read_manifest(root)
            if stage.is_fresh(root, manifest) or not stage.problems(root, manifest):
                stage.stamp(root, manifest)
                return False
            report(f"        {component.name}: what was built is damaged, so it is built again")
        except BundleError as error:
            report(f"        {component.name}: built again: {error.reason}")
    progress.begin(component.name)
    with stage.placing(root) as out:
        origin = maker(component, out)
        name = out / "name"
        named = {name.read_text(): f"images/{component.name}.tar"} if name.exists() else {}
        name.unlink(missing_ok=True)
        document = contents.describe(out, components=[record(component, origin)], images=named)
        contents.write_manifest(out, document)
        stage.stamp(out, unpacking.read_manifest(out))
    return True


def record(component: Component, origin: Mapping[str, str]) -> dict[str, Any]:
    """What the manifest says of a component; `origin` tells how it came here, and for a system file its version."""
    return {
        "name": component.name,
        "version": component.version,
        "module": component.module,
        "licence": component.licence,
        **origin,
    }


def _assemble(chosen: Sequence[Component], roots: Mapping[str, Path], cache: Path) -> Bundle:
    parts = [unpacking.read_manifest(roots[component.name]) for component in chosen]
    sources = {path: root / path for root, part in zip(roots.values(), parts, strict=True) for path in part.files}
    document = contents.sealed(
        {
            "schema": contents.SCHEMA,
            "architecture": images.architecture(),
            "files": {path: said for part in parts for path, said in part.document["files"].items()},
            "components": [said for part in parts for said in part.document["components"]],
            "images": {name: path for part in parts for name, path in part.document["images"].items()},
        }
    )
    manifest = contents.Manifest.of(document)

    def fill(folder: Path) -> None:
        for path, file in manifest.files.items():
            stage.share(sources[path], folder / path, file)
        contents.write_manifest(folder, document)

    return store.add(cache, manifest, fill)


def _check_static(out: Path) -> None:
    for path in sorted([*out.glob("bin/*"), *out.glob("cni/*")]):
        loader = elf.interpreter(path)
        if loader:
            raise BundleError(f"{path.name} is not static: it needs {loader} and would not run on every node")


def _failure(component: Component, argv: Sequence[str], folder: Path, output: str) -> BundleError:
    tail = [line for line in output.strip().splitlines() if not line.startswith("go: downloading")][-8:]
    remedy = "see docs/bundle.md, or take a bundle made elsewhere: usernetes bundle import FILE"
    if NETWORK.search(output):
        remedy = "the Go module proxy cannot be reached: set GOPROXY, or usernetes bundle import FILE"
    return BundleError(
        f"{component.name} {component.version} cannot be built:" + "".join(f"\n  | {line}" for line in tail),
        tried=f"cd {shlex.quote(str(folder))} && {shlex.join(argv)}",
        remedy=remedy,
    )
