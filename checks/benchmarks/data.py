"""A million pairs as numbers, text and tokens: ours against a plain Python loop; and a world of a million cities.

The plain way draws pairs with `random.sample` into a set, computes and formats row by row, and calls the tokenizer for
each row. Tokenising is timed on a share of the rows and scaled. Both begin with the world in memory, but for the large
world, which ours reads from a CSV file in every round; it has no peer.
"""

from __future__ import annotations

import math
import random
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from atlantis import Dataset, DatasetConfig, World
from atlantis.data.rows import Rows
from atlantis.sphere import EARTH_RADIUS_KM, lon_lat
from atlantis.tasks.distance import DISTANCE
from atlantis.vocabulary import Vocabulary
from checks.benchmarks.common import BASE, Lap, Options, race, ratio, summary

TOKENISED_SHARE = 1 / 20
LIMITS = {"seconds": 15, "peak_mb": 2000}
"""What the large world may take."""


def build(world: World, n: int) -> int:
    """`n` training pairs, their text columns and their tokens; returns how many rows have tokens."""
    pairs = Dataset.build(world, DatasetConfig(n_train=n, n_val=0, n_test=0)).splits["train"]
    columns = DISTANCE.form.text_columns(pairs.cities, pairs.answer)
    assert len(columns["text"]) == n
    return len(Rows(pairs, Vocabulary("characters", len(world))))


def ours(lap: Lap, n: int) -> None:
    """A rival: all `n` rows a round."""
    world = World.build(regions=())
    lap()
    while True:
        lap(build(world, n))


def large(lap: Lap, n: int, cities: Path) -> None:
    """A rival: a world of the user's cities, and `n` rows of it, a round."""
    lap()
    while True:
        lap(build(World.build(cities, regions=()), n))


def plain_rows(lap: Lap, n: int) -> None:
    """A rival: `n` rows of text a round, without tokens."""
    world = World.build(regions=())
    places = list(zip(world.lon.tolist(), world.lat.tolist(), strict=True))
    lap()
    while True:
        rng, pairs = random.Random(42), set()
        while len(pairs) < n:
            pairs.add(tuple(sorted(rng.sample(range(len(places)), 2))))
        rows = [row(a, b, plain_km(*places[a], *places[b])) for a, b in pairs]
        lap(len(rows))


def row(first: int, second: int, km: int) -> dict[str, str | int]:
    text = f"dist(c_{first},c_{second})={km}"
    prompt, completion = f"<bos>dist(c_{first},c_{second})=", f"{km}<eos>"
    return {"prompt": prompt, "completion": completion, "text": text, "first": first, "second": second, "km": km}


def plain_km(lon1: float, lat1: float, lon2: float, lat2: float) -> int:
    """Haversine of one pair."""
    a, b = math.radians(lat1), math.radians(lat2)
    h = math.sin((b - a) / 2) ** 2 + math.cos(a) * math.cos(b) * math.sin(math.radians(lon2 - lon1) / 2) ** 2
    return round(2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, h))))


def plain_tokens(lap: Lap, n: int) -> None:
    """A rival: `n` rows through transformers' tokenizer, one call each, a round."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(BASE)
    world = World.build(regions=())
    pairs = Dataset.build(world, DatasetConfig(n_train=n, n_val=0, n_test=0)).splits["train"]
    texts = [f"<bos>dist(c_{a},c_{b})={km}<eos>" for (a, b), km in zip(pairs.cities, pairs.answer, strict=True)]
    lap()
    while True:
        lap(len([tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]))


def write_cities(file: Path, n: int) -> None:
    """A user's CSV of `n` cities, uniform over the globe."""
    lon, lat = lon_lat(np.random.default_rng(0).normal(size=(n, 3)))
    table = {"name": [f"City {i}" for i in range(n)], "lat": lat.round(5), "lon": lon.round(5), "population": 100_000}
    pd.DataFrame(table).to_csv(file, index=False)


def run(options: Options) -> dict[str, Any]:
    """Seconds and peak memory."""
    n = 500 if options.quick else 1_000_000
    n_tokenised = round(n * TOKENISED_SHARE)
    with tempfile.TemporaryDirectory() as folder:
        cities = Path(folder) / "cities.csv"
        write_cities(cities, n)
        works = {
            "ours": partial(ours, n=n),
            "large": partial(large, n=n, cities=cities),
            "plain_rows": partial(plain_rows, n=n),
            "plain_tokens": partial(plain_tokens, n=n_tokenised),
        }
        rivals = race(works, options)
    scaled = [seconds * n / n_tokenised for seconds in rivals["plain_tokens"].seconds]
    plain = [rows + tokens for rows, tokens in zip(rivals["plain_rows"].seconds, scaled, strict=True)]
    seconds = {name: rivals[name].seconds for name in ("ours", "large", "plain_rows")}
    seconds |= {"plain_tokens": scaled, "plain": plain}
    peaks = {name: rivals[name].peak_mb for name in ("ours", "large", "plain_rows")}
    return {
        "settings": {"rows": n, "tokenised_by_the_plain_way": n_tokenised, "large_cities": n, "large_limits": LIMITS},
        "seconds": {name: summary(values) for name, values in seconds.items()},
        "peak_mb": {name: round(peak) for name, peak in peaks.items()},
        "against_plain": ratio(plain, rivals["ours"].seconds),
    }
