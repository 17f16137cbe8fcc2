"""The benchmark from beginning to end: trials on the development ocean, the choice, the runs that count, the records.

This is the second protocol; of the first there are records (docs/benchmark.md).

    records, n_failed = score(Plan.of("smoke"), backend=lambda folder: Local())

Both parts are sweeps: what is finished is skipped, what died goes on, and a run that fails stops no other. The same
call therefore goes on where it was stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from atlantis import config as configs
from atlantis import sweep as sweeps
from atlantis.bench.choice import choose, further
from atlantis.bench.continual import SequenceErrors, continual
from atlantis.bench.given import Given, digest_of_case
from atlantis.bench.methods import Method
from atlantis.bench.plan import Attempt, Plan, runs_of
from atlantis.bench.record import BenchRecord, Trial, read_records, write_record
from atlantis.bench.scenarios import SEQUENCE, Case, Setup, development
from atlantis.bench.scores import Numbers, folder_of, numbers_of, scores_of, sequence_of
from atlantis.bench.tiers import DEVELOPMENT_SEEDS
from atlantis.errors import UserError
from atlantis.progress import heading, say
from atlantis.report.record import made_with
from atlantis.settings import RunConfig
from atlantis.sweep import Backend, Outcome
from atlantis.sweep.plan import Planned, sweep_of
from atlantis.trust import RECORD, checked_record

BackendIn = Callable[[Path], Backend]
"""Where the runs of a sweep go, given the sweep's folder. Asked for once per sweep."""

NONE_GIVEN = Given()


# --- runs


@dataclass(frozen=True)
class Ended:
    """What became of an attempt: its case's numbers, or why there are none."""

    attempt: Attempt
    case: Case
    numbers: Numbers | None
    error: str | None
    sequence: SequenceErrors | None = None
    """Of oceans that were learned one after the other."""


def _attempted(
    plan: Plan,
    setup: Setup,
    name: str,
    attempts: Sequence[Attempt],
    backend: BackendIn,
    keep: Callable[[Ended], object] | None = None,
) -> list[Ended]:
    """A sweep of the attempts and the bases that they start from. Nothing is run for no attempt.

    `keep` gets each attempt that has its numbers as soon as the last of its runs is finished.
    """
    if not attempts:
        return []
    heading(f"{name}: {len(attempts)} attempts")
    cases = [runs_of(plan.tier.name, attempt) for attempt in attempts]
    runs: dict[str, RunConfig] = {}
    for run in (run for case in cases for run in case.runs):
        first = runs.setdefault(str(run.name), run)
        assert run == first, f"{run.name}: two cases have runs of this name that differ"
    base_names = {run.base for run in runs.values()}
    bases = [base for base in plan.tier.bases(setup, _seeds(attempts)) if base.name in base_names]
    factors: list[dict[str, Any]] = [{} for _ in bases]
    scenarios = {str(run.name): case.scenario for case in cases for run in case.runs}
    factors += [{"seed": run.training.seed, "scenario": scenarios[name]} for name, run in runs.items()]
    refuse_other_precision(runs.values())
    sweep = sweep_of(name, [*bases, *runs.values()], factors)
    if older := of_other_code(list(runs.values())):
        say(
            f"{len(older):,} finished runs were made by other code, and their scores will stand beside new ones: "
            f"{', '.join(older)}; remove their folders to have them made again"
        )
    record = None if keep is None else _as_they_end(attempts, cases, keep)
    where = backend(sweep.folder)
    carried_out = sweeps.carry_out(sweep, where, threads=plan.threads, retries=plan.retries, record=record)
    outcomes = {outcome.name: outcome for outcome in carried_out}
    return [_ended(attempt, case, outcomes) for attempt, case in zip(attempts, cases, strict=True)]


def _as_they_end(
    attempts: Sequence[Attempt], cases: Sequence[Case], keep: Callable[[Ended], object]
) -> Callable[[Planned], None]:
    """What gives `keep` the attempts whose last run a finished run is, if their numbers can be read."""

    def record(run: Planned) -> None:
        for attempt, case in zip(attempts, cases, strict=True):
            if case.runs[-1].name == run.name and (ended := _read(attempt, case)).error is None:
                keep(ended)

    return record


def of_other_code(runs: Iterable[RunConfig]) -> list[str]:
    """The names of the runs that are there already and whose numbers other sources than today's have computed."""
    from atlantis.training.provenance import code_digests  # takes PyTorch with it

    older, now = [], code_digests(RunConfig())["atlantis"]
    for run in runs:
        folder = folder_of(run)
        if (folder / RECORD).is_file() and checked_record(folder).get("code", {}).get("atlantis", now) != now:
            older.append(str(run.name))
    return older


def refuse_other_precision(runs: Iterable[RunConfig]) -> None:
    """UserError if a run that is there was made in another precision: one folder has one of each name."""
    for run in runs:
        folder = folder_of(run)
        if not configs.is_run(folder):
            continue
        there = configs.load_of_run(folder).training.precision
        if there != run.training.precision:
            raise UserError(
                f"{folder}: was begun in precision {there}, and {run.training.precision} is wanted; give another "
                "--output-root, or the same --precision"
            )


def _seeds(attempts: Iterable[Attempt]) -> list[int]:
    return sorted({attempt.seed for attempt in attempts})


def _ended(attempt: Attempt, case: Case, outcomes: Mapping[str, Outcome]) -> Ended:
    for run in case.runs:
        if not (outcome := outcomes[str(run.name)]).finished:
            return Ended(attempt, case, None, _without_here(f"{run.name}: {outcome.message}"))
    return _read(attempt, case)


def _read(attempt: Attempt, case: Case) -> Ended:
    """The numbers of a case whose runs are finished, or why there are none."""
    try:
        sequence = sequence_of(case) if case.variant == SEQUENCE else None
        numbers = numbers_of(case)
        scores_of(numbers)
        return Ended(attempt, case, numbers, None, sequence)
    except (UserError, KeyError, ValueError, ZeroDivisionError) as error:  # no probe, or one that is no number
        return Ended(attempt, case, None, _without_here(f"{case.runs[-1].name}: no such number: {error}"))


def _without_here(message: str) -> str:
    """A message whose paths are relative to this folder, as it may stand in a record."""
    return message.replace(f"{Path.cwd()}/", "")


# --- tuning


def tune(plan: Plan, setup: Setup, methods: Sequence[Method], backend: BackendIn) -> dict[str, list[Trial]]:
    """Every value of every method's strength on the development ocean, with each development seed; by method.

    Then one value more for each method whose best is at an end of its five.
    """
    tuned = {method.name: method for method in methods if method.values}
    trials = _tried(
        plan, setup, "tuning", [(method, value) for method in tuned.values() for value in method.values], backend
    )
    beyond = [(tuned[name], further(tuned[name], of)) for name, of in trials.items()]
    wanted = [(method, value) for method, value in beyond if value is not None]
    for name, of in _tried(plan, setup, "tuning_further", wanted, backend).items():
        trials[name] = sorted([*trials[name], *of], key=lambda trial: trial.value)
    return trials


def _tried(
    plan: Plan, setup: Setup, name: str, wanted: Sequence[tuple[Method, float]], backend: BackendIn
) -> dict[str, list[Trial]]:
    """A trial for each method and value, over all development seeds; by method. Nothing is run for none."""
    attempts: list[Attempt] = []
    for seed in DEVELOPMENT_SEEDS:
        cases = development(setup, seed)
        attempts += [
            Attempt(method, value, seed, next(case for case in cases if case.accepts(method)))
            for method, value in wanted
        ]
    ended = _attempted(plan, setup, f"bench2_{plan.tier.name}_{name}", attempts, backend)
    by_value: dict[tuple[str, float], list[Ended]] = {}
    for outcome in ended:
        assert outcome.attempt.value is not None
        by_value.setdefault((outcome.attempt.method.name, outcome.attempt.value), []).append(outcome)
    trials: dict[str, list[Trial]] = {}
    for (method_name, value), outcomes in by_value.items():
        trials.setdefault(method_name, []).append(_trial(value, outcomes))
    return trials


def _trial(value: float, outcomes: Sequence[Ended]) -> Trial:
    """What the development seeds made of a value; without a volume if one of them failed."""
    scores = [None if outcome.numbers is None else scores_of(outcome.numbers) for outcome in outcomes]
    volumes = [None if of_seed is None else of_seed.volume for of_seed in scores]
    complete = [volume for volume in volumes if volume is not None]
    mean = sum(complete) / len(complete) if len(complete) == len(volumes) else None
    error = next((outcome.error for outcome in outcomes if outcome.error is not None), None)
    return Trial(value=value, volume=mean, volumes=volumes, scores=scores, error=error)


# --- all of it


def attempts_of(plan: Plan, setup: Setup, values: Mapping[str, float | None]) -> list[Attempt]:
    """The runs that count: every seed, scenario, case and method that has an entry in `values` (None: no setting)."""
    return [
        Attempt(method, values[method.name], seed, case)
        for seed in plan.seeds
        for scenario in plan.scenarios
        if seed in plan.tier.seeds_of(scenario)
        for case in plan.tier.cases(setup, scenario, seed)
        for method in plan.methods
        if method.name in values and plan.takes(scenario, method) and case.accepts(method)
    ]


def taking_part(plan: Plan, setup: Setup) -> list[Method]:
    """The methods that some case of the plan accepts. Raises UserError if there is none."""
    accepted = {attempt.method.name for attempt in attempts_of(plan, setup, _defaults(plan.methods))}
    if not accepted and len(plan.seeds) < len(plan.tier.seeds):
        seeds = "; ".join(f"{name} {', '.join(map(str, plan.tier.seeds_of(name)))}" for name in plan.scenarios)
        raise UserError(f"no such run with seed {', '.join(map(str, plan.seeds))}; the seeds of scenarios are {seeds}")
    if not accepted:
        raise UserError(
            f"no scenario of {', '.join(plan.scenarios)} accepts {', '.join(method.name for method in plan.methods)}; "
            "docs/benchmark.md says which methods a scenario takes"
        )
    return [method for method in plan.methods if method.name in accepted]


def _defaults(methods: Sequence[Method]) -> dict[str, float | None]:
    return {method.name: method.default for method in methods}


def counts(plan: Plan, given: Given = NONE_GIVEN) -> tuple[int, int]:
    """How many runs tune, without those beyond the five values, and how many count; without the bases.

    Runs that the records `given` have the trials or the scores of are not counted.
    """
    setup = plan.tier.setup(plan.output_root)
    methods = taking_part(plan, setup)
    trials = _given_trials(given, methods)
    untried = [method.values for method in methods if method.name not in trials] if plan.tier.tuned else []
    attempts = attempts_of(plan, setup, _defaults(methods) | _choices(trials, methods))
    _, missing = _divided(plan, attempts, given)
    runs = {run.name for attempt in missing for run in runs_of(plan.tier.name, attempt).runs}
    return len(DEVELOPMENT_SEEDS) * sum(map(len, untried)), len(runs)


def _given_trials(given: Given, methods: Sequence[Method]) -> dict[str, list[Trial]]:
    """By method, of those that have any."""
    found = {method.name: given.trials(method) for method in methods}
    return {name: trials for name, trials in found.items() if trials}


def _choices(trials: Mapping[str, Sequence[Trial]], methods: Sequence[Method]) -> dict[str, float | None]:
    defaults = _defaults(methods)
    return {name: choose(of, defaults[name]) for name, of in trials.items()}


def _divided(plan: Plan, attempts: Iterable[Attempt], given: Given) -> tuple[list[BenchRecord], list[Attempt]]:
    """The records of attempts whose runs were made elsewhere, as this scenario's; and the attempts that are left."""
    records, missing = [], []
    for attempt in attempts:
        case, method = runs_of(plan.tier.name, attempt), attempt.method
        if (record := given.equal_run(method, attempt.seed, case)) is None:
            missing.append(attempt)
            continue
        of_case = {"scenario": case.scenario, "variant": case.variant, "repeat": case.repeat}
        of_case |= {"strategy": method.parts(attempt.value, case.buffer), "command": plan.command(attempt)}
        of_case |= {"old_pairs": method.old_pairs(attempt.value, case.buffer)}
        records.append(record.model_copy(update=of_case))
    return records, missing


def refuse_other_records(folder: Path) -> None:
    """Raise UserError for a record of another protocol in `folder`, and for one that cannot be read."""
    for record in read_records([folder]) if any(folder.glob("*.json")) else ():
        if record.protocol != 2:
            raise UserError(
                f"{folder / record.file_name}: is a record of the first protocol, which shares no table with those of "
                f"the second; move {folder} elsewhere"
            )


def score(plan: Plan, backend: BackendIn, given: Given = NONE_GIVEN) -> tuple[list[BenchRecord], int]:
    """Carry out the plan; the records, and how many of them and of trials failed.

    What the records `given` have is not made again, and all of them are written beside the new ones. A record is
    written as soon as its runs are finished, that of a failure at the end. A method whose trials all failed has a
    record with its error for every case: its records are counted, and not its trials. Raises UserError, before anything
    runs, if records of the first protocol or damaged ones are where the new ones go, or if given ones differ in their
    trials.
    """
    folder = plan.folder / "records"
    refuse_other_records(folder)
    plan.tier.prepare(plan.output_root)
    setup = plan.tier.setup(plan.output_root)
    methods = taking_part(plan, setup)
    trials = _given_trials(given, methods)
    given.copy_to(folder)
    if plan.tier.tuned:
        trials |= tune(plan, setup, [method for method in methods if method.name not in trials], backend)
    defaults = _defaults(methods)
    values = defaults | _choices(trials, methods)
    failed = {name for name in trials if values[name] is None}
    n_failed_trials = _say_failures(trials, failed)
    attempts = attempts_of(plan, setup, {name: value for name, value in values.items() if name not in failed})
    records, missing = _divided(plan, attempts, given)
    for record in records:
        write_record(folder, record)
    write = partial(_write, plan, trials, values)
    ended = _attempted(plan, setup, f"bench2_{plan.tier.name}", missing, backend, write)
    ended += [
        Ended(attempt, attempt.case, None, f"every trial failed: {trials[attempt.method.name][0].error}")
        for attempt in attempts_of(plan, setup, {name: defaults[name] for name in failed})
    ]
    records += [write(outcome) for outcome in ended]
    return records, sum(record.error is not None for record in records) + n_failed_trials


def _say_failures(trials: Mapping[str, Sequence[Trial]], failed: Collection[str]) -> int:
    """Say which trials failed; how many, without those of methods that have no other, the `failed`."""
    for name in failed:
        say(f"{name}: every trial failed, so it is not scored: {trials[name][0].error}")
    some = [(name, trial) for name in trials if name not in failed for trial in trials[name] if trial.error]
    for name, trial in some:
        say(f"{name}: its trial at {trial.value:g} failed, so that is not chosen: {trial.error}")
    return len(some)


def _processor_seconds(abouts: Sequence[Mapping[str, Any]]) -> float | None:
    """Of all runs of a task; None where a GPU had a part in them, or one does not say."""
    if any(about["device"]["name"] != "CPU" or "processor_seconds" not in about for about in abouts):
        return None
    return sum(about["processor_seconds"] for about in abouts)


def _write(
    plan: Plan, trials: Mapping[str, list[Trial]], values: Mapping[str, float | None], ended: Ended
) -> BenchRecord:
    """The record of what has ended, also written."""
    attempt, case, method = ended.attempt, ended.case, ended.attempt.method
    facts: dict[str, Any] = {}
    if ended.numbers is not None:
        abouts = [checked_record(folder_of(run)) for run in case.runs]
        facts |= made_with(abouts) | {"scores": scores_of(ended.numbers), "numbers": ended.numbers}
        facts["processor_seconds"] = _processor_seconds(abouts)
        if ended.sequence is not None:
            facts |= {"sequence": ended.sequence, "continual": continual(ended.sequence.skills())}
    record = BenchRecord(
        protocol=2,
        tier=plan.tier.name,
        scenario=case.scenario,
        variant=case.variant,
        repeat=case.repeat,
        method=method.name,
        needs=method.needs,
        seed=attempt.seed,
        setting=method.setting,
        value=values[method.name],
        rate=method.rate,
        trials=trials.get(method.name, []),
        strategy=method.parts(attempt.value, case.buffer),
        old_pairs=method.old_pairs(attempt.value, case.buffer),
        command=plan.command(attempt),
        config_digest=digest_of_case(case),
        error=ended.error,
        **facts,
    )
    write_record(plan.folder / "records", record)
    return record
