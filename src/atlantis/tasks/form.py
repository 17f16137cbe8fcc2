"""The one template of a task's rows: `dist({city},{city})={int:5}`.

Parts in braces vary from row to row, all else is constant:

    {city}          one city, written c_<id>
    {cities:a-b}    a to b cities, with commas between them
    {city:04}       one city, its id filled up with zeros to at least four digits; and so {cities:a-b:04}
    {int} {int:d}   the answer: a whole number of at most d digits (7 unless given)
    {word:x|y|z}    the answer: one of these words; in arrays it is the word's place in this list

The text of a row comes from here; its tokens, too, through `atlantis.data.encoding`. A row with fewer cities than the
form has seats holds -1 (`ABSENT`) in the seats that are left over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

Ints = NDArray[np.signedinteger]

ABSENT = -1
MOST_DIGITS = 9
"""Answers are kept as int32."""

_PART = re.compile(r"\{([^{}]*)\}")
_CITIES = re.compile(r"(?:city|cities:([0-9]{1,3})-([0-9]{1,3}))(?::0([1-9]))?")
_ANSWER = re.compile(r"int(?::([0-9]))?|word:(.+)")


@dataclass(frozen=True)
class Slot:
    """`low` to `high` cities that follow the constant `before`, their ids written with at least `id_digits` digits."""

    before: str
    low: int
    high: int
    id_digits: int = 1


@dataclass(frozen=True)
class Form:
    """A template, taken apart. Raises ValueError, naming the part, for one that cannot be written or read back."""

    template: str

    def __post_init__(self) -> None:
        self._taken_apart  # noqa: B018  # the refusals

    @cached_property
    def _taken_apart(self) -> tuple[tuple[Slot, ...], str, int, tuple[str, ...]]:
        pieces = _PART.split(self.template)  # constant, part, constant, ..., constant
        *parts, answer = pieces[1::2] or [""]
        constants = pieces[0::2]
        read = _ANSWER.fullmatch(answer)
        if read is None or constants[-1]:
            raise ValueError(f"form {self.template!r}: must end with the answer, {{int}} or {{word:x|y}}")
        slots = []
        for part, before in zip(parts, constants, strict=False):
            match = _CITIES.fullmatch(part)
            low, high = (int(match[1] or 1), int(match[2] or 1)) if match else (0, 0)
            if match is None or not 1 <= low <= high:
                raise ValueError(
                    f"form {self.template!r}: {{{part}}} is not {{city}}, {{cities:a-b}} or one with zeros, {{city:04}}"
                )
            slots.append(Slot(before, low, high, int(match[3] or 1)))
        if not slots or sum(slot.low < slot.high for slot in slots) > 1:
            raise ValueError(f"form {self.template!r}: needs a city, and at most one {{cities:a-b}} with b above a")
        if len({slot.id_digits for slot in slots}) > 1:
            raise ValueError(f"form {self.template!r}: a city's id must be written with as many digits everywhere")
        if any(not text or text[0].isdigit() for text in constants[:-1]):
            raise ValueError(
                f"form {self.template!r}: every part needs text before it that does not begin with a digit"
            )
        words = tuple(read[2].split("|")) if read[2] else ()
        if words and (len(set(words)) < len(words) or not all(words)):
            raise ValueError(f"form {self.template!r}: its words must be different and not empty")
        digits = 0 if words else int(read[1] or 7)
        if not words and digits == 0:
            raise ValueError(f"form {self.template!r}: an {{int:d}} has 1 to {MOST_DIGITS} digits")
        return tuple(slots), constants[-2], digits, words

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The cities, in the order of the text."""
        return self._taken_apart[0]

    @property
    def close(self) -> str:
        """The constant between the last city and the answer."""
        return self._taken_apart[1]

    @property
    def digits(self) -> int:
        """The most digits of the answer; 0 where it is a word."""
        return self._taken_apart[2]

    @property
    def words(self) -> tuple[str, ...]:
        return self._taken_apart[3]

    @property
    def id_digits(self) -> int:
        """The fewest digits that a city's id is written with: zeros come first where it has fewer."""
        return self.slots[0].id_digits

    @property
    def n_answers(self) -> int:
        """Answers are 0 to n_answers - 1."""
        return len(self.words) or 10**self.digits

    @property
    def least_cities(self) -> int:
        return sum(slot.low for slot in self.slots)

    @property
    def seats(self) -> int:
        """The most cities of a row: k of every array (n, k)."""
        return sum(slot.high for slot in self.slots)

    @cached_property
    def before_seat(self) -> tuple[str, ...]:
        """The constant text before each seat, without the `c_` of the city."""
        return tuple(text for slot in self.slots for text in (slot.before, *[","] * (slot.high - 1)))

    @property
    def symbols(self) -> set[str]:
        """All characters that its rows are written with."""
        return set("".join((*self.before_seat, self.close, *self.words))) | set("c_0123456789")

    @property
    def answer_length(self) -> int:
        """The most tokens of an answer, `<eos>` included."""
        return max(map(len, self.words), default=self.digits) + 1

    def seated(self, n_cities: int) -> Ints:
        """The seats (n_cities,) that a row with so many cities takes: the slot that varies leaves its last ones."""
        missing, seats, start = self.seats - n_cities, [], 0
        for slot in self.slots:
            here = slot.high - (missing if slot.low < slot.high else 0)
            seats += range(start, start + here)
            start += slot.high
        return np.array(seats)

    def by_count(self, cities: Ints) -> Iterator[tuple[NDArray[np.intp], Ints]]:
        """The rows of cities (n, k) that have equally many, and the seats that these take."""
        counts = (cities != ABSENT).sum(axis=1)
        for count in np.unique(counts):
            yield np.flatnonzero(counts == count), self.seated(int(count))

    def text_columns(self, cities: Ints, answer: Ints) -> dict[str, pa.Array]:
        """Arrow columns `prompt`, `completion` (both with markers) and `text` of n rows, from cities (n, k) and answers
        (n,)."""
        import pyarrow as pa  # takes its time, and only a dataset's files need it
        import pyarrow.compute as pc

        pieces: list[pa.Array | str] = []
        for seat, before in enumerate(self.before_seat):
            ids = cities[:, seat]
            written = pc.cast(pa.array(np.ascontiguousarray(ids)), pa.string())
            if self.id_digits > 1:
                written = pc.utf8_lpad(written, self.id_digits, "0")  # type: ignore[attr-defined]
            piece = [f"{before}c_", written]
            if (ids == ABSENT).any():
                pieces.append(pc.if_else(pa.array(ids == ABSENT), "", _join(*piece)))  # type: ignore[attr-defined]
            else:
                pieces += piece
        question = _join(*pieces, self.close)
        values = pa.array(np.asarray(answer))
        written = pa.array(self.words).take(values) if self.words else pc.cast(values, pa.string())
        return {
            "prompt": _join("<bos>", question),
            "completion": _join(written, "<eos>"),
            "text": _join(question, written),
        }


def _join(*parts: pa.Array | str) -> pa.Array:
    import pyarrow.compute as pc

    return pc.binary_join_element_wise(*parts, "")  # type: ignore[attr-defined]  # pyarrow makes it when imported
