"""The page that puts our numbers beside the study's, in Markdown, from nothing but records.

A number of ours is the mean over the seeds of equal setup, with its 95 % interval (Student's t) where there are at
least two. What has no record is `NOT_RUN`. Every table of a fine-tune has its step 0.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean

from atlantis.names import REAL, SLICES
from atlantis.report.groups import NEAR, NOT_RUN, Group, groups_of, mean_and_interval, number, pairs_of
from atlantis.report.record import Evaluation, Record
from atlantis.report.study_numbers import (
    BASE_END,
    BASE_MAPS,
    BASE_REGION_KM,
    BASE_TASK_MEAN_KM,
    BASE_TASK_MEDIAN_KM,
    BASE_TRAIN_LOSS,
    BASE_VALIDATION_LOSS,
    SOURCE,
    TUNED_MAPS,
    StudyMap,
)
from atlantis.report.tables import ABSENT


def page(records: Sequence[Record]) -> str:
    """The whole page. Raises UserError for two records of one run and seed."""
    groups = groups_of(records)
    base = [group for group in groups if group.run == "base"]
    tuned = [group for group in groups if group.run != "base"]
    parts = [
        INTRODUCTION.format(n=len(records), source=SOURCE),
        "## What differs from the study",
        "\n".join(f"- {line}" for line in _differences(groups)),
        "## The base run's map, step by step",
        PROTOCOL,
        _maps(base, BASE_MAPS),
        "## The base run's answers",
        f"Pairs of real cities. The study's loss on its training rows was {BASE_TRAIN_LOSS}.",
        _base_task(base),
        "## The base run's map by region",
        "Probe, mean km, at step 0 and at the last step; *folds*: by the second protocol, at the last step.",
        *(_base_regions(group) for group in base),
        "## The map after fine-tuning",
        "Real cities, the study's probe protocol. The row of step 0 is where the run started; *since step 0* is the "
        "damage, seed by seed. Beside step 0 stands the end of the study's base run.",
        _maps(tuned, TUNED_MAPS),
        "## The map after fine-tuning, second protocol",
        "Unit-sphere targets, every real city predicted by a probe that was not fitted on it: mean km. *over folds*: "
        "with one seed the interval is that of the probe's folds, and says nothing about other seeds. Virtual cities "
        "are predicted by probes fitted on real ones only.",
        _second_protocol([*base, *tuned]),
        "## One fine-tune against another",
        "What the first ends with less what the second ends with, in km, seed by seed: both drew with this seed and "
        "started from the same weights. An interval that holds 0 shows no difference; with one seed there is none. "
        "The intervals are not corrected for their number. *answers*: each about its own held-out pairs.",
        _against(tuned),
        "## Answers after fine-tuning",
        "Error of the greedy answers on held-out pairs; *readable*: the share that are numbers, the others count as "
        "half the Earth's circumference.",
        _answers(tuned),
        "## The map by region after fine-tuning",
        "Probe, mean km, the study's protocol: step 0 → last step.",
        _tuned_regions(tuned),
        "## Commands",
        "Training time includes the evaluation of the task, not the probes. The base runs that a command starts from "
        "are made by it too where they are missing.",
        _commands(groups),
    ]
    return "\n\n".join(parts) + "\n"


INTRODUCTION = """# Our numbers beside the study's

Generated from {n} records by `python scripts/results_page.py RECORDS... -o docs/results.md`; not edited by hand.
The study's numbers are those of {source}, each of one seed.

A number of ours is the mean over the seeds of its row. In parentheses is the 95 % interval of that mean over the seeds
(Student's t); a row of one seed has none and says so, and a number that is the same for all seeds has none either.
*not run*: there is no record. *one base*: the seeds vary the data drawn and their order, and share the model they start
from, so their intervals say nothing about other bases."""

PROTOCOL = (
    "The study's probe protocol: ridge regression (alpha 10) on 3,000 real cities, scored on 2,000 others. "
    f"An evaluated step stands beside the study's if the two are within {NEAR:.0%}. *since step 0*: what has been "
    f"added to the mean km, seed by seed. The study's median at the end was {BASE_END.median_km:,.0f} km."
)


COMPARED = (("inter", "cross"), ("mixed", "cross"), ("cross_bs64", "cross"), ("inter_bs64", "inter"))
"""Fine-tunes that differ in one thing: the pairs, or the size of a batch."""


# --- tables


def _maps(groups: Sequence[Group], study: Sequence[StudyMap]) -> str:
    """Rows of each group at step 0, at the study's steps and at its end; then what the study has and we do not."""
    rows, met = [], []
    for group in groups:
        if not group.records:
            if not any(row.run == group.run for row in study):
                rows.append([group.label, ABSENT, NOT_RUN, *[ABSENT] * 7, *group.tail])
            continue
        beside: dict[int, StudyMap | None] = {0: None if group.run == "base" else BASE_END}
        for numbers in study:
            step = group.near(numbers)
            if step is not None:
                beside[step] = numbers
                met.append(numbers)
        beside.setdefault(group.last, None)
        rows += [_map_row(group, step, beside[step]) for step in sorted(beside)]
    command_of = {group.run: group for group in reversed(groups)}
    for numbers in study:
        if numbers not in met:
            group = None if numbers.total is None else command_of.get(numbers.run or "")
            tail = [NOT_RUN, group.tail[1] if group is not None and not group.records else ABSENT]
            step = ABSENT if numbers.step is None else f"{numbers.step:,}"
            rows.append([numbers.label, step, NOT_RUN, *[ABSENT] * 4, *_study_cells(numbers), *tail])
    headings = ["run", "step", "lon R²", "lat R²", "mean km", "since step 0", "median km"]
    return _table([*headings, "study lon R²", "study lat R²", "study km", "seeds", "command"], rows)


def _map_row(group: Group, step: int, study: StudyMap | None) -> list[str]:
    lon, lat = (group.over_seeds(step, _on_map("seed", REAL, key), 3) for key in ("lon_r2", "lat_r2"))
    mean, median = (group.over_seeds(step, _on_map("seed", REAL, key)) for key in ("mean_km", "median_km"))
    added = group.over_seeds(step, _on_map("seed", REAL, "mean_km"), since=0) if step else ABSENT
    return [group.label, f"{step:,}", lon, lat, mean, added, median, *_study_cells(study), *group.tail]


def _study_cells(study: StudyMap | None) -> list[str]:
    if study is None:
        return [ABSENT] * 3
    values = ((study.lon_r2, 3), (study.lat_r2, 3), (study.mean_km, 0))
    return [ABSENT if value is None else number(value, digits) for value, digits in values]


def _base_task(groups: Sequence[Group]) -> str:
    headings = ["run", "step", "validation loss", "mean km", "median km", "readable"]
    study = [str(BASE_VALIDATION_LOSS), f"{BASE_TASK_MEAN_KM:g}", f"{BASE_TASK_MEDIAN_KM:g}"]
    rows = []
    for group in groups:
        for step in group.ends if group.records else []:
            beside = study if group.near(BASE_END) == step else [ABSENT] * 3
            loss = group.over_seeds(step, lambda row: row.loss, 3)
            rows.append([group.label, f"{step:,}", loss, *_task_cells(group, step, SLICES[0]), *beside, *group.tail])
    if not any(group.records and group.near(BASE_END) is not None for group in groups):
        rows.append(["base", f"{BASE_END.step:,}", NOT_RUN, *[ABSENT] * 3, *study, NOT_RUN, _number_of(groups)])
    return _table([*headings, "study loss", "study mean km", "study median km", "seeds", "command"], rows)


def _number_of(groups: Sequence[Group]) -> str:
    """The number of the command that is still to be run, if it is among the groups'."""
    return next((group.tail[1] for group in groups if not group.records), ABSENT)


def _task_cells(group: Group, step: int, name: str) -> list[str]:
    return [
        group.over_seeds(step, _on_task(name, "mean_km")),
        group.over_seeds(step, _on_task(name, "median_km")),
        group.over_seeds(step, _on_task(name, "parsed"), 3),
    ]


def _base_regions(group: Group) -> str:
    whole = bool(group.records) and group.near(BASE_END) == group.last
    end = f"{group.last:,}" if group.records else "the last step"
    rows = []
    for region, study_km in BASE_REGION_KM.items():
        if not group.records:
            rows.append([region, ABSENT, NOT_RUN, NOT_RUN, NOT_RUN, f"{study_km:,}", *group.tail])
            continue
        tested = group.first.evaluations[-1].seed.get(region)
        n = ABSENT if tested is None else f"{tested.n:,}"
        first, last = (group.over_seeds(step, _on_map("seed", region, "mean_km")) for step in group.ends)
        folds = group.over_seeds(group.last, _on_map("sphere", region, "mean_km"))
        rows.append([region, n, first, last, folds, f"{study_km:,}" if whole else ABSENT, *group.tail])
    headings = ["region", "cities tested", "step 0", f"step {end}" if group.records else end, "folds"]
    return _table([*headings, "study, step 39,080", "seeds", "command"], rows)


def _second_protocol(groups: Sequence[Group]) -> str:
    rows = []
    for group in groups:
        if not group.records:
            rows.append([group.label, ABSENT, NOT_RUN, *[ABSENT] * 2, *group.tail])
        for step in group.ends if group.records else []:
            virtual = [
                [group.over_seeds(step, _on_map(protocol, region, "mean_km")) for region in group.first.virtual_regions]
                for protocol in ("sphere", "seed")
            ]
            cells = [", ".join(values) or ABSENT for values in virtual]
            rows.append([group.label, f"{step:,}", _with_folds(group, step), *cells, *group.tail])
    headings = ["run", "step", "real cities", "virtual cities", "virtual cities, the study's protocol"]
    return _table([*headings, "seeds", "command"], rows)


def _against(groups: Sequence[Group]) -> str:
    picks = [_on_map("seed", REAL, "mean_km"), _on_map("sphere", REAL, "mean_km")]
    picks += [_on_task(name, "mean_km") for name in SLICES]
    rows = []
    for run, other in COMPARED:
        for one, two in itertools.product(*([g for g in groups if g.run == name] for name in (run, other))):
            if pairs := pairs_of(one, two):
                differences = [[_less(*(pick(r.evaluations[-1]) for r in pair)) for pair in pairs] for pick in picks]
                seeds = Group(run, 0, tuple(first for first, _ in pairs)).seeds
                cells = [mean_and_interval(values, 0) for values in differences]
                rows.append([one.label, two.label, *cells, seeds])
        if not any(row[0].split(",")[0] == run and row[1].split(",")[0] == other for row in rows):
            rows.append([run, other, NOT_RUN, *[ABSENT] * (len(picks) - 1), NOT_RUN])
    headings = ["run", "less", "map", "map, second protocol", *(f"answers {name}" for name in SLICES), "seeds"]
    return _table(headings, rows)


def _less(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def _with_folds(group: Group, step: int) -> str:
    """Mean km of real cities by the sphere protocol; with one seed the interval of its folds."""
    text = group.over_seeds(step, _on_map("sphere", REAL, "mean_km"))
    row = next((row for row in group.first.evaluations if row.step == step), None)
    score = None if row is None else row.sphere.get(REAL)
    if len(group.records) > 1 or score is None or score.mean_km_low is None or score.mean_km_high is None:
        return text
    return f"{text} ({number(score.mean_km_low, 0)} to {number(score.mean_km_high, 0)} over folds)"


def _answers(groups: Sequence[Group]) -> str:
    rows = []
    for group in groups:
        if not group.records:
            rows.append([group.label, ABSENT, ABSENT, NOT_RUN, *[ABSENT] * 2, *group.tail])
            continue
        rows += [
            [group.label, name, f"{step:,}", *_task_cells(group, step, name), *group.tail]
            for name in SLICES
            for step in group.ends
        ]
    return _table(["run", "pairs", "step", "mean km", "median km", "readable", "seeds", "command"], rows)


def _tuned_regions(groups: Sequence[Group]) -> str:
    """A column for each run, a row for each region."""

    def cell(group: Group, region: str) -> str:
        pick = _on_map("seed", region, "mean_km")
        return " → ".join(group.over_seeds(step, pick) for step in group.ends) if group.records else NOT_RUN

    rows = [[region, *(cell(group, region) for group in groups), f"{km:,}"] for region, km in BASE_REGION_KM.items()]
    rows += [[name, *(group.tail[i] for group in groups), ABSENT] for i, name in enumerate(("seeds", "command"))]
    return _table(["region", *(group.label for group in groups), "study's base run, step 39,080"], rows)


def _commands(groups: Sequence[Group]) -> str:
    rows = []
    for group in groups:
        facts = [NOT_RUN, *[ABSENT] * 3]
        if group.records:
            of = "" if group.first.steps == group.first.full_steps else f" of {group.first.full_steps:,}"
            minutes = f"{fmean(record.seconds for record in group.records) / 60:,.1f}"
            where = "; ".join(dict.fromkeys(record.where for record in group.records))
            facts = [group.seeds, f"{group.first.steps:,}{of}", minutes, where]
        rows.append([str(group.number), group.label, *facts, f"`{group.command}`"])
    return _table(["", "run", "seeds", "steps", "minutes a run", "device, precision", "command"], rows)


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


# --- what differs


def _differences(groups: Sequence[Group]) -> list[str]:
    made = [group for group in groups if group.records]
    tasks = [row.task for group in made for row in group.first.evaluations]
    items = sorted({task[name].n for task in tasks for name in SLICES if name in task})
    sizes = f" ({' to '.join(f'{n:,}' for n in dict.fromkeys((items[0], items[-1])))} of each kind)" if items else ""
    lines = [
        "Cities: a seeded GeoNames snapshot (population of at least 100,000, thinned at 8 km), not the study's list; "
        "so the ids mean other cities.",
        "Which city of a pair comes first is a fair coin. In the study it was always the one with the smaller id.",
        f"Task errors are over fixed held-out pairs{sizes}, unreadable answers included. The study drew 64 new ones "
        "each time and dropped unreadable answers.",
        "Virtual cities are probed by their own ids and reported apart. The study pooled them with real ones, and very "
        "probably probed other ids.",
        "Seeds: a seed changes the pairs drawn (held-out ones too), the initial weights and the order of batches; not "
        "the world, nor which cities the probe is fitted on. The study had one seed.",
    ]
    precisions = {group.first.device["precision"] for group in made}
    if precisions:
        lines.append(f"Precision: {', '.join(sorted(precisions))} (see the commands); the study's is not known here.")
    lines += [f"{group.label} [{group.number}]: {text}" for group in made for text in _own_differences(group)]
    return lines


def _own_differences(group: Group) -> list[str]:
    first, lines = group.first, []
    if first.base is not None and first.base.option is not None:
        config = first.base.config
        origin = "of unknown origin" if config is None else "trained plainly, from scratch"
        if config is not None and config.base is not None:
            origin = "a warm start: not trained from scratch"
        lines.append(
            f"every seed starts from the given base `{first.base.name}` ({origin}). A seed varies only the data and "
            "their order."
        )
    elif first.base is not None:
        lines.append("each seed starts from its own base run, trained plainly from scratch.")
    else:
        lines.append("trained plainly, from scratch.")
    if first.steps < first.full_steps:
        lines.append(f"{first.steps:,} of {first.full_steps:,} steps; the learning rate's schedule ends there.")
    return lines


# --- numbers


def _on_map(protocol: str, group: str, key: str) -> Callable[[Evaluation], float | None]:
    """Picks one number of a group of cities from an evaluation; None if it is not there."""

    def pick(row: Evaluation) -> float | None:
        return getattr(getattr(row, protocol).get(group), key, None)

    return pick


def _on_task(name: str, key: str) -> Callable[[Evaluation], float | None]:
    def pick(row: Evaluation) -> float | None:
        return getattr(row.task.get(name), key, None)

    return pick
