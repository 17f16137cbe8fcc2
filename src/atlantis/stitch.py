"""`atlantis stitch`: at each checkpoint of a finished run, where what the old answers need is still there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from atlantis import artifacts
from atlantis.errors import UserError
from atlantis.model.checkpoint import load_checkpoint
from atlantis.progress import bar
from atlantis.readout.stitching import KINDS, fit_rows, parts_table, stitch_table
from atlantis.tasks import Questions
from atlantis.training.finished import open_finished

ITEMS, ROWS = 128, 2_000


def stitch(
    run: Path, steps: Sequence[int] | None = None, n_items: int = ITEMS, n_rows: int = ROWS, controls: bool = True
) -> dict[str, pd.DataFrame]:
    """Stitch checkpoints of a run to its first one, both ways; writes `analysis/stitching/` and returns its tables.

    `stitched` has a row per step, lower model, cut, map and slice, `parts` one per part of the model that was put back
    or kept alone, at the last step. At the last step there is also the control of permuted maps. `steps`: which
    checkpoints (default: the last). Raises UserError for a run that is not finished, was not fine-tuned, or lacks a step.
    """
    opened = open_finished(run)
    if opened.config.base is None:
        raise UserError(f"{run}: was trained from scratch; stitching compares a fine-tuned model with its base")
    chosen = sorted(set(steps)) if steps else [max(opened.checkpoints)]
    if missing := [step for step in chosen if step not in opened.checkpoints]:
        there = ", ".join(map(str, opened.checkpoints))
        raise UserError(f"--steps {missing[0]}: {run} has no such checkpoint; there are {there}")
    base, vocabulary = load_checkpoint(opened.checkpoints[0])
    items = _first_of_each_slice(opened.inputs.items, n_items)
    rows = fit_rows(opened.world, vocabulary, items, n_rows, opened.config.evaluation.seed)
    stitched = []
    with bar("stitching", len(chosen) + 1) as progress:
        for step in chosen:
            tuned, _ = load_checkpoint(opened.checkpoints[step])
            kinds = (*KINDS, "permuted") if controls and step == chosen[-1] else KINDS
            stitched.append(stitch_table(base, tuned, vocabulary, items, rows, kinds).assign(step=step))
            progress.advance(note=f"step {step}")
        parts = parts_table(base, tuned, vocabulary, items).assign(step=chosen[-1])
        progress.advance(note="parts")
    tables = {"stitched": pd.concat(stitched, ignore_index=True), "parts": parts}
    digest = artifacts.digest_of({"steps": chosen, "items": n_items, "rows": n_rows, "controls": controls})
    with artifacts.new_folder(run / "analysis" / "stitching", kind="analysis", digest=digest, overwrite=True) as aside:
        for name, table in tables.items():
            first = [key for key in ("step", "lower", "cut", "between", "part", "mode") if key in table]
            table = tables[name] = table[[*first, *table.columns.drop(first)]]
            table.to_csv(aside / f"{name}.csv", index=False, float_format="%.6g")
    return tables


def _first_of_each_slice(items: Questions, n: int) -> Questions:
    """At most n items of each task and slice, the first ones."""
    groups = items.task.astype(int) * 256 + items.slice
    return items[np.sort(np.concatenate([np.flatnonzero(groups == group)[:n] for group in np.unique(groups)]))]


def old_answers(stitched: pd.DataFrame) -> pd.DataFrame:
    """Mean error on questions about real cities alone: a row per step, lower model and cut, a column per map."""
    real = stitched[stitched["slice"] == stitched["slice"].iloc[0]]
    table = real.pivot(index=["step", "lower", "cut"], columns="between", values="mean")
    return table[[name for name in (*KINDS, "permuted") if name in table]].reset_index()
