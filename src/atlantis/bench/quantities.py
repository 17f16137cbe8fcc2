"""What is said about a record in numbers, each under one name: how it is read, its scale, and its unit.

    value(record, "map kept")             # None: the record does not have it

Beside a record's scores (scores.py) stand readings that do not saturate and hide nothing:

    map kept            min(1, E_start / E_end), E the error of a probe fitted anew on real cities, held out from it
    answers kept        min(1, A_start / A_end), A the error of the answers to held-out pairs of real cities
    integration REGION  the same for one region as `integration`, which is their mean
    task SLICE          E, in km; "task SLICE of a constant" is E_constant
    former SLICE        in A6, in km: the error if the cities still were where they were before they moved
    learned SLICE       1 - E / E_constant on held-out new pairs of one kind: 0 as good as a constant, below 0: worse
    learned             their mean, cut nowhere
    volume with answers map kept x answers kept x learned (0 where it is below) x integration

Both ratios are above 0 and at most 1: twice the error is 0.5 and ten times is 0.1, however good the map was before.
They are cut at 1 because *kept* is the question: what became better is all kept. A base without a map has none to keep.
"""

from __future__ import annotations

from collections.abc import Callable

from atlantis.bench.chance import measured_answers_km, measured_chance_km
from atlantis.bench.continual import Continual, above_chance
from atlantis.bench.record import BenchRecord
from atlantis.bench.scores import DAMAGE, OLD_SLICE, REAL, FirstScores, Numbers, Scores, integration, learned
from atlantis.bench.tiers import SHIPPED_CITY, WARM_START
from atlantis.errors import UserError
from atlantis.scales import BELOW_ONE, IDENTITY, LOG, SHARE, Scale
from atlantis.statistics import hypervolume

SCORES = {1: tuple(FirstScores.model_fields), 2: tuple(Scores.model_fields)}
"""By protocol."""
_ALL_SCORES = tuple(dict.fromkeys([*SCORES[2], *SCORES[1]]))
MEASURES = tuple(Continual.model_fields)
KM = ("km_start", "km_end")
KEPT_MAP, KEPT_ANSWERS, LEARNED, WITH_ANSWERS = "map kept", "answers kept", "learned", "volume with answers"
MOVED = "turned or shifted"
"""Which records from before 2026-11-28 do not tell apart."""

OLD_ANSWERS = f"task {OLD_SLICE}"
"""What the model answers to pairs of real cities: the task that was learned first."""
OLD_ANSWERS_START = f"{OLD_ANSWERS} at the start"
OF_CONSTANT = " of a constant"
"""Behind `task SLICE`: the error of the best answer that does not look at the question."""
INTEGRATION, FORMER = "integration", "former"

POINT = {1: (KEPT_MAP, KEPT_ANSWERS, LEARNED, "integration"), 2: ("map", "answers", LEARNED, "integration")}
"""By protocol, what methods are compared by side by side: no other is as good in all and better in one."""

FRONT = ("answers", LEARNED)
"""The two that most users want: old answers kept, new ones learned."""


def value(record: BenchRecord, quantity: str) -> float | None:
    """A quantity of one record; None where it has none. Raises UserError for a name that there is not."""
    read = _reader(quantity)
    return None if record.numbers is None or record.scores is None else read(record, record.numbers, record.scores)


def is_km(quantity: str) -> bool:
    return quantity in KM or quantity.startswith(("task ", f"{FORMER} "))


def scale_of(quantity: str) -> Scale:
    """The scale on which a quantity has no bound, for intervals."""
    if quantity == LEARNED or quantity.startswith(f"{LEARNED} "):
        return BELOW_ONE
    of_a_region = quantity.startswith(f"{INTEGRATION} ")
    if of_a_region or quantity in (*_ALL_SCORES, "volume", KEPT_MAP, KEPT_ANSWERS, WITH_ANSWERS):
        return SHARE
    # Of the measures of a sequence, a unit is the real cities' chance, and an ocean's skill may be above 1.
    return LOG if is_km(quantity) else IDENTITY


def continual_of(record: BenchRecord) -> Continual | None:
    """The measures of a sequence, with each region's own chance as zero; None: it is no sequence, or chance is unknown.

    Records from before 2026-11-28 are put right by the chance that was measured afterwards.
    """
    if record.continual is None or record.numbers is None or record.sequence is not None:
        return record.continual
    measured = measured_chance_km(record.seed)
    if measured is None or record.tier != "cpu":
        return None
    oceans = [km for name, km in measured.items() if name != REAL]
    return above_chance(record.continual, [record.numbers.km_untrained, *oceans])


def rate_factor(record: BenchRecord) -> float:
    """The learning rate as a multiple of the scenario's, as the method has it or trials chose it."""
    scales_the_rate = record.setting in ("learning_rate", "factor")  # `early` and `new_rows` have a factor
    return record.value if scales_the_rate and record.value is not None else record.rate


# --- readings


Reader = Callable[[BenchRecord, Numbers, Scores | FirstScores], float | None]


def _answers_start(record: BenchRecord, numbers: Numbers) -> float | None:
    if numbers.answers_km_start is not None:
        return numbers.answers_km_start
    if record.tier != "cpu" or record.protocol != 1:
        return None
    return measured_answers_km(SHIPPED_CITY if record.scenario == "A7" else WARM_START)


def _kept(start: float | None, end: float | None) -> float | None:
    if start is None or end is None:
        return None
    return 1.0 if end <= start else start / end


def _map_kept(record: BenchRecord, numbers: Numbers, scores: Scores | FirstScores) -> float | None:
    return _kept(numbers.km_start, numbers.km_end) if numbers.skill_start > 0 else None


def _answers_kept(record: BenchRecord, numbers: Numbers, scores: Scores | FirstScores) -> float | None:
    return _kept(_answers_start(record, numbers), numbers.task_km.get(OLD_SLICE))


def _learned(record: BenchRecord, numbers: Numbers, scores: Scores | FirstScores) -> float | None:
    of_slices = learned(numbers)
    return sum(of_slices.values()) / len(of_slices) if of_slices else None


def _constant(name: str) -> Reader:
    """Of a slice. That of old answers is not in a record: it follows from the error at the start, and its skill."""

    def read(record: BenchRecord, numbers: Numbers, scores: Scores | FirstScores) -> float | None:
        if name != OLD_SLICE:
            return numbers.constant_km.get(name)
        start, skill = numbers.answers_km_start, numbers.answers_skill_start
        return start / (1 - skill) if start is not None and skill is not None and skill < 1 else None

    return read


def _volume(record: BenchRecord, numbers: Numbers, scores: Scores | FirstScores) -> float | None:
    point = [read(record, numbers, scores) for read in (_map_kept, _answers_kept, _learned)]
    names = [reading for reading in point if reading is not None]
    return hypervolume([[*names, scores.integration]]) if len(names) == len(point) else None


_READINGS: dict[str, Reader] = {
    KEPT_MAP: _map_kept,
    KEPT_ANSWERS: _answers_kept,
    OLD_ANSWERS_START: lambda record, numbers, scores: _answers_start(record, numbers),
    LEARNED: _learned,
    WITH_ANSWERS: _volume,
    "volume": lambda record, numbers, scores: scores.volume,
    "rate": lambda record, numbers, scores: rate_factor(record),
}


def _measure(name: str) -> Reader:
    def read(record: BenchRecord, numbers: Numbers, scores: Scores | FirstScores) -> float | None:
        measures = continual_of(record)
        return None if measures is None else getattr(measures, name)

    return read


def _reader(quantity: str) -> Reader:
    kind, _, argument = quantity.partition(" ")
    if quantity in _READINGS:
        return _READINGS[quantity]
    if quantity in _ALL_SCORES:
        return lambda record, numbers, scores: getattr(scores, quantity, None)
    if quantity in KM:
        return lambda record, numbers, scores: getattr(numbers, quantity)
    if quantity in (*DAMAGE, MOVED):
        return lambda record, numbers, scores: _damage(numbers.damage, quantity)
    if quantity in MEASURES:
        return _measure(quantity)
    if kind == INTEGRATION and argument:
        return lambda record, numbers, scores: _of_region(numbers.ratio, argument)
    if kind == "task" and argument.endswith(OF_CONSTANT):
        return _constant(argument.removesuffix(OF_CONSTANT))
    if kind == "task" and argument:
        return lambda record, numbers, scores: numbers.task_km.get(argument)
    if kind == FORMER and argument:
        return lambda record, numbers, scores: numbers.former_km.get(argument)
    if kind == LEARNED and argument:
        return lambda record, numbers, scores: learned(numbers).get(argument)
    names = ", ".join([*_READINGS, *_ALL_SCORES, *KM, *DAMAGE, MOVED, *MEASURES, "task SLICE"])
    names += f", task SLICE{OF_CONSTANT}, {LEARNED} SLICE, {FORMER} SLICE, {INTEGRATION} REGION"
    raise UserError(f"no quantity {quantity!r}; there are {names}")


def _of_region(ratios: dict[str, float], region: str) -> float | None:
    return integration(ratios[region]) if region in ratios else None


def _damage(parts: dict[str, float], quantity: str) -> float | None:
    """A part of the fall of the first step's probe. Where there is no `shifted` yet, `turned` holds both."""
    if quantity == MOVED:
        return parts["turned"] + parts.get("shifted", 0.0) if "turned" in parts else None
    return None if quantity == "turned" and "shifted" not in parts else parts.get(quantity)
