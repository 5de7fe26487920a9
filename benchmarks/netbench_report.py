"""How long netbench takes to import foreign outputs and to write their report, against plainly reading the files.

::

    python benchmarks/netbench_report.py DIR [--files 1400] [--runs 3]

DIR is a folder of raw outputs (the published campaign's, say); it is copied until there are enough files. Aims: import
of 1,400 files in 5 s, their report in 10 s, a page of at most 5 MB.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from netbench.records.importer import import_dir
from netbench.report import write_report

AIMS = {"import": 5.0, "report": 10.0}


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of wall clock, and the result."""
    began = time.perf_counter()
    result = call()
    return time.perf_counter() - began, result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--files", type=int, default=1400)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    seconds: dict[str, list[float]] = {"read": [], "import": [], "report": []}
    page = 0
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in"
        copy = 0
        while len(list(source.rglob("*.out"))) < options.files:
            shutil.copytree(options.directory, source / str(copy))
            copy += 1
        for path in sorted(source.rglob("*.out"))[options.files :]:
            path.unlink()
        for run in range(options.runs):
            records, out = Path(folder) / f"records{run}", Path(folder) / f"report{run}"
            took, _ = timed(lambda: [path.read_text(errors="replace") for path in source.rglob("*.out")])
            seconds["read"].append(took)
            took, _ = timed(lambda records=records: import_dir(source, records))  # type: ignore[misc]
            seconds["import"].append(took)
            took, found = timed(lambda records=records, out=out: write_report(records, out))  # type: ignore[misc]
            seconds["report"].append(took)
            page = found.html.stat().st_size
    base = statistics.median(seconds["read"])
    print(f"{options.files} files; reading them alone: {base:.2f} s (baseline)")
    for name, aim in AIMS.items():
        value = statistics.median(seconds[name])
        print(f"{name:<7} {value:6.2f} s   {value / base:6.1f} x reading   {value / aim:5.2f} of the aim ({aim:g} s)")
    print(f"page    {page / 1e6:6.2f} MB   {page / 5e6:5.2f} of the aim (5 MB)")


if __name__ == "__main__":
    main()
