"""`python record.py`, where the runs of `runs.py` are: their records, in `records/`, as the benchmark writes them."""

from pathlib import Path

from runs import attempts

from atlantis.bench.protocol import runs_of
from atlantis.bench.record import BenchRecord, write_record
from atlantis.bench.scores import folder_of, numbers_of, scores_of
from atlantis.config import digest
from atlantis.report.record import made_with, portable_config
from atlantis.sweep.results import MAP
from atlantis.trust import checked_record

COMMAND = "atlantis sweep experiments/2026-11-28_repair/runs.py"

if __name__ == "__main__":
    for attempt in attempts():
        method, made = attempt.method, runs_of("cpu", attempt)
        if not (folder_of(made.runs[0]) / MAP).is_file():
            print(f"{made.runs[0].name}: is not finished")
            continue
        numbers = numbers_of(made)
        record = BenchRecord(
            protocol=2, tier="cpu", scenario="A1", variant="", repeat=0, method=method.name, needs=method.needs,
            seed=attempt.seed, setting=method.setting, value=method.default, trials=[],
            old_pairs=method.old_pairs(method.default),
            strategy=method.parts(method.default), command=COMMAND,
            config_digest=digest(portable_config(made.runs[0])), scores=scores_of(numbers), numbers=numbers,
            **made_with([checked_record(folder_of(run)) for run in made.runs]),
        )  # fmt: skip
        print(write_record(Path(__file__).with_name("records"), record))
