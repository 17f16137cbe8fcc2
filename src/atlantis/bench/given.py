"""Records that were made elsewhere: what they have need not be made again.

A tier that was begun on one machine goes on on another, where its runs are not; and a method of one's own stands beside
the others without the days that those took.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from atlantis import config as configs
from atlantis.bench.choice import are_complete, choose
from atlantis.bench.methods import METHODS, Method
from atlantis.bench.plan import Attempt, Plan, runs_of
from atlantis.bench.record import BenchRecord, Trial, read_record, write_record
from atlantis.bench.scenarios import SEQUENCE, Case, Setup
from atlantis.bench.tiers import DEVELOPMENT_SEEDS
from atlantis.errors import UserError
from atlantis.progress import say
from atlantis.report.record import portable_config, record_files


@dataclass(frozen=True)
class Given:
    """The `records`, by their file; without any, everything is made here."""

    records: Mapping[Path, BenchRecord] = field(default_factory=dict)

    @classmethod
    def read(cls, paths: Sequence[Path], plan: Plan) -> Given:
        """Of the records in files and folders, and in the plan's own folder, those of runs as the tier has them today.

        Says how many these are. Raises UserError for a record of another protocol or tier, for two that differ and
        are of the same run, and for a tier that makes its own bases: a record does not tell one such base from another.
        """
        if not paths:
            return cls()
        if plan.tier.makes_bases:
            raise UserError(
                f"--records: the {plan.tier.name} tier makes its own bases, and scores made elsewhere are of others; "
                "leave it out"
            )
        setup = plan.tier.setup(plan.output_root)
        found = _read_all(paths, plan.tier.name)
        today = {file: record for file, record in found.items() if _is_of_today(plan, setup, record)}
        left = [str(file) for file in found if file not in today]
        others = f"; left out are failures and other settings (see --precision), such as {left[0]}" if left else ""
        say(f"--records: {len(today)} of {len(found)} are scores of runs as this tier has them here{others}")
        folder = plan.folder / "records"
        own = _read_all([folder], plan.tier.name) if any(folder.glob("*.json")) else {}
        own = {file: record for file, record in own.items() if _is_of_today(plan, setup, record)}
        names = {record.file_name for record in own.values()}
        return cls(own | {file: record for file, record in today.items() if record.file_name not in names})

    def trials(self, method: Method) -> list[Trial]:
        """The trials of a method's strength; none for a method of one's own.

        Raises UserError if two records differ in them.
        """
        if not _is_the_benchmarks(method):
            return []
        of_method = {file: record.trials for file, record in self.records.items() if record.method == method.name}
        fullest = max(of_method, key=lambda file: sum(len(trial.scores) for trial in of_method[file]), default=None)
        for file, trials in of_method.items():
            if fullest is not None and _without_scores(trials) != _without_scores(of_method[fullest]):
                raise UserError(f"{file}: has other trials of {method.name} than {fullest}; leave one of them out")
        return [] if fullest is None else of_method[fullest]

    def equal_run(self, method: Method, seed: int, case: Case) -> BenchRecord | None:
        """The record of equal runs, even if of another scenario; `case` has its method in its runs."""
        digest = digest_of_case(case) if _is_the_benchmarks(method) else None
        for record in self.records.values():
            if (record.method, record.seed, record.config_digest) == (method.name, seed, digest):
                return record
        return None

    def copy_to(self, folder: Path) -> None:
        """Write the records into `folder`, but for those that it has a file of."""
        for record in self.records.values():
            if not (folder / record.file_name).exists():
                write_record(folder, record)


def _without_scores(trials: Iterable[Trial]) -> list[Trial]:
    """Which older records do not have."""
    return [trial.model_copy(update={"scores": []}) for trial in trials]


def digest_of_case(case: Case) -> str:
    """Of the last run. Those before it have its settings, and the name of its base says which they are."""
    return configs.digest(portable_config(case.runs[-1]))


def _read_all(paths: Iterable[Path], tier: str) -> dict[Path, BenchRecord]:
    """By file; one of several that are the same."""
    found: dict[str, tuple[Path, BenchRecord]] = {}
    for file in record_files(paths):
        record = read_record(file)
        if record.protocol != 2 or record.tier != tier:
            raise UserError(
                f"{file}: is of protocol {record.protocol} and the {record.tier} tier, and shares no table with "
                f"protocol 2 and the {tier} tier; give the records of these"
            )
        other, first = found.setdefault(record.file_name, (file, record))
        if first != record:
            raise UserError(f"{file}: {other} is another record of the same run; leave one of them out")
    return dict(found.values())


def _is_of_today(plan: Plan, setup: Setup, record: BenchRecord) -> bool:
    """Whether it has the scores of a run that the tier has today, and the value that its trials choose."""
    method, tier = METHODS.get(record.method), plan.tier
    if method is None or record.error is not None or record.scenario not in tier.scenarios:
        return False
    if record.seed not in tier.seeds_of(record.scenario) or not _is_chosen(method, record):
        return False
    for case in tier.cases(setup, record.scenario, record.seed):
        if (case.variant, case.repeat) == (record.variant, record.repeat) and case.accepts(method):
            case = runs_of(tier.name, Attempt(method, record.value, record.seed, case))
            steps = sum(run.training.max_steps or 0 for run in case.runs)
            whole = case.variant != SEQUENCE or record.sequence is not None
            return whole and (digest_of_case(case), steps) == (record.config_digest, record.steps)
    return False


def _is_chosen(method: Method, record: BenchRecord) -> bool:
    """Whether its value is what the protocol chooses: of all the trials that it asks for."""
    if not method.values:
        return record.value is None and not record.trials
    on_all_seeds = all(len(trial.volumes) == len(DEVELOPMENT_SEEDS) for trial in record.trials)
    complete = on_all_seeds and are_complete(method, record.trials)
    return complete and record.value is not None and record.value == choose(record.trials, method.default)


def _is_the_benchmarks(method: Method) -> bool:
    """And not one of somebody's own, whose code a record does not have."""
    return method.key == method.name
