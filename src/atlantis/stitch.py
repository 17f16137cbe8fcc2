"""`atlantis stitch`: at each checkpoint of a finished run, where what the old answers need is still there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from atlantis import artifacts
from atlantis.errors import UserError
from atlantis.model.checkpoint import load_checkpoint
from atlantis.names import SLICES
from atlantis.progress import bar
from atlantis.readout.compared import like
from atlantis.readout.files import rows_where, write_tables
from atlantis.readout.initial import initial_std
from atlantis.readout.stitching import KINDS, fit_rows, parts_table, stitch_table
from atlantis.tasks import Questions
from atlantis.training.finished import open_finished

ITEMS, ROWS = 128, 2_000
NEW_ROWS = 512
"""Training rows that the gradient is of."""


def stitch(
    run: Path | str, steps: Sequence[int] | None = None, n_items: int = ITEMS, n_rows: int = ROWS, controls: bool = True
) -> dict[str, pd.DataFrame]:
    """Stitch checkpoints of a run to its first one, both ways; writes `analysis/stitching/` and returns its tables.

    `stitched` has a row per step, lower model, cut, map and slice, `parts` one per part of the model that was put back
    or kept alone, at the last of `steps`. Of that step there are two controls as well: permuted maps, and an untrained
    model below. Its random weights are of `evaluation.seed` (of a base trained with that seed, its own first ones).
    `steps`: which checkpoints (default: the last).

    Raises UserError for a run that is not finished, was not fine-tuned, or lacks one of the steps.
    """
    run = Path(run)
    opened = open_finished(run)
    if opened.config.base is None:
        raise UserError(f"{run}: was trained from scratch; stitching compares a fine-tuned model with its base")
    chosen = opened.chosen(steps or [max(opened.checkpoints)])
    base, vocabulary = load_checkpoint(opened.checkpoints[0])
    items = _first_of_each_slice(opened.inputs.items, n_items)
    seed, order = opened.config.evaluation.seed, opened.config.dataset.order
    rows = fit_rows(opened.world, vocabulary, items, n_rows, seed, order)
    stitched = []
    with bar("stitching", len(chosen) + 1) as progress:
        for step in chosen:
            tuned, _ = load_checkpoint(opened.checkpoints[step])
            control = controls and step == chosen[-1]
            kinds = (*KINDS, "permuted") if control else KINDS
            new = like(base, initial_std(run), seed) if control else None
            table = stitch_table(base, tuned, vocabulary, items, rows, kinds, untrained=new)
            stitched.append(table.assign(step=step))
            progress.advance(note=f"step {step}")
        last, _ = load_checkpoint(opened.checkpoints[chosen[-1]])
        rows_new = opened.inputs.rows
        new = rows_new.batch(torch.arange(min(NEW_ROWS, len(rows_new)), device=rows_new.tokens.device))
        parts = parts_table(base, last, vocabulary, items, new).assign(step=chosen[-1])
        progress.advance(note="parts")
    tables = {
        "stitched": _with_first(pd.concat(stitched, ignore_index=True), ["step", "lower", "cut", "between"]),
        "parts": _with_first(parts, ["step", "part", "mode"]),
    }
    digest = artifacts.digest_of({"steps": chosen, "items": n_items, "rows": n_rows, "controls": controls})
    folder = run / "analysis" / "stitching"
    with artifacts.new_folder(folder, kind="analysis", digest=digest, overwrite=True) as aside:
        write_tables({f"{name}.csv": table for name, table in tables.items()}, aside)
    return tables


def _with_first(table: pd.DataFrame, first: list[str]) -> pd.DataFrame:
    """The table with these columns in front."""
    return pd.DataFrame(table, columns=[*first, *table.columns.drop(first)])


def _first_of_each_slice(items: Questions, n: int) -> Questions:
    """At most n items of each task and slice, the first ones."""
    groups = items.task.astype(int) * 256 + items.slice
    return items[np.sort(np.concatenate([np.flatnonzero(groups == group)[:n] for group in np.unique(groups)]))]


def old_answers(stitched: pd.DataFrame) -> pd.DataFrame:
    """Mean error on questions about real cities alone: a row per step, lower model and cut, a column per map."""
    real = _about_real_cities(stitched)
    table = real.pivot(index=["step", "lower", "cut"], columns="between", values="mean")
    return table[[name for name in (*KINDS, "permuted") if name in table]].reset_index()


def old_parts(parts: pd.DataFrame) -> pd.DataFrame:
    """The same for the parts: a row per part, with its change and its share of the gradient, and a column per mode."""
    real = _about_real_cities(parts)
    table = real.pivot(index="part", columns="mode", values="mean").loc[real["part"].unique()]
    sizes = real.groupby("part")[["change", "gradient"]].first()
    return table.join(sizes).reset_index()


def _about_real_cities(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the first task's slice without virtual cities."""
    return rows_where(table, (table["slice"] == SLICES[0]) & (table["task"] == table["task"].iloc[0]))
