"""`python pilot_table.py OUTPUTS`: the pilot's finished runs as pilot.csv, a row each."""

import sys
from pathlib import Path

import pandas as pd

from atlantis.config import load as load_config
from atlantis.report.run_data import load
from atlantis.sweep.results import MAP

REGION = "Tritonia"


def by_key(table: pd.DataFrame, column: str) -> dict[tuple[int, str, str], float]:
    """The values of a table by step, slice or group, and metric."""
    keys = zip(table["step"], table[column], table["metric"], strict=True)
    return dict(zip(keys, table["value"].astype(float), strict=True))


def row(run: Path) -> dict[str, object]:
    """What was set, and errors in km and skills at the end; `start` where the base's stand beside them."""
    data, config = load(run), load_config(run / "config.yaml")
    scores = by_key(data.scores, "slice")
    table = by_key(pd.read_parquet(run / MAP), "group")
    last, training = max(step for step, _, _ in scores), config.training
    return {
        "rate": training.learning_rate,
        "batch": training.batch_size,
        "steps": training.max_steps,
        "cities": config.world.regions[0].count,
        "pairs": config.dataset.n_train,
        "share within": config.dataset.inter_ratio,
        "new-old km": round(scores[last, "world-atlantis", "mean"]),
        "new-old skill": round(scores[last, "world-atlantis", "skill"], 3),
        "within km": round(scores[last, "atlantis-atlantis", "mean"]),
        "within skill": round(scores[last, "atlantis-atlantis", "skill"], 3),
        "old km start": round(scores[0, "world-world", "mean"]),
        "old km": round(scores[last, "world-world", "mean"]),
        "map km start": round(table[0, "real", "km_refit"]),
        "map km": round(table[last, "real", "km_refit"]),
        "integration ratio": round(table[last, REGION, "integration_ratio"], 2),
    }


if __name__ == "__main__":
    runs = sorted(Path(sys.argv[1]).glob("experiments/pilot_*"))
    rows = pd.DataFrame([row(run) for run in runs if (run / MAP).is_file()])
    rows = rows.sort_values(["steps", "batch", "rate", "share within", "cities"], ignore_index=True)
    rows.to_csv(Path(__file__).with_name("pilot.csv"), index=False)
    print(rows.to_string())
