"""Run the suites one after the other and write a record of each; `python -m faults.page` makes the page."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything imports PyTorch: children are forked

import argparse
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from faults.common import RECORDS, Options, laboratory, record

SUITES = (
    "kills",
    "syscalls",
    "resume",
    "disk",
    "damage",
    "crowd",
    "changed",
    "environments",
    "inputs",
    "hostile",
    "peers",
    "cost",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="SUITE", help=f"which; all by default: {', '.join(SUITES)}")
    parser.add_argument("--n", type=int, default=Options.n, help="trials, where they are random (%(default)s)")
    parser.add_argument("--seed", type=int, default=Options.seed, help="of what is random (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="a small part of everything")
    parser.add_argument("--records", type=Path, default=RECORDS, help="folder for the records")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(SUITES):
        parser.error(f"no suite {', '.join(sorted(unknown))}; there are {', '.join(SUITES)}")
    options = Options(asked.n, asked.quick, asked.seed)
    for name in asked.names or SUITES:
        started = time.perf_counter()
        with laboratory() as lab:
            # Inputs are cheap: ten are generated where others make one trial.
            scaled = replace(options, n=10 * options.n) if name == "inputs" else options
            results = import_module(f"faults.{name}").suite(lab, scaled)
        if results is None:
            print(f"{name}: not possible here, no record")
            continue
        seconds = time.perf_counter() - started
        print(f"{name}: {seconds:.0f} s, {record(name, results, options, asked.records, seconds).name}", flush=True)


if __name__ == "__main__":
    main()
