"""The line between a run's base and its fine-tuned weights, after the fact (WiSE-FT: Wortsman et al., 2022).

    theta(alpha) = (1 - alpha) * base + alpha * fine-tuned

Each alpha is scored on the run's evaluation items and probed like a checkpoint. 0 and 1 are its first and its last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch

from atlantis import artifacts
from atlantis.errors import UserError
from atlantis.model.checkpoint import load_checkpoint
from atlantis.names import ALL, REAL
from atlantis.progress import bar
from atlantis.readout.analysis import readings_of
from atlantis.readout.files import rows_where, write_tables
from atlantis.readout.generate import answers
from atlantis.readout.source import open_checkpoint
from atlantis.strategies.wise import interpolated
from atlantis.tasks import Task
from atlantis.tasks.score import by_slice, score
from atlantis.training.finished import open_finished

ALPHAS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def alphas_in(text: str) -> list[float]:
    """The numbers in `0,0.5,1`, ascending. Raises UserError for what is none, or lies outside 0 to 1."""
    try:
        alphas = sorted({float(part) for part in text.split(",")})
    except ValueError:
        alphas = []
    if not alphas or not all(0 <= alpha <= 1 for alpha in alphas):
        raise UserError(f"--alphas {text}: write numbers from 0 (the base) to 1 (fine-tuned), such as 0,0.25,0.5,1")
    return alphas


def interpolate(run: Path | str, alphas: Sequence[float] = ALPHAS) -> pd.DataFrame:
    """Score and probe a finished run at each alpha; writes `analysis/interpolation/` and returns its `curve`.

    `scores.csv` has a row per alpha, task and slice, `probe.csv` one per alpha, protocol, group and split.
    """
    run, alphas = Path(run), sorted({float(alpha) for alpha in alphas})
    if not alphas:
        raise UserError("alphas: give at least one number from 0 (the base) to 1 (fine-tuned)")
    opened = open_finished(run)
    config, world, items = opened.config, opened.world, opened.inputs.items
    source, (end, _) = open_checkpoint(opened.checkpoints[0], world), load_checkpoint(opened.final)
    model, layers = source.model, config.probe.layers
    assert model is not None
    start = {name: value.clone() for name, value in model.state_dict().items()}
    scores, probes = [], []
    with bar("interpolating", len(alphas)) as progress:
        for alpha in alphas:
            model.load_state_dict(interpolated(start, end.state_dict(), alpha))
            with torch.no_grad():
                of_answers = score(answers(model, source.vocabulary, items), items)
            scores += [
                {"alpha": alpha, "task": name, "slice": part, **values}
                for name in dict.fromkeys(entry.task for entry in of_answers)
                for part, values in by_slice(of_answers, name).items()
            ]
            features = source.features(world, layers)
            for protocol, reading in readings_of(features, world, config.probe).items():
                probes.append(reading.dynamics.assign(alpha=alpha, protocol=protocol))
            progress.advance(note=f"alpha {alpha:g}")
    digest = artifacts.digest_of({"alphas": list(alphas), "probe": config.probe.model_dump()})
    folder = run / "analysis" / "interpolation"
    with artifacts.new_folder(folder, kind="analysis", digest=digest, overwrite=True) as aside:
        probe = pd.concat(probes, ignore_index=True)
        first = ["alpha", "protocol", "group", "split"]
        probe = pd.DataFrame(probe, columns=[*first, *probe.columns.drop(first)])
        write_tables({"scores.csv": pd.DataFrame(scores), "probe.csv": probe}, aside)
    return curve(pd.DataFrame(scores), probe, items.tasks[0])


def curve(scores: pd.DataFrame, probe: pd.DataFrame, task: Task) -> pd.DataFrame:
    """One row per alpha: the mean error of answers in each slice, in the task's unit, and the old map's in km.

    The map is read by the sphere protocol. A column's title has its unit.
    """
    scores = rows_where(scores, scores["task"] == task.name)
    table = scores.pivot(index="alpha", columns="slice", values=f"mean_{task.unit}").drop(columns=ALL)
    real = probe[(probe["protocol"] == "sphere") & (probe["group"] == REAL)]
    map_km = {"map of real cities km": real.groupby("alpha")["mean_km"].first()}
    return table.add_suffix(f" {task.unit}").assign(**map_km).reset_index()
