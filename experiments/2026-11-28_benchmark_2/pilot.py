"""How long must the benchmark's runs be, at which rate, and with how many pairs within the new region?

Plain fine-tuning in the development ocean, which no scored run has: `atlantis sweep pilot.py`.
"""

from collections.abc import Iterator
from itertools import product

from atlantis import load_config
from atlantis.config import checked
from atlantis.settings import RunConfig

RATES = (4e-4, 8e-4)
SCHEDULES = ((128, 300), (64, 600), (128, 600))
"""Batch and steps; the first two have as many samples."""
PAIRS = ((20_000, 0.2), (10_000, 0.4))
"""How many pairs there are, and the share of them within the region. There are 4,950 such pairs in all."""
LONGER = (
    (4e-4, 512, 300, 100), (2e-4, 512, 300, 100), (4e-4, 128, 600, 40), (4e-4, 128, 1_200, 100),
    (4e-4, 128, 1_800, 100), (6e-4, 128, 1_200, 100),
)  # fmt: skip
"""Asked after the first answers: rate, batch, steps, and cities in the region."""

TRITONIA = {"name": "Tritonia", "code": "XX9", "lon": -15.0, "lat": -32.0, "seed": 1_000}


def runs() -> Iterator[RunConfig]:
    """A run for every rate, schedule and share; then the longer ones."""
    for rate, (batch, steps), (n_train, share) in product(RATES, SCHEDULES, PAIRS):
        yield run(f"pilot_rate{rate:g}_{batch}x{steps}_within{share:g}", rate, batch, steps, n_train, share)
    for rate, batch, steps, count in LONGER:
        yield run(f"pilot_rate{rate:g}_{batch}x{steps}_cities{count}", rate, batch, steps, *PAIRS[0], count=count)


def run(name: str, rate: float, batch: int, steps: int, n_train: int, share: float, count: int = 100) -> RunConfig:
    """Plain fine-tuning on pairs with at least one of `count` cities in Tritonia."""
    data = load_config("atlantis_cross_finetune").model_dump(mode="json") | {"name": name, "base_config": None}
    data["world"]["regions"] = [{**TRITONIA, "count": count}]
    data["dataset"] |= {"n_train": n_train, "inter_ratio": share, "seed": 1_000}
    length = {"batch_size": batch, "learning_rate": rate, "max_steps": steps, "epochs": 1_000_000, "seed": 1_000}
    data["training"] |= {**length, "precision": "bf16"}
    data["evaluation"] |= {"steps": [0], "fractions": [1.0]}
    return checked(RunConfig, data, name)
