"""Interventions in bases that were trained apart from each other; writes bases.csv beside this file.

    python experiments/2026-11-28_mechanism/bases.py

The bases: the one that is shipped, and the four of the study of the collapse. Two minutes each on two free cores.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from atlantis import load_config
from atlantis.data.draw import Order
from atlantis.model.checkpoint import load_checkpoint
from atlantis.readout.interventions import intervention_table
from atlantis.tasks.distance import DISTANCE
from atlantis.training.base import find_base
from atlantis.world import World

HERE = Path(__file__).parent
COLLAPSE = HERE.parent / "2026-11-28_study_collapse" / "bases"


def main() -> None:
    shipped = find_base(load_config("demo"))
    assert shipped is not None
    folders = {"shipped": shipped.checkpoint} | {folder.name: folder for folder in sorted(COLLAPSE.iterdir())}
    world = World.build()
    tables = []
    for name, folder in folders.items():
        model, vocabulary = load_checkpoint(folder)
        order: Order = "smaller_first" if name.startswith("order") else "fair"
        table = intervention_table(model, vocabulary, world, DISTANCE, ["real"], 100, order=order)
        tables.append(table.assign(base=name))
        pd.concat(tables).to_csv(HERE / "bases.csv", index=False, float_format="%.6g")


if __name__ == "__main__":
    main()
