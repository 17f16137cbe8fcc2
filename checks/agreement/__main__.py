"""Compare our strategies with the papers' formulas and with avalanche, and write a record of each suite.

`python -m checks.agreement.page` makes the page of the records.
"""

from __future__ import annotations

import argparse
import time
import warnings
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType

from checks.records import write_record

RECORDS = Path(__file__).with_name("records")
SUITES = ("planted", "runs")
MISSING = (
    "checks.agreement compares with avalanche-lib, which is not installed. It is no dependency of the project; install "
    "it beside the project's packages, which stay as they are:\n"
    "  python -m pip install -c constraints.txt -r checks/agreement/requirements.txt"
)


@dataclass(frozen=True)
class Options:
    """`quick`: everything in miniature, to see that it works; its numbers mean nothing."""

    quick: bool = False


def the_peer() -> ModuleType:
    """checks.agreement.peer; SystemExit saying what to install where avalanche is missing."""
    try:
        version("avalanche-lib")
    except PackageNotFoundError:
        raise SystemExit(MISSING) from None
    warnings.filterwarnings("ignore", module="avalanche")
    return import_module("checks.agreement.peer")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m checks.agreement", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="SUITE", help=f"which; all by default: {', '.join(SUITES)}")
    parser.add_argument("--quick", action="store_true", help="in miniature: shows that it works, measures nothing")
    parser.add_argument("--records", type=Path, default=RECORDS, help="folder for the records")
    options = parser.parse_args()
    if unknown := set(options.names) - set(SUITES):
        parser.error(f"no suite {', '.join(sorted(unknown))}; there are {', '.join(SUITES)}")
    peer = the_peer()
    peers = {name: version(name) for name in ("avalanche-lib", "torchvision")}
    for name in options.names or SUITES:
        started = time.perf_counter()
        results = import_module(f"checks.agreement.{name}").run(peer, Options(options.quick))
        facts = {"quick": options.quick, "peers": peers}
        file = write_record(options.records, "suite", name, facts, results)
        print(f"{name}: {time.perf_counter() - started:.0f} s, {file.name}", flush=True)


if __name__ == "__main__":
    main()
