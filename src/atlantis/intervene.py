"""`atlantis intervene`: at checkpoints of a finished run, whether the model computes its answers from its map."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from atlantis import artifacts
from atlantis.model.checkpoint import load_checkpoint
from atlantis.progress import bar
from atlantis.readout.files import rows_where, write_tables
from atlantis.readout.interventions import CHANGES, GROUPS, TOKENS, intervention_table
from atlantis.training.finished import open_finished

ITEMS = 100


def intervene(run: Path | str, steps: Sequence[int] | None = None, n_items: int = ITEMS) -> pd.DataFrame:
    """Intervene in checkpoints of a run; writes `analysis/interventions/` and returns its table.

    A row per step, group, seat, cut, tokens, change and metric, as `readout.interventions.intervention_table` has them.
    `steps`: which checkpoints (default: the first and the last). A world without virtual cities has the group "real"
    alone.

    Raises UserError for a run that is not finished or lacks one of the steps, and for too few cities.
    """
    run = Path(run)
    opened = open_finished(run)
    chosen = opened.chosen(steps or [0, max(opened.checkpoints)])
    seed, task = opened.config.evaluation.seed, opened.inputs.items.tasks[0]
    order = opened.config.dataset.order
    groups = list(GROUPS) if opened.world.n_virtual else ["real"]
    tables = []
    with bar("intervening", len(chosen)) as progress:
        for step in chosen:
            model, vocabulary = load_checkpoint(opened.checkpoints[step])
            table = intervention_table(model, vocabulary, opened.world, task, groups, n_items, seed, order=order)
            tables.append(table.assign(step=step))
            progress.advance(note=f"step {step}")
    columns = ["step", "group", "seat", "cut", "tokens", "change", "metric", "value", "low", "high", "n"]
    table = pd.DataFrame(pd.concat(tables, ignore_index=True), columns=columns)
    digest = artifacts.digest_of({"steps": chosen, "items": n_items})
    with artifacts.new_folder(
        run / "analysis" / "interventions", kind="analysis", digest=digest, overwrite=True
    ) as aside:
        write_tables({"interventions.csv": table}, aside)
    return table


def ways(table: pd.DataFrame, group: str = "real", seat: str = "first") -> pd.DataFrame:
    """How far answers go, by the model's own answers: a row per step, cut and tokens, a column per change."""
    chosen = rows_where(
        table, (table["metric"] == "own_slope") & (table["group"] == group) & (table["seat"] == seat)
    ).astype({"tokens": pd.CategoricalDtype(TOKENS, ordered=True)})
    wide = chosen.pivot(index=["step", "cut", "tokens"], columns="change", values="value")
    return wide[[change for change in CHANGES if change != "random_probe"]].reset_index()
