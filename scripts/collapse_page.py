"""Write docs/collapse.md: why did the study's map sink? The prose of collapse.md beside this script, and its tables.

    python -m scripts.collapse_page

The numbers come from the records of experiments/2026-11-28_study_collapse and of the studies before it, and from its
by_place.json. The same records give the same bytes.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from atlantis.artifacts import write_text
from atlantis.markdown import table
from atlantis.names import REAL
from atlantis.report.study_record import Evaluation, MapScore, StudyRecord, read_records
from atlantis.scales import IDENTITY
from atlantis.statistics import seed_interval
from scripts.places import PLACE, fill
from scripts.study_numbers import BASE_END, BASE_TASK_MEAN_KM, TUNED_MAPS, StudyMap

ROOT = Path(__file__).parents[1]
PROSE = Path(__file__).with_name("collapse.md")
PAGE = ROOT / "docs" / "collapse.md"
EXPERIMENT = ROOT / "experiments" / "2026-11-28_study_collapse"
ORDER, LETTER, STOPPED, RECIPE = "smaller id first", "to the letter", "stopped early", "300 cities met first"
CONDITIONS = {
    "a coin": [ROOT / "experiments" / "2026-11-27_gpu_study" / "records", EXPERIMENT / "records" / "plain"],
    ORDER: [EXPERIMENT / "records" / "order"],
    "float16": [EXPERIMENT / "records" / "fp16"],
    "cities not thinned": [EXPERIMENT / "records" / "cities"],
    LETTER: [EXPERIMENT / "records" / "letter"],
    STOPPED: [EXPERIMENT / "records" / "early"],
    RECIPE: [
        ROOT / "experiments/2026-11-25_why_it_holds/records/atlantis_cross_finetune_from_quick_base_seed43.json",
    ],
}
"""What differs from the project's own base run, and where its records are. The last two were trained on a CPU."""
EARLY = 196
"""The step of the cross run at which the study's map had already fallen."""
RATE = 5e-5
"""The study's learning rate."""


class Records:
    """The runs of each condition, by name of run and seed."""

    def __init__(self) -> None:
        self.of = {condition: read_records(folders) for condition, folders in CONDITIONS.items()}

    def runs(self, condition: str, run: str) -> list[StudyRecord]:
        return [record for record in self.of[condition] if record.run == run]

    def added_km(self, condition: str, step: int | None = None) -> dict[int, float]:
        """What the cross run adds to the map's error until `step`, by seed; None: until its end."""
        return {r.seed: _km(_at(r, step)) - _km(r.evaluations[0]) for r in self.runs(condition, "cross")}

    def base_km(self, condition: str) -> dict[int, float]:
        return {record.seed: _km(record.evaluations[-1]) for record in self.runs(condition, "base")}


def _at(record: StudyRecord, step: int | None) -> Evaluation:
    """The evaluation at `step`, or the last."""
    return next((e for e in record.evaluations if e.step == step), record.evaluations[-1])


def _km(evaluation: Evaluation) -> float:
    return evaluation.degrees[REAL].mean_km


def _r2(evaluation: Evaluation) -> str:
    return _pair(evaluation.degrees[REAL])


def _pair(score: MapScore | StudyMap) -> str:
    return _axes(score.lon_r2 or 0.0, score.lat_r2 or 0.0)


def _axes(lon_r2: float, lat_r2: float, mean_km: float | None = None) -> str:
    return f"{lon_r2:.3f} / {lat_r2:.3f}"


def bases_table(records: Records) -> str:
    rows = [["the study", "42", _pair(BASE_END), f"{BASE_END.mean_km:,.0f}", f"{BASE_TASK_MEAN_KM:.0f}"]]
    for condition in CONDITIONS:
        for record in records.runs(condition, "base"):
            end = record.evaluations[-1]
            answers = end.task["world-world"].mean_km
            rows.append([condition, str(record.seed), _r2(end), f"{_km(end):,.0f}", f"{answers:,.0f}"])
    return table(["condition", "seed", "R² lon / lat", "map, km", "answers, km"], rows, "lrrrr")


def study_cross() -> tuple[StudyMap, StudyMap]:
    """The map of the study's cross run at step `EARLY`, and at its end."""
    cross = [row for row in TUNED_MAPS if row.run == "cross"]
    return next(row for row in cross if row.step == EARLY), next(row for row in cross if row.step == row.total)


def study(what: str) -> str:
    """A number of the study's, by the name that the prose has for it."""
    early, end = study_cross()
    return {
        "base": _pair(BASE_END),
        "end": _pair(end),
        "early": str(EARLY),
        "early_lon": f"{early.lon_r2:.3f}",
        "lon_lost": f"{BASE_END.lon_r2 - early.lon_r2:.3f}",
        "lat_lost": f"{BASE_END.lat_r2 - early.lat_r2:.3f}",
        "added": f"{(end.mean_km or 0) - (BASE_END.mean_km or 0):,.0f}",
    }[what]


def cross_table(records: Records) -> str:
    early, end = study_cross()
    rows = [["the study", "42", _pair(BASE_END), _pair(early), _pair(end), "not reported", study("added")]]
    for condition in CONDITIONS:
        early_km, end_km = records.added_km(condition, EARLY), records.added_km(condition)
        for record in records.runs(condition, "cross"):
            maps = [_r2(_at(record, step)) for step in (0, EARLY, None)]
            rows.append(
                [condition, str(record.seed), *maps, f"{early_km[record.seed]:,.0f}", f"{end_km[record.seed]:,.0f}"]
            )
    header = ["condition", "seed", "at step 0", f"at step {EARLY}", "at the end", f"added by {EARLY}, km", "added, km"]
    return table(header, rows, "lrrrrrr")


def places_table() -> str:
    """The map at the first city's place, and at the second's: mean, least and most over what stands first."""
    rows = []
    for base, places in json.loads((EXPERIMENT / "by_place.json").read_text(encoding="utf-8")).items():
        second = [row for place, row in places.items() if place != "first"]
        km = [row["mean_km"] for row in second]
        mean = {axis: fmean(row[axis] for row in second) for axis in ("lon_r2", "lat_r2")}
        first_km, second_km = (
            f"{places['first']['mean_km']:,.0f}",
            f"{fmean(km):,.0f} ({min(km):,.0f} to {max(km):,.0f})",
        )
        rows.append([base, _axes(**places["first"]), first_km, _axes(**mean), second_km])
    return table(["base", "first, R²", "first, km", "second, R²", "second, km"], rows, "lrrrr")


def rates() -> list[dict[str, str]]:
    """What the short runs at several rates had at each step."""
    with open(EXPERIMENT / "rates.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def dip(what: str) -> str:
    """The worst step of the short runs at the study's rate, or by how much an R2 is below that of step 0 there."""
    entries = [entry for entry in rates() if float(entry["learning_rate"]) == RATE]
    worst = max(entries, key=lambda entry: float(entry["mean_km"]))
    return worst["step"] if what == "step" else f"{float(entries[0][what]) - float(worst[what]):.3f}"


def rates_table() -> str:
    """The cross run from one base at other rates and in the other order: its worst step, and its last."""
    rows, entries = [], rates()
    for rate, order in dict.fromkeys((entry["learning_rate"], entry["order"]) for entry in entries):
        run = [entry for entry in entries if (entry["learning_rate"], entry["order"]) == (rate, order)]
        worst, last = max(run, key=lambda entry: float(entry["mean_km"])), run[-1]
        maps = [_axes(float(entry["lon_r2"]), float(entry["lat_r2"])) for entry in (worst, last)]
        km = [f"{float(entry['mean_km']):,.0f}" for entry in (worst, last)]
        label = "smaller id first" if order == "smaller_first" else "a coin"
        rows.append(
            [f"{float(rate):g}", label, f"{worst['step']}: {maps[0]}, {km[0]}", f"{last['step']}: {maps[1]}, {km[1]}"]
        )
    header = ["rate", "order of the fine-tuning", "worst step: R², km", "last step: R², km"]
    return table(header, rows, "llrr")


def page(prose: str) -> str:
    """The prose with its places filled."""
    records = Records()

    def spread(values: Sequence[float]) -> str:
        return f"{min(values):,.0f} to {max(values):,.0f}"

    def order_adds() -> str:
        coin, order = records.base_km("a coin"), records.base_km(ORDER)
        differences = [order[seed] - coin[seed] for seed in sorted(order)]
        over_seeds = seed_interval(differences, IDENTITY)
        mean = f"{fmean(differences):,.0f} km ({over_seeds.low:,.0f} to {over_seeds.high:,.0f}"
        return f"{mean}; seed by seed {', '.join(f'{value:,.0f}' for value in differences)})"

    def one_cross(condition: str, seed: int, what: str) -> str:
        """Of one cross run: the map at its start or end, its base's error of the map, or what it added to the error."""
        record = next(record for record in records.runs(condition, "cross") if record.seed == seed)
        if what in ("start", "end"):
            return _r2(record.evaluations[0 if what == "start" else -1])
        if what == "base":
            return f"{_km(record.evaluations[0]):,.0f} km"
        early, end = (records.added_km(condition, step)[seed] for step in (EARLY, None))
        return f"{early:,.0f} km by step {EARLY} and {end:,.0f} by the end"

    def worst(axis: str) -> str:
        """The most that an R2 falls until step 196 of a cross run, under any condition."""
        falls = []
        for condition in CONDITIONS:
            for record in records.runs(condition, "cross"):
                start, then = (getattr(_at(record, step).degrees[REAL], axis) for step in (0, EARLY))
                falls.append(start - then)
        return f"{max(falls):.3f}"

    return PLACE.sub(
        lambda match: fill(
            match,
            {
                "bases": lambda: bases_table(records),
                "cross": lambda: cross_table(records),
                "places": places_table,
                "rates": rates_table,
                "dip": dip,
                "study": study,
                "order_adds": order_adds,
                "worst": worst,
                "order_42": lambda what: one_cross(ORDER, 42, what),
                "stopped": lambda what: one_cross(STOPPED, 42, what),
                "recipe": lambda what: one_cross(RECIPE, 43, what),
                "added": lambda condition: spread(list(records.added_km(condition, EARLY).values())),
                "base_km": lambda condition: spread(list(records.base_km(condition).values())),
            },
        ),
        prose,
    )


def main() -> None:
    write_text(PAGE, page(PROSE.read_text(encoding="utf-8")))
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
