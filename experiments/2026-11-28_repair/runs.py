"""A1 of the benchmark's cpu tier with the methods that follow from what breaks, untuned: `atlantis sweep runs.py`."""

from collections.abc import Iterator
from pathlib import Path

from atlantis.bench.methods import METHODS
from atlantis.bench.plan import Attempt
from atlantis.bench.protocol import runs_of
from atlantis.bench.tiers import TIERS
from atlantis.settings import RunConfig

SEEDS = (42, 43, 44)
NAMES = ("naive", "lower_alone", "repair", "distill", "replay", "fixed_mean")


def runs() -> Iterator[RunConfig]:
    """Seed by seed, a run of each method; named as the benchmark names them, which then takes them for its own."""
    tier = TIERS["cpu"]
    setup = tier.setup(Path("outputs"))
    for seed in SEEDS:
        (case,) = tier.cases(setup, "A1", seed)
        for method in (METHODS[name] for name in NAMES):
            yield from runs_of(tier.name, Attempt(method, method.default, seed, case)).runs
