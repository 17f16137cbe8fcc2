"""What the benchmark's pages have in their tables: a number with its interval, a rate, shares."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from atlantis.bench.quantities import (
    FORMER,
    LEARNED,
    OLD_ANSWERS,
    OLD_ANSWERS_START,
    POINT,
    WITH_ANSWERS,
    is_km,
    rate_factor,
)
from atlantis.bench.record import BenchRecord, Trial
from atlantis.bench.standing import REFERENCES, Board, Comparison, Standing, mean_and_interval
from atlantis.names import SLICES
from atlantis.report.tables import ABSENT


def conditions(records: Sequence[BenchRecord]) -> tuple[list[int], list[str], list[str]]:
    """The seeds, the devices with their precision, and the versions of PyTorch that records were made with."""
    seeds = sorted({record.seed for record in records})
    devices = sorted({f"{record.device['name']}, {record.device['precision']}" for record in records if record.device})
    return seeds, devices, sorted({record.versions["torch"] for record in records if record.versions})


def with_interval(numbers: tuple[float, float, float], spec: str = ".3f") -> str:
    """A mean and, in parentheses, its interval; without where the interval is NaN."""
    mean, low, high = numbers
    return f"{mean:{spec}}" if math.isnan(low) else f"{mean:{spec}} ({low:{spec}} to {high:{spec}})"


def shown(standing: Standing, quantity: str) -> str:
    """A quantity's mean over the seeds that have it, and its interval."""
    values = standing.array(quantity)
    return with_interval(mean_and_interval(values, quantity), spec_of(quantity)) if len(values) else ABSENT


def spec_of(quantity: str) -> str:
    """How a quantity is written: km as whole numbers, all else with three digits, and four for the least volume."""
    return ",.0f" if is_km(quantity) else ".4f" if quantity == WITH_ANSWERS else ".3f"


def difference(comparison: Comparison, spec: str = ".3f") -> str:
    """A paired difference and its interval."""
    low, high = comparison.interval.low, comparison.interval.high
    return with_interval((comparison.difference, low, high), f"+{spec}")


def multiple(ratio: float | None) -> str:
    """How many times as long: to a tenth, since times of runs that were not made side by side say no more."""
    return ABSENT if ratio is None else f"{ratio:.1f}"


def kinds(board: Board) -> list[str]:
    """The kinds of new pairs that the board's runs were trained on."""
    numbers = [
        record.numbers for standing in board.standings for record in standing.records if record.numbers is not None
    ]
    return [name for name in SLICES if any(name in n.constant_km for n in numbers)]


def readings_of(board: Board) -> list[str]:
    """The quantities of a table of what is kept and learned, by the board's protocol."""
    kept_map, kept_answers = POINT[board.protocol][:2]
    learned = [f"{LEARNED} {kind}" for kind in kinds(board)]
    records = [record for standing in board.standings for record in standing.records]
    former = dict.fromkeys(name for record in records if record.numbers for name in record.numbers.former_km)
    of_moved = [quantity for name in former for quantity in (f"task {name}", f"{FORMER} {name}")]
    volume = WITH_ANSWERS if board.protocol == 1 else "volume"
    return [kept_map, kept_answers, *learned, "integration", volume, *of_moved]


def volume_less_references(board: Board) -> tuple[list[str], Callable[[Standing], list[str]]]:
    """Two columns for each of `REFERENCES` that has scores: their names, and what gives a method's cells."""
    against = {name: comparison for name in REFERENCES if (comparison := board.compared_with(name))}

    def cells(standing: Standing) -> list[str]:
        of_method = [comparison.get(standing.method) for comparison in against.values()]
        both = ([ABSENT] * 2 if c is None else [difference(c), f"{c.improvement:.2f}"] for c in of_method)
        return [cell for pair in both for cell in pair]

    return [column for name in against for column in (f"less {name}, paired", f"P(better than {name})")], cells


def strength(standing: Standing) -> str:
    """The value that trials chose for a method's setting, or the values, and the rate where it is another."""
    values = [f"{value:g}" for value in dict.fromkeys(r.value for r in standing.records) if value is not None]
    rates = [f"rate x {rate:g}" for rate in dict.fromkeys(r.rate for r in standing.records) if rate != 1]
    return ", ".join([*values, *rates]) or ABSENT


def tried(standing: Standing) -> str:
    """Each value that was tried for a method's setting, its mean volume on the development ocean, and each seed's."""
    return ", ".join(f"{trial.value:g}: {_volumes(trial)}" for trial in standing.records[0].trials)


def _volumes(trial: Trial) -> str:
    """The mean volume of a trial and, in brackets, that of each seed where there are several."""
    if trial.volume is None:
        return "failed"
    of_seeds = ", ".join("failed" if volume is None else f"{volume:.3f}" for volume in trial.volumes)
    return f"{trial.volume:.3f} [{of_seeds}]" if len(trial.volumes) > 1 else f"{trial.volume:.3f}"


def rate(standing: Standing) -> str:
    """The learning rate, as a multiple of the scenario's."""
    return " ".join(dict.fromkeys(f"x {rate_factor(record):g}" for record in standing.records))


def percent(shares: dict[str, float]) -> str:
    """Shares in words, the largest first."""
    ordered = sorted(shares.items(), key=lambda item: -item[1])
    return ", ".join(
        f"{name} {100 * share:.3g} %" if share >= 0.001 else f"{name} below 0.1 %" for name, share in ordered
    )


def what_orders(board: Board) -> str:
    """What the volume's order comes from, as a sentence, and which methods have no part in it; "" for no order."""
    if not (shares := board.variance_shares()):
        return ""
    without = board.without_shares()
    left_out = (
        f" Without {', '.join(without)}: a score of 0, which has no logarithm, or all old pairs." if without else ""
    )
    return (
        f"What orders the volume, as shares of the variance of log scores between methods: {percent(shares)}.{left_out}"
    )


def what_differs_by_seed(board: Board) -> str:
    """What the volume of each method differs by from seed to seed, as a sentence; "" where no method has shares."""
    largest = {s.method: largest_share(board, s.method) for s in board.standings}
    lines = [f"{method} {share}" for method, share in largest.items() if share]
    if not lines:
        return ""
    return f"What a method's volume differs by from seed to seed, the largest share of the same: {'; '.join(lines)}."


def largest_share(board: Board, method: str) -> str:
    """The score that a method's volume differs by most from seed to seed, and its share; "" where there are none."""
    shares = board.seed_shares(method)
    return percent(dict([max(shares.items(), key=lambda item: item[1])])) if shares else ""


def km_before_and_after(standing: Standing) -> str:
    """The map's error at the start and at the end."""
    if not standing.seeds:
        return ABSENT
    start, end = (standing.array(key).mean() for key in ("km_start", "km_end"))
    return f"{start:,.0f} → {end:,.0f}"


def answers_before_and_after(standing: Standing) -> str:
    """The error of the old answers at the start, where it is known, and at the end with its interval."""
    start = standing.array(OLD_ANSWERS_START)
    return f"{start.mean():,.0f} → {shown(standing, OLD_ANSWERS)}" if len(start) else shown(standing, OLD_ANSWERS)
