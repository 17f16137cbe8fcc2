"""What is to be done: a tier, or the part that `--only` names, with methods of one's own; and a single attempt."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from atlantis.bench.methods import METHODS, Method
from atlantis.bench.scenarios import Case
from atlantis.bench.tiers import TIERS, Tier
from atlantis.errors import UserError


@dataclass(frozen=True)
class Attempt:
    """A method with a value of its setting, on a case of a seed."""

    method: Method
    value: float | None
    seed: int
    case: Case


@dataclass(frozen=True)
class Plan:
    """A tier, or a part of it. `entered`: by method, the file of one that is not the benchmark's own.

    `named`: whether scenarios and methods were both named. Such a method takes part even where the tier has it not.
    `precision`: what was asked for, None for the tier's own.
    `threads` of each run, and how many `retries` one that dies has.
    """

    tier: Tier
    output_root: Path
    scenarios: list[str]
    methods: list[Method]
    seeds: list[int]
    entered: Mapping[str, str] = field(default_factory=dict)
    named: bool = False
    precision: str | None = None
    threads: int = 1
    retries: int = 2

    @classmethod
    def of(
        cls,
        tier: str,
        only: str | None = None,
        output_root: Path | str = "outputs",
        entered: Mapping[str, Method] | None = None,
        *,
        seeds: Sequence[int] | None = None,
        precision: str | None = None,
    ) -> Plan:
        """The whole of a tier; `only`: some of it, such as A1/replay, A1 or /replay, comma-separated in each part.

        `entered`: more methods, by the file that each is in. `seeds`: some of the tier's. `precision`: that of the
        runs, where the tier's depends on the processor. Raises UserError for a name or a seed that there is not.
        """
        if tier not in TIERS:
            raise UserError(f"--tier {tier}: is none of {', '.join(TIERS)}")
        whole = TIERS[tier].in_precision(precision)
        if unknown := [seed for seed in seeds or () if seed not in whole.seeds]:
            raise UserError(
                f"--seed {unknown[0]}: the {tier} tier has the seeds {', '.join(map(str, whole.seeds))}; give some of "
                "them"
            )
        entries = {method.name: (file, method) for file, method in (entered or {}).items()}
        if len(entries) < len(entered or {}):
            raise UserError("--enter: two methods have the same name; give each its own")
        if only is not None and not only.strip("/, "):
            raise UserError("--only: names nothing; write a scenario, a method or both, such as A1/replay")
        scenario, _, method = (only or "").partition("/")
        scenarios = _chosen(scenario, whole.scenarios, f"--only {only}: the {tier} tier's scenarios")
        if seeds and not any(seed in whole.seeds_of(name) for name in scenarios for seed in seeds):
            of_first = ", ".join(map(str, whole.seeds_of(scenarios[0])))
            raise UserError(f"--seed {seeds[0]}: {scenarios[0]} of the {tier} tier has the seeds {of_first}")
        named = bool(scenario and method)
        taking_part = set(METHODS) if named else {name for code in scenarios for name in whole.methods_of(code)}
        methods = {name: METHODS[name] for name in METHODS if name in taking_part}
        methods |= {name: method for name, (_, method) in entries.items()}
        of_tier = f"--only {only}: the {tier} tier's methods"
        names = _chosen(method, list(methods), f"--only {only}: the methods" if named else of_tier)
        return cls(
            whole,
            Path(output_root),
            scenarios,
            [methods[name] for name in names],
            [seed for seed in whole.seeds if seeds is None or seed in seeds],
            {name: file for name, (file, _) in entries.items()},
            named,
            precision,
        )

    def takes(self, scenario: str, method: Method) -> bool:
        """Whether a method takes part in a scenario: one that was entered, or named with it, does so in any."""
        return self.named or method.name in self.entered or method.name in self.tier.methods_of(scenario)

    @property
    def folder(self) -> Path:
        return self.output_root / "bench" / self.tier.name

    def command(self, attempt: Attempt) -> str:
        """What makes the row of an attempt's method on its scenario."""
        enter = self.entered.get(attempt.method.name)
        given = ["--enter", enter] if enter else []
        given += ["--precision", self.precision] if self.precision else []
        only = f"{attempt.case.scenario}/{attempt.method.name}"
        return shlex.join(["atlantis", "bench", "--tier", self.tier.name, "--only", only, *given])


def runs_of(tier: str, attempt: Attempt) -> Case:
    """The attempt's case with its method in every run; equal runs of two cases have one name, and are run once."""
    method, buffer = attempt.method, attempt.case.buffer
    key = method.key if attempt.value is None else f"{method.key}_{attempt.value:.12g}"
    names: dict[str, str] = {}
    runs = []
    for run in attempt.case.runs:
        with_method = method.on(run, attempt.value, buffer)
        limit = f"_buffer{buffer}" if buffer and with_method != method.on(run, attempt.value) else ""
        names[str(run.name)] = f"bench2_{tier}_{run.name}_{key}{limit}_seed{attempt.seed}"
        base = names.get(str(run.base), run.base)
        runs.append(with_method.model_copy(update={"name": names[str(run.name)], "base": base}))
    return replace(attempt.case, runs=tuple(runs))


@cache
def pairings(name: str) -> tuple[tuple[str, str], ...]:
    """Each scenario of a tier with each method that takes part in it; none for a tier that there is not."""
    if name not in TIERS:
        return ()
    tier = TIERS[name]
    setup, seed = tier.setup(Path("outputs")), tier.seeds[0]
    return tuple(
        (scenario, method)
        for scenario in tier.scenarios
        for method in tier.methods_of(scenario)
        if any(case.accepts(METHODS[method]) for case in tier.cases(setup, scenario, seed))
    )


def _chosen(text: str, known: Sequence[str], wording: str) -> list[str]:
    names = text.split(",") if text else list(known)
    if unknown := [name for name in names if name not in known]:
        raise UserError(f"{wording} are {', '.join(known)}; there is no {unknown[0]!r}")
    return [name for name in known if name in names]
