"""Stands in for hydra: starts ranks by the agent (itself on a host of its own name), ends all when one is lost."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys


def main(args: list[str]) -> int:
    """Take hydra's flags as netbench gives them."""
    if args == ["--version"]:
        print("HYDRA build details:\n    Version: 0.0")
        return 0
    value: dict[str, str] = {}
    env: list[str] = []
    while args[0].startswith("-"):
        flag = args.pop(0)
        if flag == "-genv":
            env.append(f"{args.pop(0)}={args.pop(0)}")
        elif flag not in ("-genvnone", "-disable-hostname-propagation"):
            value[flag] = args.pop(0)
    ranks: list[tuple[str, subprocess.Popen[bytes]]] = []
    for number in range(int(value["-n"])):
        node = value["-hosts"].split(",")[number // int(value["-ppn"])]
        line = shlex.join(["env", f"PMI_RANK={number}", *env, *args])
        out = None if number == 0 else subprocess.DEVNULL
        start = ["sh", "-c", line] if node == os.uname().nodename else [value["-launcher-exec"], "-x", node, line]
        ranks.append((node, subprocess.Popen(start, stdout=out)))

    def end(*__: object) -> None:
        for _, rank in ranks:
            rank.kill()
        sys.exit(1)

    signal.signal(signal.SIGTERM, end)
    for node, rank in ranks:
        code = rank.wait()
        if code:
            print(f"=   BAD TERMINATION OF ONE OF YOUR APPLICATION PROCESSES\n=   PID {rank.pid} RUNNING AT {node}")
            print(f"=   EXIT CODE: {abs(code)}\n=   CLEANING UP REMAINING PROCESSES", flush=True)
            for _, other in ranks:
                other.kill()
            return abs(code)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
