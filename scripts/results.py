"""The page that puts our numbers beside the study's, in Markdown, from nothing but records.

A number of ours is the mean over the seeds of equal setup, with its 95 % interval (`atlantis.statistics`) where there
are at least three. What has no record is `NOT_RUN`. Every table of a fine-tune has its step 0.
"""

from __future__ import annotations

from collections.abc import Sequence

from atlantis.names import SLICES
from atlantis.report.study_record import StudyRecord
from scripts import result_tables
from scripts.bases import bases_of
from scripts.groups import NEAR, Group, groups_of
from scripts.study_numbers import BASE_END, BASE_MAPS, BASE_TRAIN_LOSS, SOURCE, TUNED_MAPS


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
        result_tables.maps(base, BASE_MAPS),
        "## The base run's answers",
        f"Pairs of real cities. The study's loss on its training rows was {BASE_TRAIN_LOSS}.",
        result_tables.base_task(base),
        "## The base run's map by region",
        "Probe, mean km, at step 0 and at the last step; *folds*: by the second protocol, at the last step.",
        *(result_tables.base_regions(group) for group in base),
        "## The map after fine-tuning",
        "Real cities, the study's probe protocol. The row of step 0 is where the run started; *since step 0* is the "
        "damage, seed by seed. Beside step 0 stands the end of the study's base run.",
        result_tables.maps(tuned, TUNED_MAPS),
        "## The map after fine-tuning, second protocol",
        "Unit-sphere targets, every real city predicted by a probe that was not fitted on it: mean km. *over folds*: "
        "with one seed the interval is that of the probe's folds, and says nothing about other seeds. Virtual cities "
        "are predicted by probes fitted on real ones only.",
        result_tables.second_protocol([*base, *tuned]),
        "## One fine-tune against another",
        "What the first ends with less what the second ends with, in km, seed by seed: both drew with this seed and "
        "started from the same weights. An interval that holds 0 does not show a difference, and does not show that "
        "there is none. With fewer than three seeds there is no interval. The intervals are not corrected for their "
        "number. *steps*: how long both were; where these differ, the pairs and the length are not told apart. "
        "*answers*: each about its own held-out pairs.",
        result_tables.against(tuned),
        "## Base by base",
        BASES,
        result_tables.base_by_base(bases_of(records)),
        result_tables.over_bases(bases_of(records)),
        "## Answers after fine-tuning",
        "Error of the greedy answers on held-out pairs; *readable*: the share that are numbers, the others count as "
        "half the Earth's circumference.",
        result_tables.answers(tuned),
        "## The map by region after fine-tuning",
        "Probe, mean km, the study's protocol: step 0 → last step.",
        result_tables.tuned_regions(tuned),
        "## Commands",
        "Training time includes the evaluation of the task, not the probes. The base runs that a command starts from "
        "are made by it too where they are missing.",
        result_tables.commands(groups),
    ]
    return "\n\n".join(parts) + "\n"


INTRODUCTION = """# Our numbers beside the study's

Generated from {n} records by `python -m scripts.results_page RECORDS... -o docs/results.md`; not edited by hand.
The study's numbers are those of {source}, each of one seed. [The study](study.md) has the results in words.
[Another page](collapse.md) asks why its map sank and ours does not.

A number of ours is the mean over the seeds of its row. In parentheses is the 95 % interval of that mean over the seeds:
Student's t, on a scale that keeps the number within its bounds ([how](statistics.md)). There is none for fewer than
three seeds, or for a number that is the same for all of them. Nor is there one where a seed is at the bound, such as a
readable share of 1.

*cross*: pairs with at least one city of Atlantis; *inter*: with two; *mixed*: cross with a sixth of pairs of real
cities; *bs64*: batches of 64, not 512. *world* in a kind of pair is a real city.

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


def _differences(groups: Sequence[Group]) -> list[str]:
    made = [group for group in groups if group.records]
    tasks = [row.task for group in made for row in group.first.evaluations]
    items = sorted({task[name].n for task in tasks for name in SLICES if name in task})
    sizes = f" ({' to '.join(f'{n:,}' for n in dict.fromkeys((items[0], items[-1])))} of each kind)" if items else ""
    lines = [
        "Cities: a seeded GeoNames snapshot (population of at least 100,000, thinned at 8 km), not the study's list. "
        "So the ids mean other cities.",
        "Which city of a pair comes first is a fair coin. In the study it was the one with the smaller id, but for "
        "pairs of a real and an invented city, where a coin decided.",
        f"Task errors are over fixed held-out pairs{sizes}, unreadable answers included. The study drew 64 new ones "
        "each time and dropped unreadable answers.",
        "Virtual cities are probed by their own ids and reported apart. The study probably pooled them with real ones, "
        "and probed other ids.",
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
        lines.append(
            f"Precision: {', '.join(sorted(precisions))} (see the commands); the study had float16 with a scaled loss."
        )
    by_own: dict[str, list[str]] = {}
    for group in made:
        for text in _own_differences(group):
            by_own.setdefault(text, []).append(f"[{group.number}]")
    return lines + [f"Commands {', '.join(numbers)}: {text}" for text, numbers in by_own.items()]


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
    if group.shortened:
        lines.append(f"{first.steps:,} of {first.full_steps:,} steps; the learning rate's schedule ends there.")
    return lines
