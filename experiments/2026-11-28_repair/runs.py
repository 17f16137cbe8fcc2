"""A1 of the benchmark's cpu tier with the methods that follow from what breaks, untuned: `atlantis sweep runs.py`."""

from collections.abc import Iterator
from pathlib import Path

from atlantis.bench.methods import METHODS
from atlantis.bench.plan import Attempt
from atlantis.bench.protocol import runs_of
from atlantis.bench.tiers import TIERS
from atlantis.settings import RunConfig

SEEDS = (42, 43, 44)
NAMES = ("naive", "lower_alone", "repair", "distill", "replay")
SLOW = ("fixed_mean",)
"""Twice the time of the others: last."""


def runs() -> Iterator[RunConfig]:
    """Seed by seed, a run of each method; named as the benchmark names them, which then takes them for its own."""
    for attempt in attempts():
        yield from runs_of("cpu", attempt).runs


def attempts() -> Iterator[Attempt]:
    """Each method at its middle strength, in A1."""
    tier = TIERS["cpu"]
    setup = tier.setup(Path("outputs"))
    for names in (NAMES, SLOW):
        for seed in SEEDS:
            (case,) = tier.cases(setup, "A1", seed)
            for method in (METHODS[name] for name in names):
                yield Attempt(method, method.default, seed, case)
