"""How long a run is, its learning rate at each step, and the steps at which it is evaluated and saved."""

from __future__ import annotations

import math

from atlantis.settings import EvaluationConfig, TrainingConfig


def steps_per_epoch(n_rows: int, batch_size: int) -> int:
    """Steps that show every row once; the last batch of an epoch may be smaller."""
    return math.ceil(n_rows / batch_size)


def total_steps(training: TrainingConfig, n_rows: int) -> int:
    """Optimizer steps of the run: epochs, or `max_steps` where that is less."""
    steps = max(1, round(training.epochs * steps_per_epoch(n_rows, training.batch_size)))
    return steps if training.max_steps is None else min(steps, training.max_steps)


def learning_rate(training: TrainingConfig, step: int, total: int) -> float:
    """Learning rate of step `step` (counted from 0) of `total`: linear warm-up, then the schedule.

    As transformers' schedulers count: the first step of a warm-up has rate 0, and the decay reaches its end
    (`min_lr_ratio` of the peak) at step `total`.
    """
    if step < training.warmup_steps:
        return training.learning_rate * step / training.warmup_steps
    done = (step - training.warmup_steps) / max(1, total - training.warmup_steps)
    shape = {
        "linear": 1.0 - done,
        "cosine": 0.5 * (1.0 + math.cos(math.pi * done)),
        "constant": 1.0,
        "wsd": min(1.0, 2.0 - 2.0 * done),
    }[training.schedule]
    return training.learning_rate * (training.min_lr_ratio + (1.0 - training.min_lr_ratio) * shape)


def evaluation_steps(evaluation: EvaluationConfig, total: int) -> list[int]:
    """Steps after which the run is evaluated and saved, ascending; 0 (before any step) and `total` always."""
    steps = {0, total, *(s for s in evaluation.steps if s <= total)}
    return sorted(steps | {round(f * total) for f in evaluation.fractions})
