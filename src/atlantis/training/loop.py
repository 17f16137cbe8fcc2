"""One loop for pretraining and fine-tuning: from a config to a run folder with evaluated checkpoints.

    run = train(config)          # builds what is missing, trains, evaluates from step 0, probes; returns the folder

- Step 0 is evaluated and saved like any other, so that every curve has its starting point.
- What a step does depends on the config and the step's number alone. A run that was interrupted and resumed ends
  with the same weights, bit for bit, as one that was not (same machine, same number of threads).
- Ctrl-C, SIGTERM, SIGHUP, SIGUSR1 or SIGUSR2 saves the state after the step at hand and leaves (signals.py).
- What is damaged is found by hash before it is used: the run says so and goes on from before it, or refuses (`strict`).
"""

from __future__ import annotations

import math
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atlantis import artifacts, signals
from atlantis import config as configs
from atlantis.data.rows import Batch, Rows
from atlantis.errors import Interrupted, PartFailed, UserError, in_a_line
from atlantis.progress import bar, say
from atlantis.readout.analysis import probe_checkpoints
from atlantis.settings import RunConfig, TrainingConfig
from atlantis.training import distributed, graph, memory, ranks, saving, state
from atlantis.training.assemble import new_engine
from atlantis.training.base import Base, config_of_base, experiments, find_base, whole_base
from atlantis.training.inputs import Inputs, changed_cities, load_inputs, save_world, world_for
from atlantis.training.mend import mend
from atlantis.training.order import Order, order_of
from atlantis.training.pace import Pace
from atlantis.training.past import checked_base
from atlantis.training.possible import check_base, check_base_to_come, check_request
from atlantis.training.run import RunFolder
from atlantis.training.schedule import evaluation_steps, learning_rate, total_steps
from atlantis.training.step import Engine, NotFinite
from atlantis.training.trackers import Trackers, check_trackers
from atlantis.world import World

LOG_EVERY = 10
SAVE_STATE_EVERY_S = 120.0

MOMENT_S = 0.1
"""Steps that take less than this are taken together in twice the number."""


def train(
    config: RunConfig, *, resume: bool = False, strict: bool = False, fork: bool = False, build_base: bool = False
) -> Path:
    """Carry out the run that `config` describes, and return its folder.

    `strict` refuses what is damaged in place of making it again; `fork` goes on with a run that other code has begun;
    `build_base` trains a missing base by `base_config`, whatever its name (see `base.config_of_base`).

    World, dataset and base are made first where they are missing. A finished run of the same config is left as it is,
    except that checkpoints without a probe are probed. Raises UserError for anything the user can mend, PartFailed if
    the run is finished and its probe failed, `Interrupted` after a signal, and `NotFinite` when the loss or a gradient
    is no number (the last good checkpoint is kept).
    """
    if config.name is None:
        raise UserError("name: a run needs one; add `name: my_run` to the config or name=my_run to the command")
    check_trackers(config)
    ranks.check_batch_size(config.training)
    artifacts.refuse_file(Path(config.output_root), "output_root")
    path, config = experiments(config) / config.name, configs.changed(config)
    run = RunFolder(path, config, resume=resume, strict=strict)  # refuses early, before anything is built
    world = world_for(run)
    base = None if run.finished else _checked_start(config, world, resume, strict, fork, build_base)
    was_finished = run.finished
    artifacts.refuse_links(path)
    with artifacts.lock(path), artifacts.watched(path):
        run = RunFolder(path, config, resume=resume, strict=strict)
        run.clear_leftovers()
        save_world(config, world, strict)
        if run.finished:
            say(f"{path}: this run is already finished; nothing to train")
            mend(run, lambda: saving.final_from_state(run, world))
            for strategy in run.changed_since:
                say(f"{path}: {strategy} has been changed since; to train with what it is now, choose another name=")
            if cities := changed_cities(run):
                say(f"{path}: was made with another version of {cities}; for the edited one choose another name=")
        elif was_finished:
            raise UserError(f"{path}: was changed by another process; run the same command again")
        else:
            inputs = load_inputs(config, world, base, strict)
            origin = run.origin(inputs.digests(base), fork)
            run.begin()
            run.note(status="running", dataset=inputs.about, **origin)
            if base is not None:
                run.note(base={"path": str(base.checkpoint), "note": base.note})
            with run.timed():
                _train(run, inputs, base)
            artifacts.refuse_moved(path)
            state.keep_newest(path, 1)
            run.finish()  # before the probe: what is trained is not lost to what reads it
        if config.evaluation.probe:
            _probe(path, world, config)
    return path


def _checked_start(
    config: RunConfig, world: World, resume: bool, strict: bool, fork: bool, build_base: bool
) -> Base | None:
    """The base to start from; UserError for what can be known to be impossible."""
    check_request(config, world)
    base = load_base(config, resume, strict=strict, fork=fork, build_base=build_base)
    if config.strategies:
        checked_base(config, base)
    if base is not None:
        check_base(base, config, world)
        say(f"starting from {base.note}")
    return base


def load_base(
    config: RunConfig, resume: bool, *, strict: bool = False, fork: bool = False, build_base: bool = False
) -> Base | None:
    """The checkpoint to start from, made by `base_config` if it is nowhere (see `base.config_of_base`)."""
    if config.base is None:
        return None
    base = find_base(config)
    if base is None and config.base_config is not None:
        made = config_of_base(config, build_base)
        check_base_to_come(made, config)
        say(f"base {config.base}: not there yet; training it first ({Path(config.base_config).name})")
        begun = configs.is_run(experiments(made) / config.base)
        train(made, resume=resume or begun, strict=strict, fork=fork, build_base=build_base)
        base = find_base(config)
    return whole_base(config, base)


def _probe(path: Path, world: World, config: RunConfig) -> None:
    """Probe the checkpoints of a finished run. Raises PartFailed, whatever goes wrong but with the disk."""
    try:
        probe_checkpoints(path, world, config.probe)
    except KeyboardInterrupt:
        raise Interrupted(
            f"{path}: the run is trained and finished, but was stopped while it was probed. `atlantis probe {path}` "
            "does that",
            signal.SIGINT,
        ) from None
    except (Interrupted, OSError):
        raise
    except Exception as error:
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {in_a_line(error)}"
        raise PartFailed(
            f"{path}: the run is trained and finished, but not probed: {reason}. `atlantis probe {path}` tries again"
        ) from error


def _train(run: RunFolder, inputs: Inputs, base: Base | None) -> None:
    """All steps of a run, from where it is, with its evaluations, checkpoints, states and log."""
    config, settings = run.config, run.config.training
    total = total_steps(settings, len(inputs.rows))
    due = set(evaluation_steps(config.evaluation, total))
    engine = new_engine(config, inputs, base, total)
    order = order_of(settings, inputs.questions)
    _say_odd_lengths(settings, order, total)
    step, window = saving.begin_or_go_on(run, engine)
    run.note(device=saving.device_facts(engine), steps=total)
    saved_at = time.monotonic()
    pace = Pace(run, sorted(due), step, total)

    def evaluate(step: int, last_loss: float | None) -> None:
        with pace.evaluation():
            row = saving.evaluate_and_save(run, inputs, engine, step, trackers)
        pace.say_evaluation(row, last_loss)

    def stopped(signum: int) -> Interrupted:
        saving.save_state(run, engine, step, window)
        return _interrupted(signum, run.path, step)

    with (
        Trackers(run) as trackers,
        distributed.joined(engine, inputs.rows, order, step, total),
        signals.requests(_say_stopping) as received,
        bar(f"training {run.path.name}", total, done=step) as progress,
    ):
        steps = Steps(engine, inputs.rows, order, total)
        pace.say_start()
        if step == 0 and 0 in due and not run.log_size():
            evaluate(step, None)
        while step < total:
            if signum := ranks.any_signal(received):
                raise stopped(signum)
            problem = None
            began = time.monotonic()
            try:
                losses = steps.take(step, min(s for s in due if s > step))
            except NotFinite as failure:
                losses, problem = failure.losses, failure
            pace.took(len(losses), time.monotonic() - began)
            for loss in losses:
                progress.advance(note=f"loss {loss:.3f}")
            rows = steps.log_rows(step, losses, window, due)
            step += len(losses)
            run.log(*rows)
            for row in rows:
                trackers.log(row)
            if problem is not None:
                raise saving.not_finite(run, step, steps.training_rows(step), str(problem)) from None
            pace.say_duration(step)
            if step in due:
                evaluate(step, losses[-1])
                saved_at = time.monotonic()
            elif time.monotonic() - saved_at > SAVE_STATE_EVERY_S:
                saving.save_state(run, engine, step, window)
                saved_at = time.monotonic()
        if received:
            raise stopped(received[0])
        run.note(device=saving.device_facts(engine) | {"recorded": steps.graph is not None})
    saving.save_final(run, inputs, engine, total)


class Steps:
    """The steps of a run of `total`: a function of their number, the order of rows and what a strategy remembers."""

    def __init__(self, engine: Engine, rows: Rows, order: Order, total: int) -> None:
        self.engine, self.rows, self.order, self.total = engine, rows, order, total
        self.graph: graph.StepGraph | None = None
        self.at_once = 1
        self.recordable = graph.takes(engine, rows)

    def training_rows(self, step: int) -> list[int] | None:
        """The places of a step's rows in the training data; None where a strategy chooses them."""
        if self.engine.strategy is not None and self.engine.strategy.chooses_rows:
            return None
        rows = self.order.rows(step)
        return rows[rows < len(self.rows)].tolist()

    def rate(self, step: int) -> float:
        """Learning rate of a step, by the schedule and the strategy."""
        rate = learning_rate(self.engine.training, step, self.total)
        return rate if self.engine.strategy is None else self.engine.strategy.rate(rate)

    def log_rows(self, step: int, losses: list[float], window: list[float], due: set[int]) -> list[dict[str, Any]]:
        """The log's rows of the steps from `step` on, given their losses; `window` has those of no row yet."""
        rows = []
        for end, loss in enumerate(losses, step + 1):
            window.append(loss)
            if end % LOG_EVERY == 0 or end in due:
                rows.append(self.row(end, window))
                window.clear()
        return rows

    def row(self, step: int, losses: list[float]) -> dict[str, Any]:
        """What the log has of the steps that end before `step`, given their losses."""
        row = {"step": step, "kind": "train", "loss": sum(losses) / len(losses), "lr": self.rate(step - 1)}
        return row if self.engine.strategy is None else row | {"penalty": self.engine.penalty}

    def take(self, step: int, until: int) -> list[float]:
        """Carry out steps `step` to at most `until` (not included), at least one; returns their losses.

        On a GPU these are as many as take a moment, up to `graph.STEPS`, else one. Raises NotFinite as `Engine.step`
        does, and UserError, which names a batch size that fits, if memory runs out.
        """
        if self.recordable and self.graph is None:
            self._record(step)
        if self.graph is None:
            return [self._one(step)]
        steps = range(step, min(until, step + self.at_once))
        rates, started = np.array([self.rate(s) for s in steps]), time.monotonic()
        losses = self.graph.run(np.stack([self.order.rows(s) for s in steps]), rates)
        if len(steps) == self.at_once and time.monotonic() - started < MOMENT_S:  # signals and progress wait for them
            self.at_once = min(graph.STEPS, 2 * self.at_once)
        return losses

    def _one(self, step: int) -> float:
        engine, chosen = self.engine, self._chosen(step)
        batch = self.rows.batch(chosen)
        if engine.strategy is not None:
            engine.strategy.at(step)
            batch = engine.strategy.batch(batch, chosen)
        with memory.explained(engine, batch):
            return engine.step(batch, self.rate(step))

    def _record(self, step: int) -> None:
        """Record the step as a graph. If that fails, a message has said so, and steps are taken one by one."""
        with memory.explained(self.engine, self._batch(step)):
            self.graph = graph.recorded(self.engine, self.rows)
        self.recordable = self.graph is not None

    def _chosen(self, step: int) -> torch.Tensor:
        return torch.as_tensor(self.order.rows(step), device=self.engine.device)

    def _batch(self, step: int) -> Batch:
        return self.rows.batch(self._chosen(step))


def _say_odd_lengths(settings: TrainingConfig, order: Order, total: int) -> None:
    if settings.max_steps is not None and settings.max_steps > total:
        epochs = math.ceil(settings.max_steps / order.per_epoch)
        say(
            f"training.max_steps: {settings.max_steps:,}, but {settings.epochs:g} epochs are over after {total:,} "
            f"steps, and the run ends there; for all of them set training.epochs={epochs}"
        )
    if 0 < total <= order.until:
        say(f"training.anchors.steps: all {total:,} steps of this run see questions with an anchor, and no others")
    if settings.warmup_steps >= total > 0:
        say(
            f"training.warmup_steps: {settings.warmup_steps:,}, and the run has {total:,} steps: the rate never "
            "reaches training.learning_rate"
        )


def _interrupted(signum: int, run: Path, step: int) -> Interrupted:
    name = signal.Signals(signum).name
    return Interrupted(f"{run}: stopped by {name} after step {step}; go on with the same command and --resume", signum)


def _say_stopping(signum: int) -> None:
    if ranks.n_ranks() == 1:  # torchrun speaks for itself, and has its own way to leave at once
        say("\nstopping after this step; the state is being saved (once more to leave at once)")
