"""Prose about the study's runs with named places, filled from records: README and docs/study.md. None is typed by hand.

A place is `{{kind|argument|...}}`. RUN is a short name of the study's (`cross`, `inter_bs64`, ...). A line with
`{{optional}}` is left out while no record fills one of its places.

    {{bases|RUN}}                   how many bases have the run, and how many seeds these: "n = 4 bases of 3 seeds"
    {{steps|RUN}}                   how many steps the whole run has
    {{start}}                       the map's error where the fine-tunes start, km: mean over bases and interval
    {{added|RUN}}                   what the run adds to it
    {{less|RUN|RUN}}                what the first ends with less what the second ends with, base by base
    {{equal|RUN|RUN}}               the same after as many steps as the shorter run has
    {{settings}}                    a table of the study's runs: pairs, batch, passes over them, rate and warm-up
    {{draws|RUN|RUN}}               the same over the draws from the given base, of runs of equal length, and n
    {{r2|RUN|STEP}}                 longitude's and latitude's R2 over the draws from the given base, at a step
    {{r2_draws|RUN}}                how many draws that is
    {{study|RUN|STEP}}              the reference study's
    {{study_row|RUN|STEP}}          the same and its error in km, as the cells of a table
    {{answers|RUN|SLICE|start}}     the answers' error in km over bases, at the start or the `end`
    {{virtual|RUN}}                 how far from its places the second protocol's probe sees Atlantis, base by base, km
    {{virtual_draws|RUN}}           the same over draws from the given base, of runs that were shortened, and n
    {{one|FILE|start}}              the map's error of one record below experiments/, at the start or the `end`
    {{bench|SCENARIO/METHOD|km_end}}    a number of the benchmark in km, also `task SLICE`: mean over its seeds
    {{demo|PATH|FORMAT}}            a number of the demo's record
    {{stitched|LOWER|CUT|BETWEEN}}  error in km of joined models, as docs/mechanism.md has it, and of the fine-tuned
                                    ones {{tuned_alone}}, over {{tunings}} fine-tunings
    {{best}}                        how far answers go when states are changed, over {{probed_bases}} bases; as there
    {{scored|METHOD|QUANTITY}}      a score of a method in A1 of the second protocol, or CASE/METHOD: mean and interval
    {{scored_less|METHOD|METHOD|QUANTITY}}    the first less the second, seed by seed
    {{scored_seeds}}                how many seeds that has
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from statistics import fmean

from atlantis import config as configs
from atlantis.bench.record import BenchRecord
from atlantis.errors import UserError
from atlantis.markdown import table
from atlantis.report.study_record import REAL, RUNS, StudyRecord, read_record
from atlantis.scales import IDENTITY, LOG, Scale
from checks.benchmarks.page import read_records as read_demo
from checks.pages import figure
from scripts import bases
from scripts.bases import bases_of
from scripts.groups import MAP_KM, Group, groups_of, mean_and_interval, number, on_map, on_task, pairs_of
from scripts.mechanism_page import SEEDS, Numbers
from scripts.method_numbers import SCORED, Methods
from scripts.places import PLACE, fill
from scripts.study_numbers import BASE_MAPS, TUNED_MAPS, StudyMap

OPTIONAL = "{{optional}}"
DEMO = "2026-11-28_demo/records"


def filled(prose: str, records: Sequence[StudyRecord], bench: Sequence[BenchRecord], folder: Path) -> str:
    """The prose with its places filled; `folder` holds the files that `one` names.

    Raises UserError for a place that means nothing, or that no record fills.
    """
    page = _Places(records, bench, folder)
    lines = (line for line in prose.splitlines(keepends=True) if OPTIONAL not in line or page.fills(line))
    return PLACE.sub(page.fill, "".join(lines).replace(OPTIONAL, ""))


class _Places:
    def __init__(self, records: Sequence[StudyRecord], bench: Sequence[BenchRecord], folder: Path) -> None:
        self.bases, self.groups, self.folder = bases_of(records), groups_of(records), folder
        self.benched = bench

    def fills(self, line: str) -> bool:
        """Whether records fill all of a line's places."""
        return all(self._text(match) for match in PLACE.finditer(line.replace(OPTIONAL, "")))

    def fill(self, match: re.Match[str]) -> str:
        text = self._text(match)
        if not text:
            raise UserError(f"{match[0]}: no record fills this place")
        return text

    def _text(self, match: re.Match[str]) -> str:
        """What stands in a place; nothing if no record has it."""
        return fill(
            match,
            {
                "bases": self.n_bases, "steps": self.steps, "start": self.start, "added": self.added,
                "less": self.less, "equal": self.equal, "draws": self.draws, "r2": self.r2, "study": self.study,
                "answers": self.answers, "virtual": self.virtual, "virtual_draws": self.virtual_draws,
                "one": self.one, "bench": self.bench, "study_row": self.study_row, "demo": self.demo,
                "settings": settings,
                "stitched": self._mechanism.stitch, "best": self._mechanism.best,
                "tuned_alone": lambda: self._mechanism.part("all", "alone"), "tunings": lambda: str(len(SEEDS)),
                "probed_bases": lambda: str(self._mechanism.n_bases), "r2_draws": self.r2_draws,
                "scored": self._scored.value, "scored_less": self._scored.less,
                "scored_seeds": lambda: self._scored.seeds,
            },
        )  # fmt: skip

    @cached_property
    def _mechanism(self) -> Numbers:
        return Numbers()

    @cached_property
    def _scored(self) -> Methods:
        return Methods(SCORED)

    def n_bases(self, run: str) -> str:
        seeds = [base.seed for base in self.bases if run in base.runs]
        distinct = f" of {len(set(seeds))} seeds" if len(set(seeds)) < len(seeds) else ""
        return f"n = {len(seeds)} bases{distinct}" if seeds else ""

    def steps(self, run: str) -> str:
        whole = [group for group in self.groups if group.run == run and not group.shortened]
        return ", ".join(f"{n:,}" for n in sorted({record.steps for group in whole for record in group.records}))

    def start(self) -> str:
        return _mean([base.start(MAP_KM.take) for base in self.bases], LOG)

    def added(self, run: str) -> str:
        return _mean([base.mean(run, lambda record: bases.added(record, MAP_KM.take)) for base in self.bases])

    def less(self, run: str, other: str) -> str:
        return self._less(run, other, bases.less)

    def equal(self, run: str, other: str) -> str:
        return self._less(run, other, bases.less_at_equal_steps)

    def _less(self, run: str, other: str, difference: Callable[..., float | None]) -> str:
        def value(one: StudyRecord, two: StudyRecord) -> float | None:
            return difference(one, two, MAP_KM.take)

        return _mean([base.difference(run, other, value) for base in self.bases])

    def draws(self, run: str, other: str) -> str:
        ours, theirs = ([group for group in self.groups if group.run == name and group.given] for name in (run, other))
        pairs = [pair for one in ours for two in theirs for pair in pairs_of(one, two)]
        equal = [pair for pair in pairs if pair[0].steps == pair[1].steps]
        text = _mean([bases.less(*pair, MAP_KM.take) for pair in equal])
        return f"{text} km (n = {len(equal)} draws from one base)" if text else ""

    def r2(self, run: str, step: str) -> str:
        group = self._most_drawn(run)
        if group is None:
            return ""
        both = [group.over_seeds(int(step), on_map("degrees", REAL, key), 3) for key in ("lon_r2", "lat_r2")]
        return " and ".join(both)

    def r2_draws(self, run: str) -> str:
        group = self._most_drawn(run)
        return str(len(group.records)) if group else ""

    def _most_drawn(self, run: str) -> Group | None:
        """The whole fine-tunes from a given base, of the setup with the most draws."""
        of_run = [group for group in self.groups if group.run == run and group.given and not group.shortened]
        return max(of_run, key=lambda group: len(group.records), default=None)

    def study(self, run: str, step: str) -> str:
        row = _reported(run, step)
        return f"{row.lon_r2:.3f} and {row.lat_r2:.3f}" if row else ""

    def study_row(self, run: str, step: str) -> str:
        row = _reported(run, step)
        if row is None:
            return ""
        km = "not reported" if row.mean_km is None else f"{number(row.mean_km, 0)} km"
        return f"{row.lon_r2:.3f} | {row.lat_r2:.3f} | {km}"

    def answers(self, run: str, name: str, when: str) -> str:
        pick = on_task(name, "mean_km").take
        value = bases.at_start if when == "start" else bases.at_end
        return _mean([base.mean(run, lambda record: value(record, pick)) for base in self.bases], LOG)

    def virtual(self, run: str) -> str:
        found = bases.present([base.mean(run, _virtual_km) for base in self.bases])
        return ", ".join(number(value, 0) for value in sorted(found))

    def virtual_draws(self, run: str) -> str:
        short = [group for group in self.groups if group.run == run and group.given and group.shortened]
        records = [record for group in short for record in group.records]
        text = _mean([_virtual_km(record) for record in records], LOG)
        return f"{text} km (n = {len(records)} draws)" if text else ""

    def one(self, file: str, when: str) -> str:
        record = read_record(self.folder / file)
        value = (bases.at_start if when == "start" else bases.at_end)(record, MAP_KM.take)
        return "" if value is None else number(value, 0)

    def demo(self, path: str, spec: str) -> str:
        records = read_demo(self.folder / DEMO)
        return figure(f"demo:{path}|{spec}", records) if records else ""

    def bench(self, row: str, quantity: str) -> str:
        by_seed: dict[int, list[float]] = {}
        for record in self.benched:
            if f"{record.scenario}/{record.method}" == row and record.numbers is not None:
                task = record.numbers.task_km
                value = (
                    task.get(quantity.removeprefix("task ")) if " " in quantity else getattr(record.numbers, quantity)
                )
                if value is not None:
                    by_seed.setdefault(record.seed, []).append(value)
        return _mean([fmean(values) for values in by_seed.values()], LOG)


def settings() -> str:
    """The study's runs as their configs have them."""
    rows = []
    for run, name in RUNS.items():
        config = configs.load(configs.find(name))
        training = config.training
        numbers = (config.dataset.sizes[0], training.batch_size, training.epochs, training.learning_rate)
        rows.append(
            [
                run,
                f"`{name}`",
                *(f"{n:,}" if isinstance(n, int) else f"{n:g}" for n in numbers),
                str(training.warmup_steps),
            ]
        )
    header = ["run", "config", "training pairs", "batch", "passes over them", "learning rate", "warm-up, steps"]
    return table(header, rows, align="llrrrrr")


def _reported(run: str, step: str) -> StudyMap | None:
    """What the study reported of its run, which stopped there; the first such row."""
    return next((row for row in BASE_MAPS + TUNED_MAPS if row.run == run and row.step == int(step)), None)


def _virtual_km(record: StudyRecord) -> float | None:
    """How far from its places the second protocol's probe sees the first virtual region at the end, in km."""
    values = [bases.at_end(record, on_map("sphere", name, "mean_km").take) for name in record.virtual_regions]
    return values[0] if values else None


def _mean(values: Sequence[float | None], scale: Scale = IDENTITY) -> str:
    return mean_and_interval(bases.present(values), 0, scale) if bases.present(values) else ""
