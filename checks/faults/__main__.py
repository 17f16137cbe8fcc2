"""Run the suites, one after the other or a few at a time, and write a record of each.

`python -m checks.faults.page` makes the page of the records.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything imports PyTorch: children are forked

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from checks.faults.common import RECORDS, Options, laboratory
from checks.faults.page import tallies
from checks.records import write_record

SUITES = (
    "kills",
    "syscalls",
    "resume",
    "disk",
    "disks",
    "damage",
    "crowd",
    "sweeps",
    "changed",
    "environments",
    "trust",
    "inputs",
    "hostile",
    "peers",
    "cost",
)
ALONE = ("cost",)
"""Suites that measure times, which another suite beside them would spoil."""
WITHOUT_LABORATORY = ("inputs", "hostile")
"""Suites that make a scene of their own."""
LONGEST = ("inputs", "peers", "kills")
"""Suites that begin first where several run at a time, so that none of them is waited for at the end."""


def main() -> int:
    """Run what is asked for; 1 if a trial did not hold or a suite broke off."""
    parser = argparse.ArgumentParser(prog="python -m checks.faults", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="SUITE", help=f"which; all by default: {', '.join(SUITES)}")
    parser.add_argument("--n", type=int, default=Options.n, help="trials, where they are random (%(default)s)")
    parser.add_argument("--seed", type=int, default=Options.seed, help="of what is random (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="a small part of everything")
    parser.add_argument("--records", type=Path, default=RECORDS, help="folder for the records")
    parser.add_argument("--jobs", type=int, default=1, help="suites at a time, in processes of their own (%(default)s)")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(SUITES):
        parser.error(f"no suite {', '.join(sorted(unknown))}; there are {', '.join(SUITES)}")
    names, options = asked.names or list(SUITES), Options(asked.n, asked.quick, asked.seed)
    if asked.jobs > 1 and len(names) > 1:
        return side_by_side(names, options, asked.records, asked.jobs)
    if not options.quick or len(names) == 1:
        return int(not all([run(name, options, asked.records) for name in names]))
    with laboratory(quick=True) as pattern:
        return int(not all([run(name, options, asked.records, pattern) for name in names]))


def run(name: str, options: Options, records: Path, pattern: Path | None = None) -> bool:
    """One suite and its record; says what did not hold. `pattern`: a laboratory to copy; without it one is made."""
    started = time.perf_counter()
    with nullcontext(Path()) if name in WITHOUT_LABORATORY else laboratory(quick=options.quick, like=pattern) as lab:
        # Inputs are cheap: ten are generated where others make one trial.
        scaled = replace(options, n=10 * options.n) if name == "inputs" else options
        results = import_module(f"checks.faults.{name}").suite(lab, scaled)
    if results is None:
        print(f"{name}: not possible here, no record", flush=True)
        return True
    seconds = time.perf_counter() - started
    found = list(tallies(results))
    trials, held = sum(tally["trials"] for _, tally in found), sum(tally["held"] for _, tally in found)
    told = f"{held:,} of {trials:,} trials held, " if found else ""
    facts = {"quick": scaled.quick, "n": scaled.n, "seed": scaled.seed, "seconds": round(seconds)}
    written = write_record(records, "suite", name, facts, results).name
    print(f"{name}: {told}{seconds:.0f} s, {written}", flush=True)
    for path, tally in found:
        for reason in tally["reasons"]:
            print(f"- {path}: {reason}", flush=True)
    return held == trials


def side_by_side(names: Sequence[str], options: Options, records: Path, jobs: int) -> int:
    """Suites in processes of their own, `jobs` at a time; those that measure time come last and alone."""

    def carried_out(name: str) -> int:
        command = [sys.executable, "-m", "checks.faults", name, "--records", str(records)]
        command += ["--n", str(options.n), "--seed", str(options.seed), *(["--quick"] if options.quick else [])]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        broke_off = f"{name}: exit code {done.returncode}\n" if done.returncode not in (0, 1) else ""
        sys.stdout.write(done.stdout + broke_off)
        sys.stdout.flush()
        return done.returncode

    together = sorted((name for name in names if name not in ALONE), key=lambda name: name not in LONGEST)
    with ThreadPoolExecutor(jobs) as pool:
        codes = list(pool.map(carried_out, together))
    codes += [carried_out(name) for name in names if name in ALONE]
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
