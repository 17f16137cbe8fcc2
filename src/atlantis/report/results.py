"""The page that puts our numbers beside the study's, in Markdown, from nothing but records.

A number of ours is the mean over the seeds of equal setup, with its 95 % interval (`atlantis.statistics`) where there
are at least three. What has no record is `NOT_RUN`. Every table of a fine-tune has its step 0.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from statistics import fmean

from atlantis.markdown import table
from atlantis.names import REAL, SLICES
from atlantis.readout.catalogue import scale_of
from atlantis.report import bases
from atlantis.report.bases import Base, bases_of
from atlantis.report.groups import NEAR, NOT_RUN, Group, Pick, groups_of, mean_and_interval, number, pairs_of
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
from atlantis.report.study_record import RUNS, StudyRecord
from atlantis.report.tables import ABSENT


def page(records: Sequence[StudyRecord]) -> str:
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
        "started from the same weights. An interval that holds 0 does not show a difference, and does not show that "
        "there is none. With fewer than three seeds there is no interval. The intervals are not corrected for their "
        "number. *steps*: how long both were; where these differ, the pairs and the length are not told apart. "
        "*answers*: each about its own held-out pairs.",
        _against(tuned),
        "## Base by base",
        BASES,
        _base_by_base(bases_of(records)),
        _over_bases(bases_of(records)),
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
The study's numbers are those of {source}, each of one seed. [The study](study.md) has the results in words.
Why its map sank under cross pairs, and ours does not, is asked on [a page of its own](collapse.md).

A number of ours is the mean over the seeds of its row. In parentheses is the 95 % interval of that mean over the seeds:
Student's t, on a scale that keeps the number within its bounds ([how](statistics.md)). There is none for fewer than
three seeds, or for a number that is the same for all of them. Nor is there one where a seed is at the bound, such as a
readable share of 1.

*not run*: there is no record. *one base*: the seeds vary the data and their order, and share the model they start from.
So their intervals say nothing about other bases."""

BASES = (
    "The unit here is the base: a model of its own, made by a base run. A number is the mean over the draws from that "
    "base (*draws*: their seeds), and the last row's interval is over the bases. *from the map's error*: the refitted "
    "probe's mean km on real cities, the study's protocol; *added*: what the fine-tune adds to it. The base in a file "
    "was made with seed 42 on a CPU; that of seed 42 with the same settings on a GPU, whose arithmetic differs."
)

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
    return table([*headings, "study lon R²", "study lat R²", "study km", "seeds", "command"], rows)


def _map_row(group: Group, step: int, study: StudyMap | None) -> list[str]:
    lon, lat = (group.over_seeds(step, on_map("degrees", REAL, key), 3) for key in ("lon_r2", "lat_r2"))
    mean, median = (group.over_seeds(step, on_map("degrees", REAL, key)) for key in ("mean_km", "median_km"))
    added = group.over_seeds(step, on_map("degrees", REAL, "mean_km"), since=0) if step else ABSENT
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
            loss = group.over_seeds(step, Pick("loss", lambda row: row.loss), 3)
            rows.append([group.label, f"{step:,}", loss, *_task_cells(group, step, SLICES[0]), *beside, *group.tail])
    if not any(group.records and group.near(BASE_END) is not None for group in groups):
        rows.append(["base", f"{BASE_END.step:,}", NOT_RUN, *[ABSENT] * 3, *study, NOT_RUN, _number_of(groups)])
    return table([*headings, "study loss", "study mean km", "study median km", "seeds", "command"], rows)


def _number_of(groups: Sequence[Group]) -> str:
    """The number of the command that is still to be run, if it is among the groups'."""
    return next((group.tail[1] for group in groups if not group.records), ABSENT)


def _task_cells(group: Group, step: int, name: str) -> list[str]:
    return [
        group.over_seeds(step, on_task(name, "mean_km")),
        group.over_seeds(step, on_task(name, "median_km")),
        group.over_seeds(step, on_task(name, "parsed"), 3),
    ]


def _base_regions(group: Group) -> str:
    whole = bool(group.records) and group.near(BASE_END) == group.last
    end = f"{group.last:,}" if group.records else "the last step"
    rows = []
    for region, study_km in BASE_REGION_KM.items():
        if not group.records:
            rows.append([region, ABSENT, NOT_RUN, NOT_RUN, NOT_RUN, f"{study_km:,}", *group.tail])
            continue
        tested = group.first.evaluations[-1].degrees.get(region)
        n = ABSENT if tested is None else f"{tested.n:,}"
        first, last = (group.over_seeds(step, on_map("degrees", region, "mean_km")) for step in group.ends)
        folds = group.over_seeds(group.last, on_map("sphere", region, "mean_km"))
        rows.append([region, n, first, last, folds, f"{study_km:,}" if whole else ABSENT, *group.tail])
    headings = ["region", "cities tested", "step 0", f"step {end}" if group.records else end, "folds"]
    return table([*headings, "study, step 39,080", "seeds", "command"], rows)


def _second_protocol(groups: Sequence[Group]) -> str:
    rows = []
    for group in groups:
        if not group.records:
            rows.append([group.label, ABSENT, NOT_RUN, *[ABSENT] * 2, *group.tail])
        for step in group.ends if group.records else []:
            virtual = [
                [group.over_seeds(step, on_map(protocol, region, "mean_km")) for region in group.first.virtual_regions]
                for protocol in ("sphere", "degrees")
            ]
            cells = [", ".join(values) or ABSENT for values in virtual]
            rows.append([group.label, f"{step:,}", _with_folds(group, step), *cells, *group.tail])
    headings = ["run", "step", "real cities", "virtual cities", "virtual cities, the study's protocol"]
    return table([*headings, "seeds", "command"], rows)


def _against(groups: Sequence[Group]) -> str:
    picks = [on_map("degrees", REAL, "mean_km"), on_map("sphere", REAL, "mean_km")]
    picks += [on_task(name, "mean_km") for name in SLICES]
    rows = []
    for run, other in COMPARED:
        for one, two in itertools.product(*([g for g in groups if g.run == name] for name in (run, other))):
            if pairs := pairs_of(one, two):
                differences = [[bases.less(*pair, pick.take) for pair in pairs] for pick in picks]
                seeds = Group(run, 0, tuple(first for first, _ in pairs), one.given).seeds
                cells = [mean_and_interval(values, 0) for values in differences]
                steps = " and ".join(f"{n:,}" for n in dict.fromkeys((pairs[0][0].steps, pairs[0][1].steps)))
                rows.append([one.label, two.label, steps, *cells, seeds])
        if not any(row[0].split(",")[0] == run and row[1].split(",")[0] == other for row in rows):
            rows.append([run, other, ABSENT, NOT_RUN, *[ABSENT] * (len(picks) - 1), NOT_RUN])
    headings = ["run", "less", "steps", "map", "map, second protocol", *(f"answers {name}" for name in SLICES), "seeds"]
    return table(headings, rows)


def _with_folds(group: Group, step: int) -> str:
    """Mean km of real cities by the sphere protocol; with one seed the interval of its folds."""
    text = group.over_seeds(step, on_map("sphere", REAL, "mean_km"))
    row = next((row for row in group.first.evaluations if row.step == step), None)
    score = None if row is None else row.sphere.get(REAL)
    if len(group.records) > 1 or group.first.intervals == 1 or score is None:
        return text
    if score.mean_km_low is None or score.mean_km_high is None:
        return text
    return f"{text} ({number(score.mean_km_low, 0)} to {number(score.mean_km_high, 0)} over folds)"


MAP_KM = Pick("mean_km", lambda row: getattr(row.degrees.get(REAL), "mean_km", None))
"""Real cities by the study's protocol."""


def _base_by_base(found: Sequence[Base]) -> str:
    """A row for each base: where it starts, and what each fine-tune adds to it; and one for their mean."""
    runs = [run for run in RUNS if any(run in base.runs for base in found)]
    if not runs:
        return NOT_RUN
    columns: list[list[float | None]] = []
    starts = [base.start(MAP_KM.take) for base in found]
    columns += [[base.mean(run, lambda record: bases.added(record, MAP_KM.take)) for base in found] for run in runs]
    rows = [
        [
            base.label,
            "" if start is None else number(start, 0),
            *(_draws(base, run, column[i]) for run, column in zip(runs, columns, strict=True)),
        ]
        for i, (base, start) in enumerate(zip(found, starts, strict=True))
    ]
    mean = mean_and_interval(bases.known(starts), 0, scale_of("mean_km"))
    over = [f"{mean_and_interval(bases.known(column), 0)}, n = {len(bases.known(column))}" for column in columns]
    rows.append([f"all {len(found)}", f"{mean}, n = {len(found)}", *over])
    return table(["base", "from the map's error", *(f"{run} added (draws)" for run in runs)], rows)


def _draws(base: Base, run: str, value: float | None) -> str:
    seeds = ", ".join(map(str, sorted(base.runs.get(run, {}))))
    return NOT_RUN if value is None else f"{number(value, 0)} ({seeds})"


def _over_bases(found: Sequence[Base]) -> str:
    """Fine-tunes against each other, base by base: at their ends, and after as many steps as the shorter one has."""
    rows = []
    for run, other in COMPARED:
        ends = [base.difference(run, other, lambda a, b: bases.less(a, b, MAP_KM.take)) for base in found]
        equal = [
            base.difference(run, other, lambda a, b: bases.less_at_equal_steps(a, b, MAP_KM.take)) for base in found
        ]
        pairs = [pair for base in found for pair in base.pairs(run, other)]
        if not pairs:
            rows.append([run, other, NOT_RUN, *[ABSENT] * 4])
            continue
        one, two = pairs[0]
        each = ", ".join(ABSENT if value is None else number(value, 0) for value in ends)
        same = ABSENT if one.steps == two.steps else mean_and_interval(bases.known(equal), 0)
        rows.append(
            [
                run,
                other,
                f"{one.steps:,} and {two.steps:,}",
                each,
                mean_and_interval(bases.known(ends), 0),
                same,
                str(len(bases.known(ends))),
            ]
        )
    headings = ["run", "less", "steps", "map, base by base", "map, mean over bases", "after as many steps", "bases"]
    note = (
        "*after as many steps*: both after the number of steps that the shorter run has, the longer one read between "
        "its evaluated steps. Its learning rate has not come down there, so this is not a run of that length."
    )
    return table(headings, rows) + "\n\n" + note


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
    return table(["run", "pairs", "step", "mean km", "median km", "readable", "seeds", "command"], rows)


def _tuned_regions(groups: Sequence[Group]) -> str:
    """A column for each run, a row for each region."""

    def cell(group: Group, region: str) -> str:
        pick = on_map("degrees", region, "mean_km")
        return " → ".join(group.over_seeds(step, pick) for step in group.ends) if group.records else NOT_RUN

    rows = [[region, *(cell(group, region) for group in groups), f"{km:,}"] for region, km in BASE_REGION_KM.items()]
    rows += [[name, *(group.tail[i] for group in groups), ABSENT] for i, name in enumerate(("seeds", "command"))]
    return table(["region", *(group.label for group in groups), "study's base run, step 39,080"], rows)


def _commands(groups: Sequence[Group]) -> str:
    rows = []
    for group in groups:
        facts = [NOT_RUN, *[ABSENT] * 3]
        if group.records:
            of = "" if group.first.steps == group.first.full_steps else f" of {group.first.full_steps:,}"
            seconds: dict[str, list[float]] = {}
            for record in group.records:
                seconds.setdefault(record.where, []).append(record.seconds)
            minutes = "; ".join(f"{fmean(of_device) / 60:,.1f}" for of_device in seconds.values())
            where = "; ".join(seconds)
            facts = [group.seeds, f"{group.first.steps:,}{of}", minutes, where]
        rows.append([str(group.number), group.label, *facts, f"`{group.command}`"])
    return table(["", "run", "seeds", "steps", "minutes a run", "device, precision", "command"], rows)


# --- what differs


def _differences(groups: Sequence[Group]) -> list[str]:
    made = [group for group in groups if group.records]
    tasks = [row.task for group in made for row in group.first.evaluations]
    items = sorted({task[name].n for task in tasks for name in SLICES if name in task})
    sizes = f" ({' to '.join(f'{n:,}' for n in dict.fromkeys((items[0], items[-1])))} of each kind)" if items else ""
    lines = [
        "Cities: a seeded GeoNames snapshot (population of at least 100,000, thinned at 8 km), not the study's list. "
        "So the ids mean other cities.",
        "Which city of a pair comes first is a fair coin. In the study it was always the one with the smaller id.",
        f"Task errors are over fixed held-out pairs{sizes}, unreadable answers included. The study drew 64 new ones "
        "each time and dropped unreadable answers.",
        "Virtual cities are probed by their own ids and reported apart. The study pooled them with real ones, and very "
        "probably probed other ids.",
        "Seeds: a seed changes the pairs drawn (held-out ones too), the initial weights and the order of batches. It "
        "changes neither the world nor the cities that the probe is fitted on. The study had one seed.",
    ]
    if any(len({record.seed for record in group.records}) < len(group.records) for group in made):
        lines.append(
            "A seed that stands twice beside a base run was trained on two kinds of device. Sums that round "
            "differently end in another model, which counts as a base of its own."
        )
    precisions = {group.first.device["precision"] for group in made}
    if precisions:
        lines.append(f"Precision: {', '.join(sorted(precisions))} (see the commands); the study's is not known here.")
    lines += [f"{group.label} [{group.number}]: {text}" for group in made for text in _own_differences(group)]
    return lines


def _own_differences(group: Group) -> list[str]:
    first, lines = group.first, []
    if group.given is not None:
        config = group.given.config
        origin = "of unknown origin" if config is None else "trained plainly, from scratch"
        if config is not None and config.base is not None:
            origin = "a warm start: not trained from scratch"
        lines.append(
            f"every seed starts from the given base `{group.given.name}` ({origin}). A seed varies only the data and "
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


def on_map(protocol: str, group: str, key: str) -> Pick:
    """Picks one number of a group of cities from an evaluation; None if it is not there."""
    return Pick(key, lambda row: getattr(getattr(row, protocol).get(group), key, None))


def on_task(name: str, key: str) -> Pick:
    return Pick(key, lambda row: getattr(row.task.get(name), key, None))
