"""Run the benchmarks one after the other and write a record of each.

`python -m checks.benchmarks.page` makes the page of the records.
"""

from __future__ import annotations

import argparse
import time
from importlib import import_module
from pathlib import Path

from checks.benchmarks.common import RECORDS, Options
from checks.records import write_record

BENCHMARKS = ("count", "startup", "train", "ideas", "strategies", "evaluation", "probe", "data", "gpu")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m checks.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which; all by default: {', '.join(BENCHMARKS)}")
    parser.add_argument("--rounds", type=int, default=Options.rounds, help="turns of each rival (%(default)s)")
    parser.add_argument("--n", type=int, default=Options.n_prompts, help="prompts of `evaluation` (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="in miniature: shows that it works, measures nothing")
    parser.add_argument("--records", type=Path, default=RECORDS, help="folder for the records")
    asked = parser.parse_args()
    unknown = set(asked.names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    if not 1 <= asked.rounds <= asked.n:
        parser.error("--rounds must be at least 1, and at most --n")
    options = Options(asked.rounds, asked.quick, asked.n)
    for name in asked.names or BENCHMARKS:
        started = time.perf_counter()
        results = import_module(f"checks.benchmarks.{name}").run(options)
        if results is None:
            print(f"{name}: not possible here, no record")
        else:
            facts = {"quick": options.quick, "rounds": options.rounds}
            file = write_record(asked.records, "benchmark", name, facts, results)
            print(f"{name}: {time.perf_counter() - started:.0f} s, {file.name}", flush=True)


if __name__ == "__main__":
    main()
