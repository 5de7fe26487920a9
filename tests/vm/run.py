"""Clusters on a real Debian 12 with systemd and cgroup v2, in an emulated machine; by hand, and before releases.

    python -m tests.vm.run --work ~/.cache/usernetes-vm --cache /var/lib/usernetes/cache [SCENARIO ...]

As root, with debootstrap, e2fsprogs and qemu-system-x86. The first run makes the disks (about ten minutes); a machine
answers after one or two minutes and is ten to twenty times slower than this one: for correctness, never for times.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
import time
from pathlib import Path
from types import ModuleType

from tests.vm import image, scenarios
from tests.vm.machine import Machine

NAMES = sorted(module.name for module in pkgutil.iter_modules(scenarios.__path__))


def scenario(name: str) -> ModuleType:
    """The module of a scenario; its docstring says what is seen."""
    return importlib.import_module(f"{scenarios.__name__}.{name}")


def main() -> int:
    """Run the scenarios; the exit code says whether all of them passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path.home() / ".cache" / "usernetes-vm", help="disks and keys")
    parser.add_argument("--cache", type=Path, default=Path("/var/lib/usernetes/cache"), help="the bundle's cache")
    parser.add_argument("--port", type=int, default=2222, help="of the machine's SSH, on loopback")
    parser.add_argument("--keep", action="store_true", help="leave the machine running; the next call uses it")
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"of {', '.join(NAMES)} (default: all)")
    options = parser.parse_args()
    unknown = [name for name in options.scenarios if name not in NAMES]
    if unknown:
        parser.error(f"there is no scenario {', '.join(unknown)}")
    image.make(options.work, options.cache)
    machine = Machine(options.work, options.port)
    if machine.sh("root", "true", timeout=60).returncode:
        machine.boot()
    machine.copy_code()
    failed = 0
    try:
        for name in options.scenarios or NAMES:
            began = time.monotonic()
            print(f"{name}: {scenario(name).__doc__}", flush=True)
            try:
                scenario(name).run(machine)
                outcome = "PASS"
            except AssertionError as error:
                outcome, failed = f"FAIL\n{error}", failed + 1
            print(f"{name}: {outcome} ({time.monotonic() - began:.0f} s)", flush=True)
    finally:
        if not options.keep:
            machine.kill()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
