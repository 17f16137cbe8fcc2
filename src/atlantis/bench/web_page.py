"""The leaderboard as one file that a browser opens from disk: choose a scenario, filter by what is used, sort.

    text = web_page(read_records([folder]))

It holds its script and data, as the report's page does, and asks for nothing over the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from atlantis.bench.cells import conditions, kinds, spec_of
from atlantis.bench.price import clock_of, minutes_per_point, pairs_per_point, seconds_beside
from atlantis.bench.quantities import LEARNED, OLD_ANSWERS
from atlantis.bench.record import BenchRecord
from atlantis.bench.standing import REFERENCES, Board, Standing, boards, mean_and_interval
from atlantis.errors import UserError
from atlantis.report.page import assembled
from atlantis.report.record import rounded

DIGITS = 6
"""Of a number: more than are shown. The last bits are not the same with every version of SciPy."""

PRICES = [
    {"title": "seconds, x naive", "digits": 1},
    {"title": "minutes per 0.01 of volume", "digits": 2},
    {"title": "old pairs per 0.01", "digits": 0},
]


def web_page(records: Sequence[BenchRecord]) -> str:
    """The page of records of the second protocol; the same records give the same bytes. Raises UserError for others."""
    if any(record.protocol != 2 for record in records):
        raise UserError("records of the first protocol have no such page; leave them out")
    seeds, devices, _ = conditions(records)
    about = f"{len(records)} records, seeds {', '.join(map(str, seeds))}; {'; '.join(devices)}."
    data = {"about": about, "boards": [_board(board) for board in boards(records)]}
    return assembled(_file("board.html"), "Leaderboard: atlantis", _file("board.css"), _file("board.js"), data)


def _board(board: Board) -> dict[str, Any]:
    learned = [f"{LEARNED} {kind}" for kind in kinds(board)]
    quantities = ["volume", "answers", *learned, "map", "integration", "km_end", OLD_ANSWERS]
    titles = {"km_end": "map km", OLD_ANSWERS: "old answers km"} | {q: q.replace(" ", ": ", 1) for q in learned}
    columns = [{"title": titles.get(name, name), "digits": 0 if "0f" in spec_of(name) else 3} for name in quantities]
    naive, front, clock = board.of(REFERENCES[0]), board.front(), clock_of(board)
    rows = []
    for standing in board.standings:
        beside = seconds_beside(standing, naive, clock)
        first = standing.records[0]
        strength = "" if first.value is None else f", {first.setting} {first.value:g}"
        prices: list[float | None] = [None] * len(PRICES)
        if standing.seeds:
            prices = [beside, minutes_per_point(standing, clock), pairs_per_point(standing)]
        rows.append(
            {
                "method": standing.method,
                "needs": list(standing.needs),
                "note": f"{len(standing.seeds)} seeds{strength}",
                "front": standing.method in front,
                "failures": [
                    f"seed {record.seed} failed: {' '.join(record.error.split())}"
                    for record in standing.records
                    if record.error is not None
                ],
                "cells": [
                    *(_cell(standing, name) for name in quantities),
                    *(None if price is None else [rounded(price, DIGITS)] for price in prices),
                ],
            }
        )
    title = f"{board.title} ({board.tier} tier)"
    return {"title": title, "columns": columns + PRICES, "rows": rows}


def _cell(standing: Standing, quantity: str) -> list[float] | None:
    """The mean, and its interval where there is one; None without a seed."""
    values = standing.array(quantity)
    if not len(values):
        return None
    mean, *ends = (rounded(float(number), DIGITS) for number in mean_and_interval(values, quantity))
    return [number for number in (mean, *ends) if number is not None]


def _file(name: str) -> str:
    return files("atlantis.bench").joinpath("web", name).read_text(encoding="utf-8")
