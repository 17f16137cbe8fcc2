"""Questions about distances from arrays, and their rows as text."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from atlantis.data.draw import Pool, Where
from atlantis.data.streams import Streams
from atlantis.tasks import Questions
from atlantis.tasks.distance import DISTANCE

FORM = DISTANCE.form


def distances(first: ArrayLike, second: ArrayLike, km: ArrayLike) -> Questions:
    return Questions.of(DISTANCE, np.stack([first, second], axis=1), np.asarray(km))


def prompt(first: int, second: int) -> str:
    return f"<bos>dist(c_{first},c_{second})="


def completion(km: int) -> str:
    return f"{km}<eos>"


def text(first: int, second: int, km: int) -> str:
    return f"dist(c_{first},c_{second})={km}"


def drawn(world, where: str, n: int, rng: Streams, **settings) -> Questions:
    """n questions about distances in a world: "world", "inside" Atlantis or "touching" it."""
    return Pool(DISTANCE, world, Where(where), **settings).ask(n, rng)[0]  # type: ignore[arg-type]
