"""The benchmark from beginning to end: trials on the development ocean, the choice, the runs that count, the records.

    records, n_failed = score(Plan.of("smoke"), backend=lambda folder: Local())

Both parts are sweeps: what is finished is skipped, what died goes on, and a run that fails stops no other. The same
call therefore goes on where it was stopped.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atlantis import config as configs
from atlantis import sweep as sweeps
from atlantis.bench.continual import SequenceErrors, continual
from atlantis.bench.methods import METHODS, Method
from atlantis.bench.record import BenchRecord, Trial, write_record
from atlantis.bench.scenarios import SEQUENCE, Case, Setup, development
from atlantis.bench.scores import Numbers, numbers_of, scores_of, sequence_of
from atlantis.bench.tiers import DEVELOPMENT_SEED, TIERS, Tier
from atlantis.errors import UserError
from atlantis.progress import heading, say
from atlantis.report.record import portable_config, provenance
from atlantis.settings import RunConfig
from atlantis.sweep import Backend, Outcome
from atlantis.sweep.plan import sweep_of
from atlantis.trust import checked_record

BackendIn = Callable[[Path], Backend]
"""Where the runs of a sweep go, given the sweep's folder. Asked for once per sweep."""


@dataclass(frozen=True)
class Attempt:
    """A method with a value of its setting, on a case of a seed."""

    method: Method
    value: float
    seed: int
    case: Case


@dataclass(frozen=True)
class Plan:
    """A tier, or a part of it. `commands` says, by method, how it was entered where it is not the benchmark's own."""

    tier: Tier
    output_root: Path
    scenarios: list[str]
    methods: list[Method]
    seeds: list[int]
    entered: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        tier: str,
        only: str | None = None,
        output_root: Path | str = "outputs",
        entered: Mapping[str, Method] | None = None,
    ) -> Plan:
        """The whole of a tier; `only`: some of it, such as A1/replay, A1 or /replay, comma-separated in each part.

        `entered`: more methods, by the file that each is in. Raises UserError for a name that there is not.
        """
        if tier not in TIERS:
            raise UserError(f"--tier {tier}: is none of {', '.join(TIERS)}")
        whole = TIERS[tier]
        entries = {method.name: (file, method) for file, method in (entered or {}).items()}
        if len(entries) < len(entered or {}):
            raise UserError("--enter: two methods have the same name; give each its own")
        if only is not None and not only.strip("/, "):
            raise UserError("--only: names nothing; write a scenario, a method or both, such as A1/replay")
        scenario, _, method = (only or "").partition("/")
        scenarios = _chosen(scenario, whole.scenarios, f"--only {only}: the {tier} tier's scenarios")
        taking_part = {name for code in scenarios for name in whole.methods_of(code)}
        methods = {name: METHODS[name] for name in METHODS if name in taking_part}
        methods |= {name: method for name, (_, method) in entries.items()}
        where = f" in {', '.join(scenarios)}" if scenario else ""
        names = _chosen(method, list(methods), f"--only {only}: the {tier} tier's methods{where}")
        return cls(
            whole,
            Path(output_root),
            scenarios,
            [methods[name] for name in names],
            list(whole.seeds),
            {name: file for name, (file, _) in entries.items()},
        )

    def takes(self, scenario: str, method: Method) -> bool:
        """Whether a method takes part in a scenario: one that was entered does so in all."""
        return method.name in self.entered or method.name in self.tier.methods_of(scenario)

    @property
    def folder(self) -> Path:
        return self.output_root / "bench" / self.tier.name

    def command(self, attempt: Attempt) -> str:
        """What makes the row of an attempt's method on its scenario."""
        enter = self.entered.get(attempt.method.name)
        given = ["--enter", enter] if enter else []
        only = f"{attempt.case.scenario}/{attempt.method.name}"
        return shlex.join(["atlantis", "bench", "--tier", self.tier.name, "--only", only, *given])


def _chosen(text: str, known: Sequence[str], wording: str) -> list[str]:
    names = text.split(",") if text else list(known)
    if unknown := [name for name in names if name not in known]:
        raise UserError(f"{wording} are {', '.join(known)}; there is no {unknown[0]!r}")
    return [name for name in known if name in names]


# --- runs


def runs_of(tier: str, attempt: Attempt) -> Case:
    """The attempt's case with its method in every run, under names of their own."""
    method, index = attempt.method, attempt.method.values.index(attempt.value)
    names: dict[str, str] = {}
    runs = []
    for run in attempt.case.runs:
        names[str(run.name)] = f"bench_{tier}_{run.name}_{method.key}_{index}_seed{attempt.seed}"
        base = names.get(str(run.base), run.base)
        with_method = method.on(run, attempt.value, attempt.case.buffer)
        runs.append(with_method.model_copy(update={"name": names[str(run.name)], "base": base}))
    old = attempt.case
    return Case(old.scenario, old.variant, tuple(runs), old.repeat, old.buffer, old.without)


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
    plan: Plan, setup: Setup, name: str, attempts: Sequence[Attempt], backend: BackendIn
) -> tuple[list[Ended], int]:
    """A sweep of the attempts and the bases that they start from, and how many of the runs failed."""
    heading(f"{name}: {len(attempts)} attempts")
    cases = [runs_of(plan.tier.name, attempt) for attempt in attempts]
    runs = {str(run.name): run for case in cases for run in case.runs}
    base_names = {run.base for run in runs.values()}
    bases = [base for base in plan.tier.bases(setup, _seeds(attempts)) if base.name in base_names]
    factors: list[dict[str, Any]] = [{} for _ in bases]
    factors += [{"seed": run.training.seed, "scenario": _scenario(run, cases)} for run in runs.values()]
    sweep = sweep_of(name, [*bases, *runs.values()], factors)
    outcomes = {outcome.name: outcome for outcome in sweeps.carry_out(sweep, backend(sweep.folder))}
    ended = [_ended(attempt, case, outcomes) for attempt, case in zip(attempts, cases, strict=True)]
    return ended, sum(not outcome.finished for outcome in outcomes.values())


def _seeds(attempts: Iterable[Attempt]) -> list[int]:
    return sorted({attempt.seed for attempt in attempts})


def _scenario(run: RunConfig, cases: Sequence[Case]) -> str:
    return next(case.scenario for case in cases if run in case.runs)


def _ended(attempt: Attempt, case: Case, outcomes: Mapping[str, Outcome]) -> Ended:
    for run in case.runs:
        if not (outcome := outcomes[str(run.name)]).finished:
            return Ended(attempt, case, None, _without_here(f"{run.name}: {outcome.message}"))
    try:
        sequence = sequence_of(case) if case.variant == SEQUENCE else None
        return Ended(attempt, case, numbers_of(case), None, sequence)
    except (UserError, KeyError, ValueError) as error:  # a finished run without a probe, or whose probe is no number
        return Ended(attempt, case, None, _without_here(f"{case.runs[-1].name}: no such number: {error}"))


def _without_here(message: str) -> str:
    """A message whose paths are relative to this folder, as it may stand in a record."""
    return message.replace(f"{Path.cwd()}/", "")


# --- tuning


def tune(plan: Plan, setup: Setup, methods: Sequence[Method], backend: BackendIn) -> dict[str, list[Trial]]:
    """Every value of every method on the development ocean, with the one development seed; by method."""
    cases = development(setup, DEVELOPMENT_SEED)
    attempts = [
        Attempt(method, value, DEVELOPMENT_SEED, next(case for case in cases if case.accepts(method)))
        for method in methods
        for value in method.values
    ]
    ended, _ = _attempted(plan, setup, f"bench_{plan.tier.name}_tuning", attempts, backend)
    trials: dict[str, list[Trial]] = {}
    for outcome in ended:
        volume = None if outcome.numbers is None else scores_of(outcome.numbers).volume
        trial = Trial(value=outcome.attempt.value, volume=volume, error=outcome.error)
        trials.setdefault(outcome.attempt.method.name, []).append(trial)
    return trials


def choose(trials: Sequence[Trial]) -> float | None:
    """The value of the largest volume, the earlier one of equals; None if every trial failed."""
    scored = [(trial.volume, -rank, trial.value) for rank, trial in enumerate(trials) if trial.volume is not None]
    return max(scored)[2] if scored else None


# --- all of it


def attempts_of(plan: Plan, setup: Setup, values: Mapping[str, float]) -> list[Attempt]:
    """The runs that count: every seed, scenario, case and method that has a value."""
    return [
        Attempt(method, values[method.name], seed, case)
        for seed in plan.seeds
        for scenario in plan.scenarios
        for case in plan.tier.cases(setup, scenario, seed)
        for method in plan.methods
        if method.name in values and plan.takes(scenario, method) and case.accepts(method)
    ]


def taking_part(plan: Plan, setup: Setup) -> list[Method]:
    """The methods that some case of the plan accepts. Raises UserError if there is none."""
    accepted = {attempt.method.name for attempt in attempts_of(plan, setup, _firsts(plan.methods))}
    if not accepted:
        raise UserError(
            f"no task in {', '.join(plan.scenarios)} accepts {', '.join(method.name for method in plan.methods)}; "
            "docs/benchmark.md says which methods a scenario takes"
        )
    return [method for method in plan.methods if method.name in accepted]


def _firsts(methods: Sequence[Method]) -> dict[str, float]:
    return {method.name: method.values[0] for method in methods}


def counts(plan: Plan) -> tuple[int, int]:
    """How many runs tune, and how many count; without the bases."""
    setup = plan.tier.setup(plan.output_root)
    trials = [method.values for method in taking_part(plan, setup)] if plan.tier.tuned else []
    attempts = attempts_of(plan, setup, _firsts(plan.methods))
    runs = {run.name for attempt in attempts for run in runs_of(plan.tier.name, attempt).runs}
    return sum(map(len, trials)), len(runs)


def score(plan: Plan, backend: BackendIn) -> tuple[list[BenchRecord], int]:
    """Carry out the plan and write a record of each attempt; the records, and how many runs that count failed.

    A method whose trials all failed has a record with its error for every case, and is counted there.
    """
    plan.tier.prepare(plan.output_root)
    setup = plan.tier.setup(plan.output_root)
    methods = taking_part(plan, setup)
    trials = tune(plan, setup, methods, backend) if plan.tier.tuned else {}
    firsts = _firsts(methods)
    values = {name: choose(trials[name]) for name in firsts} if trials else firsts
    numbers = {name: value for name, value in values.items() if value is not None}
    for name in values.keys() - numbers.keys():
        say(f"{name}: every trial failed, so it is not scored: {trials[name][0].error}")
    attempts = attempts_of(plan, setup, numbers)
    ended = _attempted(plan, setup, f"bench_{plan.tier.name}", attempts, backend)[0] if attempts else []
    ended += [
        Ended(attempt, attempt.case, None, f"every trial failed: {trials[attempt.method.name][0].error}")
        for attempt in attempts_of(plan, setup, {name: firsts[name] for name in firsts.keys() - numbers.keys()})
    ]
    records = [_record(plan, outcome, trials.get(outcome.attempt.method.name, []), numbers) for outcome in ended]
    for record in records:
        write_record(plan.folder / "records", record)
    return records, sum(record.error is not None for record in records)


def _record(plan: Plan, ended: Ended, trials: list[Trial], values: Mapping[str, float]) -> BenchRecord:
    attempt, case, method = ended.attempt, ended.case, ended.attempt.method
    facts: dict[str, Any] = {}
    if ended.numbers is not None:
        abouts = [checked_record(Path(run.output_root) / "experiments" / str(run.name)) for run in case.runs]
        facts |= provenance(abouts) | {"scores": scores_of(ended.numbers), "numbers": ended.numbers}
        if ended.sequence is not None:
            facts |= {"sequence": ended.sequence, "continual": continual(ended.sequence.skills())}
    value = values.get(method.name)
    return BenchRecord(
        tier=plan.tier.name,
        scenario=case.scenario,
        variant=case.variant,
        repeat=case.repeat,
        method=method.name,
        needs=method.needs,
        seed=attempt.seed,
        setting=method.setting,
        value=value,
        trials=trials,
        strategy=method.parts(attempt.value),
        command=plan.command(attempt),
        config_digest=configs.digest(portable_config(case.runs[-1])),
        error=ended.error,
        **facts,
    )
