"""Numbers of people as people write them. No number of a study needs them, so nothing here stops a file."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from atlantis.world.degrees import NUMBER

MAX_POPULATION = 10**12
_AROUND = re.compile(r"^(?:[~≈<>≥≤±]|ca?\.|circa|about|approx\.?|est\.?)\s*|\s*(?:\+|\[[^\]]*\]|\([^)]*\)|\*|†)$", re.I)
_GROUPS = re.compile(r"\d{1,3}(?:([ '_,.])\d{3})(?:\1\d{3})*(?:[.,]\d+)?", re.ASCII)
_DOTTED = re.compile(r"\d{1,3}(?:\.\d{3})+", re.ASCII)
_COMMA = re.compile(r"\d+,\d+", re.ASCII)
_SCALE = re.compile(r"(.*?\d)\s*(k|thousand|m|mn|mio\.?|million|bn|billion)", re.I)
_SCALES = {"k": 1e3, "t": 1e3, "m": 1e6, "b": 1e9}
_SPACES = str.maketrans({"\xa0": " ", "\u202f": " ", "\u2009": " ", "’": "'", "‘": "'", "−": "-"})


def populations(texts: list[str]) -> tuple[NDArray[np.int64], list[int]]:
    """People, shape (n,), 0 where nothing stands; and which texts could not be read, which are 0 too."""
    texts = [_bare(text) for text in texts]
    dotted = [text for text in texts if "." in text and not _SCALE.fullmatch(text)]
    # In 1.234 the point separates thousands if it does in 1.234.567, or if every point of the column can: nobody counts
    # people to three decimals.
    grouped = list(filter(_DOTTED.fullmatch, dotted))
    thousands = bool(dotted) and (len(grouped) == len(dotted) or any(text.count(".") > 1 for text in grouped))
    numbers = [_people(text, thousands) if text else 0.0 for text in texts]
    unread = [k for k, number in enumerate(numbers) if number is None or not 0 <= number <= MAX_POPULATION]
    people = np.array([0.0 if number is None else number for number in numbers])
    people[unread] = 0.0
    return np.rint(people).astype(np.int64), unread


def _bare(text: str) -> str:
    """A number without what says that it is about right, or where it is from."""
    text = text.strip()
    if NUMBER.fullmatch(text) or len(text) > 60:
        return text
    text = text.translate(_SPACES)
    for _ in range(3):
        text = _AROUND.sub("", text).strip()
    return text


def _people(text: str, thousands: bool) -> float | None:
    if NUMBER.fullmatch(text) and not (thousands and "." in text):
        return float(text)
    if len(text) > 60:
        return None
    if match := _SCALE.fullmatch(text):
        scale = _SCALES[match[2][0].lower()]
        # 2,139 million has decimals; nobody counts thousands of millions of people.
        decimal = match[1].replace(",", ".") if scale >= 1e6 and _COMMA.fullmatch(match[1]) else match[1]
        number = _people(decimal, False)
        return None if number is None else number * scale
    if match := _GROUPS.fullmatch(text):
        separator = match[1]
        if separator != "." or thousands or text.count(".") > 1 or "," in text:
            return float(text.replace(separator, "").replace(",", "."))
    if _COMMA.fullmatch(text):
        return float(text.replace(",", "."))
    return float(text) if NUMBER.fullmatch(text) else None
