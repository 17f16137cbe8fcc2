"""The command line of the suites on what others wrote: `python -m faults.inputs`, `python -m faults.hostile`."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything imports PyTorch: children are forked

import argparse
import json
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.common import PACKAGES, commit, machine, version

RECORDS = Path(__file__).with_name("records")


@dataclass(frozen=True)
class Asked:
    """`n`: generated inputs; `quick`: every eighth of those by hand."""

    n: int
    quick: bool
    seed: int


def main(name: str, suite: Callable[[Any, Any], dict[str, Any]]) -> int:
    """Run a suite, write its record, say what failed; 1 if anything did."""
    parser = argparse.ArgumentParser(prog=f"python -m faults.{name}")
    parser.add_argument("--n", type=int, default=10_000, help="generated inputs (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of what is generated (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="every eighth of the cases by hand")
    parser.add_argument("--records", type=Path, default=RECORDS, help="folder for the record")
    options = Asked(**{key: value for key, value in vars(parser.parse_args()).items() if key != "records"})
    records = parser.parse_args().records
    started = time.perf_counter()
    results = suite(None, options)
    now = datetime.now(UTC)
    content = {
        "suite": name,
        "date": now.isoformat(timespec="seconds"),
        "commit": commit(),
        **vars(options),
        "seconds": round(time.perf_counter() - started),
        "machine": machine(),
        "versions": {"python": platform.python_version()} | {package: version(package) for package in PACKAGES},
        "results": results,
    }
    records.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=1) + "\n"
    (records / f"{now:%Y-%m-%dT%H%M%SZ}_{name}.json").write_text(text, encoding="utf-8")
    failed = 0
    for suite_name, found in results["suites"].items():
        outcomes = ", ".join(f"{found[outcome]:,} {outcome}" for outcome in ("clean", "done", "failed"))
        print(f"{suite_name}: {found['n']:,} cases, {outcomes}")
        failed += found["failed"]
        for failure in found["failures"]:
            print(f"- {failure}")
    return int(failed > 0)
