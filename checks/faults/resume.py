"""Resume at every step, signals once and twice, and losses that are no number."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from atlantis import cli
from atlantis.errors import INTERRUPTED, TERMINATED
from checks.faults.common import (
    RUN,
    TRAIN,
    Options,
    Outcome,
    Tally,
    copy,
    counted,
    fork,
    not_clean,
    not_recovered,
    run,
    whole_artifacts,
)

STEPS = 15
TRACE = "trace.jsonl"


def suite(lab: Path, options: Options) -> dict[str, Any]:
    start = copy(lab / "done", "begun")  # its world and dataset are made
    _remove_run(start)
    steps = (7,) if options.quick else range(STEPS)
    whole = copy(start, "traced")
    assert _train(whole, lambda step: None).code == 0
    reference, order = counted(lab / "done"), _trace(whole)
    results: dict[str, Any] = {}
    for name, signum in (("stopped", signal.SIGTERM), ("killed", signal.SIGKILL)):
        tally = Tally()
        for step in steps:
            trial = copy(start, "trial")
            first = _train(trial, lambda n, at=step, s=signum: os.kill(os.getpid(), s) if n == at else None)
            assert first.code in (143, -9), first
            outcome = _train(trial, lambda n: None)
            seen = _trace(trial)
            (trial / TRACE).unlink()
            reasons = not_recovered(outcome, trial, reference)
            if signum == signal.SIGTERM and seen != order:
                reasons.append("other batches or learning rates, or a step that was done twice")
            if set(seen) != set(order):
                reasons.append("other batches or learning rates")
            tally.add([f"step {step}: {reason}" for reason in reasons])
        results[name] = tally.as_dict()
    results["signals"] = _signals(start, reference, options)
    results["not finite"] = _not_finite(start, reference, options.quick)
    return results


def _remove_run(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder / RUN)


def _train(folder: Path, before_step: Callable[[int], None], loss: Callable[[int, Any], Any] | None = None) -> Outcome:
    """Train in a child that notes each step's rows and rate, and calls `before_step` with the step's number."""

    def work() -> int:
        from atlantis.data.rows import Rows
        from atlantis.training import loop
        from atlantis.training.step import Engine

        rate_of, step_of, loss_of, batch_of = loop.learning_rate, Engine.step, Engine.loss, Rows.batch
        now: dict[str, Any] = {}

        def learning_rate(settings: Any, step: int, total: int) -> float:
            now["step"], now["rate"] = step, rate_of(settings, step, total)
            return now["rate"]

        def batch(self: Rows, rows: Any) -> Any:
            now["rows"] = hashlib.sha256(rows.numpy().tobytes()).hexdigest()[:12]
            return batch_of(self, rows)

        def step(self: Engine, *arguments: Any) -> float:
            noted = dict(now)
            before_step(noted["step"])
            value = step_of(self, *arguments)
            with open(TRACE, "a") as file:
                file.write(json.dumps(noted, sort_keys=True) + "\n")
            return value

        loop.learning_rate, Rows.batch = learning_rate, batch
        Engine.step = step  # type: ignore[method-assign, assignment]
        if loss is not None:

            def spoiled(self: Engine, *arguments: Any) -> Any:
                assert loss is not None
                return loss(now["step"], loss_of(self, *arguments))

            Engine.loss = spoiled  # type: ignore[method-assign, assignment]
        return cli.main(list(TRAIN))

    return fork(work, folder).wait()


def _trace(folder: Path) -> list[str]:
    return (folder / TRACE).read_text().splitlines()


def _signals(start: Path, reference: dict[str, str], options: Options) -> dict[str, Any]:
    """SIGINT and SIGTERM, once and twice, at every fifth step: exit code, seconds to the end, nothing lost."""
    results: dict[str, Any] = {}
    for signum, code in ((signal.SIGINT, INTERRUPTED), (signal.SIGTERM, TERMINATED)):
        for times in ((2,) if signum == signal.SIGINT else (1,)) if options.quick else (1, 2):
            tally, slowest = Tally(), 0.0
            for at in (4,) if options.quick else range(0, STEPS, 2):
                trial = copy(start, "trial")

                def send(n: int, at: int = at, times: int = times, signum: signal.Signals = signum) -> None:
                    if n == at:
                        Path("sent").touch()
                        for _ in range(times):
                            os.kill(os.getpid(), signum)

                outcome = _train(trial, send)
                done = max((int(p.name[6:]) for p in (trial / RUN / "state").glob("state-*")), default=0)
                slowest = max(
                    slowest, trial.joinpath(RUN / "run.json").stat().st_mtime - (trial / "sent").stat().st_mtime
                )
                (trial / "sent").unlink()
                reasons = [] if outcome.code == code else [f"exit code {outcome.code}"]
                reasons += ["traceback"] if "Traceback" in outcome.said else []
                reasons += [f"state {done} in place of {at + 1}"] if times == 1 and done != at + 1 else []
                outcome = _train(trial, lambda n: None)
                (trial / TRACE).unlink()
                reasons += not_recovered(outcome, trial, reference)
                tally.add([f"{signum.name} x {times} at step {at}: {reason}" for reason in reasons])
            name = f"{signum.name} {'once' if times == 1 else 'twice'}"
            results[name] = tally.as_dict() | {"slowest_s": round(slowest, 2)}
    return results


def _not_finite(start: Path, reference: dict[str, str], quick: bool) -> dict[str, Any]:
    """NaN or infinity in the loss or the gradient alone: CLEAN, the batch on record; it goes on when that is gone."""
    results: dict[str, Any] = {}
    kinds: dict[str, Callable[[Any], Any]] = {
        "NaN loss": lambda total: total * float("nan"),
        "infinite loss": lambda total: total * float("inf"),
        "NaN gradient": lambda total: _with_gradient(total, float("nan")),
        "infinite gradient": lambda total: _with_gradient(total, float("inf")),
    }
    for name, spoil in list(kinds.items())[:: 3 if quick else 1]:
        tally = Tally()
        for at in (7,) if quick else range(0, STEPS, 3):
            trial = copy(start, "trial")
            before = whole_artifacts(trial)
            outcome = _train(
                trial, lambda n: None, lambda n, total, at=at, spoil=spoil: spoil(total) if n == at else total
            )
            reasons = not_clean(outcome, trial, before)
            noted = json.loads((trial / RUN / "not_finite.json").read_text())
            reasons += [] if noted["step"] == at and noted["training_rows"] else ["the batch is not on record"]
            (trial / TRACE).unlink(missing_ok=True)
            outcome = run(trial, *TRAIN)
            reasons += not_recovered(outcome, trial, reference)
            tally.add([f"step {at}: {reason}" for reason in reasons])
        results[name] = tally.as_dict()
    return results


def _with_gradient(total: Any, value: float) -> Any:
    """The same number with another gradient."""
    import torch

    class Spoiled(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, *gradients: Any) -> Any:
            return gradients[0] * value

    return Spoiled.apply(total)
