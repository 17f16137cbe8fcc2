"""The tables of the page that puts our numbers beside the study's, in Markdown.

A cell is a mean over seeds with its interval (`groups.mean_and_interval`). What has no record is `NOT_RUN`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from statistics import fmean

from atlantis.markdown import table
from atlantis.names import REAL, SLICES
from atlantis.readout.catalogue import scale_of
from atlantis.report.study_record import RUNS
from atlantis.report.tables import ABSENT
from scripts import bases
from scripts.bases import Base
from scripts.groups import (
    MAP_KM,
    NOT_RUN,
    Group,
    Pick,
    mean_and_interval,
    number,
    on_map,
    on_task,
    pairs_of,
)
from scripts.study_numbers import (
    BASE_END,
    BASE_REGION_KM,
    BASE_TASK_MEAN_KM,
    BASE_TASK_MEDIAN_KM,
    BASE_VALIDATION_LOSS,
    StudyMap,
)

COMPARED = (("inter", "cross"), ("mixed", "cross"), ("cross_bs64", "cross"), ("inter_bs64", "inter"))
"""Fine-tunes that differ in one thing: the pairs, or the size of a batch."""


def maps(groups: Sequence[Group], study: Sequence[StudyMap]) -> str:
    """Rows of each group at step 0, at the study's steps and at its end; then what the study has and we do not."""
    rows, met = [], []
    for group in groups:
        if not group.records:
            if not any(row.run == group.run for row in study):
                rows.append([group.label, ABSENT, NOT_RUN, *[ABSENT] * 7, *group.tail])
            continue
        study_at: dict[int, StudyMap | None] = {0: None if group.run == "base" else BASE_END}
        for numbers in study:
            step = group.near(numbers)
            if step is not None:
                study_at[step] = numbers
                met.append(numbers)
        study_at.setdefault(group.last, None)
        rows += [_map_row(group, step, study_at[step]) for step in sorted(study_at)]
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


def base_task(groups: Sequence[Group]) -> str:
    """Answers of the base runs about real pairs, beside the study's."""
    headings = ["run", "step", "validation loss", "mean km", "median km", "readable"]
    study = [str(BASE_VALIDATION_LOSS), f"{BASE_TASK_MEAN_KM:g}", f"{BASE_TASK_MEDIAN_KM:g}"]
    rows = []
    for group in groups:
        for step in group.ends if group.records else []:
            study_cells = study if group.near(BASE_END) == step else [ABSENT] * 3
            loss = group.over_seeds(step, Pick("loss", lambda row: row.loss), 3)
            rows.append(
                [group.label, f"{step:,}", loss, *_task_cells(group, step, SLICES[0]), *study_cells, *group.tail]
            )
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


def base_regions(group: Group) -> str:
    """A row for each real region: the map of one group of base runs at its ends, beside the study's."""
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


def second_protocol(groups: Sequence[Group]) -> str:
    """The map by unit-sphere targets, of real and of virtual cities, at the ends of each group."""
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


def against(groups: Sequence[Group]) -> str:
    """Pairs of fine-tunes of `COMPARED`, seed by seed."""
    picks = [on_map("degrees", REAL, "mean_km"), on_map("sphere", REAL, "mean_km")]
    picks += [on_task(name, "mean_km") for name in SLICES]
    rows = []
    for run, other in COMPARED:
        for ours, theirs in itertools.product(*([g for g in groups if g.run == name] for name in (run, other))):
            if pairs := pairs_of(ours, theirs):
                differences = [[bases.less(*pair, pick.take) for pair in pairs] for pick in picks]
                seeds = Group(run, 0, tuple(first for first, _ in pairs), ours.given).seeds
                cells = [mean_and_interval(values, 0) for values in differences]
                steps = " and ".join(f"{n:,}" for n in dict.fromkeys((pairs[0][0].steps, pairs[0][1].steps)))
                rows.append([ours.label, theirs.label, steps, *cells, seeds])
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


def base_by_base(all_bases: Sequence[Base]) -> str:
    """A row for each base: where it starts, and what each fine-tune adds to it; and one for their mean."""
    runs = [run for run in RUNS if any(run in base.runs for base in all_bases)]
    if not runs:
        return NOT_RUN
    columns: list[list[float | None]] = []
    starts = [base.start(MAP_KM.take) for base in all_bases]
    columns += [[base.mean(run, lambda record: bases.added(record, MAP_KM.take)) for base in all_bases] for run in runs]
    rows = [
        [
            base.label,
            "" if start is None else number(start, 0),
            *(_draws(base, run, column[i]) for run, column in zip(runs, columns, strict=True)),
        ]
        for i, (base, start) in enumerate(zip(all_bases, starts, strict=True))
    ]
    mean = mean_and_interval(bases.present(starts), 0, scale_of("mean_km"))
    over = [f"{mean_and_interval(bases.present(column), 0)}, n = {len(bases.present(column))}" for column in columns]
    rows.append([f"all {len(all_bases)}", f"{mean}, n = {len(all_bases)}", *over])
    return table(["base", "from the map's error", *(f"{run} added (draws)" for run in runs)], rows)


def _draws(base: Base, run: str, value: float | None) -> str:
    seeds = ", ".join(map(str, sorted(base.runs.get(run, {}))))
    return NOT_RUN if value is None else f"{number(value, 0)} ({seeds})"


def over_bases(all_bases: Sequence[Base]) -> str:
    """Fine-tunes against each other, base by base: at their ends, and after as many steps as the shorter one has."""
    rows = []
    for run, other in COMPARED:
        ends = [base.difference(run, other, lambda a, b: bases.less(a, b, MAP_KM.take)) for base in all_bases]
        equal = [
            base.difference(run, other, lambda a, b: bases.less_at_equal_steps(a, b, MAP_KM.take)) for base in all_bases
        ]
        pairs = [pair for base in all_bases for pair in base.pairs(run, other)]
        if not pairs:
            rows.append([run, other, NOT_RUN, *[ABSENT] * 4])
            continue
        ours, theirs = pairs[0]
        each = ", ".join(ABSENT if value is None else number(value, 0) for value in ends)
        same = ABSENT if ours.steps == theirs.steps else mean_and_interval(bases.present(equal), 0)
        rows.append(
            [
                run,
                other,
                f"{ours.steps:,} and {theirs.steps:,}",
                each,
                mean_and_interval(bases.present(ends), 0),
                same,
                str(len(bases.present(ends))),
            ]
        )
    headings = ["run", "less", "steps", "map, base by base", "map, mean over bases", "after as many steps", "bases"]
    note = (
        "*after as many steps*: both after the number of steps that the shorter run has, the longer one read between "
        "its evaluated steps. Its learning rate has not come down there, so this is not a run of that length."
    )
    return table(headings, rows) + "\n\n" + note


def answers(groups: Sequence[Group]) -> str:
    """Answers of each fine-tune to each kind of pair, at its ends."""
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


def tuned_regions(groups: Sequence[Group]) -> str:
    """A column for each run, a row for each region."""

    def cell(group: Group, region: str) -> str:
        pick = on_map("degrees", region, "mean_km")
        return " → ".join(group.over_seeds(step, pick) for step in group.ends) if group.records else NOT_RUN

    rows = [[region, *(cell(group, region) for group in groups), f"{km:,}"] for region, km in BASE_REGION_KM.items()]
    rows += [[name, *(group.tail[i] for group in groups), ABSENT] for i, name in enumerate(("seeds", "command"))]
    return table(["region", *(group.label for group in groups), "study's base run, step 39,080"], rows)


def commands(groups: Sequence[Group]) -> str:
    """What made each group: its command, where it ran and how long."""
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
