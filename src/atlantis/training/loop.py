"""One loop for pretraining and fine-tuning: from a config to a run folder with evaluated checkpoints.

    run = train(config)          # builds what is missing, trains, evaluates from step 0, probes; returns the folder

- Step 0 is evaluated and saved like any other, so that every curve has its starting point.
- What a step does depends on the config and the step's number alone. A run that was interrupted and resumed ends
  with the same weights, bit for bit, as one that was not (same machine, same number of threads).
- Ctrl-C, SIGTERM, SIGHUP, SIGUSR1 or SIGUSR2 saves the state after the step at hand and leaves (signals.py).
- What is damaged is found by hash before it is used: the run says so and goes on from before it, or refuses (`strict`).
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from atlantis import artifacts, signals, trust
from atlantis import config as configs
from atlantis.data.dataset import Dataset, dataset_digest
from atlantis.data.encoding import needed_by
from atlantis.data.mixture import resolved
from atlantis.data.rows import Rows
from atlantis.errors import Interrupted, PartFailed, UserError, in_a_line
from atlantis.model import Transformer
from atlantis.model import checkpoint as ckpt
from atlantis.model.fast import kernels
from atlantis.progress import bar, say
from atlantis.readout.analysis import probe_checkpoints
from atlantis.readout.evaluate import evaluation_questions, mean_loss, results
from atlantis.readout.generate import answers
from atlantis.settings import DatasetConfig, RunConfig
from atlantis.strategies.common.composed import Composed
from atlantis.strategies.common.interface import Context
from atlantis.tasks import Questions
from atlantis.tasks.score import score
from atlantis.training import distributed, ranks, state
from atlantis.training.base import Base, base_digests, experiments, find_base
from atlantis.training.device import choose_device, release_freed_memory
from atlantis.training.mend import mend
from atlantis.training.order import order_of
from atlantis.training.past import Past, checked_base
from atlantis.training.possible import check_base, check_request
from atlantis.training.run import RunFolder
from atlantis.training.schedule import evaluation_steps, total_steps
from atlantis.training.step import Engine, NotFinite
from atlantis.training.steps import Steps
from atlantis.training.trackers import Trackers, check_trackers
from atlantis.vocabulary import Vocabulary
from atlantis.world import World
from atlantis.world.of_run import changed_world, recorded_digest, world_of

LOG_EVERY = 10
SAVE_STATE_EVERY_S = 120.0


@dataclass
class Task:
    """All that a run trains on and is measured by, in memory."""

    world: World
    vocabulary: Vocabulary
    questions: Questions
    rows: Rows
    validation: Rows | None
    items: Questions
    names: list[str]
    """Of its tasks, as the config has them."""


def train(config: RunConfig, resume: bool = False, strict: bool = False, fork: bool = False) -> Path:
    """Carry out the run that `config` describes, and return its folder.

    `strict` refuses what is damaged in place of making it again; `fork` goes on with a run that other code has begun.

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
    path = experiments(config) / config.name
    run = RunFolder(path, config, resume, strict)  # refuses early, before anything is built
    world = _world_for(run)
    base = None if run.finished else _checked_start(config, world, resume)
    was_finished = run.finished
    artifacts.refuse_links(path)
    with artifacts.lock(path), artifacts.watched(path):
        run = RunFolder(path, config, resume, strict)
        run.clear_leftovers()
        _save_world(config, world, strict)
        if run.finished:
            say(f"{path}: this run is already finished; nothing to train")
            mend(run, lambda: _final_from_state(run, world))
            for strategy in run.changed_since:
                say(f"{path}: {strategy} has been changed since; to train with what it is now, choose another name=")
            if cities := changed_cities(run):
                say(f"{path}: was made with another version of {cities}; for the edited one choose another name=")
        elif was_finished:
            raise UserError(f"{path}: was changed by another process; run the same command again")
        else:
            task, dataset, note = load_task(config, world, base, strict)
            origin = run.origin(_digests(world, dataset, base), fork)
            run.begin()
            run.note(status="running", dataset=_about(dataset, note), **origin)
            if base is not None:
                run.note(base={"path": str(base.checkpoint), "note": base.note})
            with _timed(run):
                _train(run, task, base)
            artifacts.refuse_moved(path)
            state.keep_newest(path, 1)
            run.finish()  # before the probe: what is trained is not lost to what reads it
        if config.evaluation.probe:
            _probe(path, world, config)
    return path


def _world_for(run: RunFolder) -> World:
    """The world to train in; that of a run which has begun is its own, whatever the user's file holds now.

    Raises UserError if an unfinished run was begun in another world than the file gives.
    """
    digest, cities = recorded_digest(run.path), run.config.world.cities
    if digest is not None and (run.finished or (cities is not None and not Path(cities).exists())):
        return world_of(run.path, run.config)
    world = World.from_config(run.config.world)
    if digest is not None and world.digest != digest:
        raise UserError(
            f"{run.path}: was begun with other data: {cities or 'the shipped table of cities'} has been changed since "
            f"(its world has the digest {world.digest}, the run's has {digest}); bring the earlier one back, or choose "
            "another name="
        )
    return world


def changed_cities(run: RunFolder) -> str | None:
    """The user's file of cities that a run was made from, if that is there and gives another world now."""
    digest, cities = recorded_digest(run.path), run.config.world.cities
    if digest is None or cities is None or not Path(cities).exists():
        return None
    return cities if changed_world(run.config, digest) else None


def _checked_start(config: RunConfig, world: World, resume: bool) -> Base | None:
    """The base to start from; UserError for what can be known to be impossible."""
    check_request(config, world)
    base = load_base(config, resume)
    if config.strategies:
        checked_base(config, base)
    if base is not None:
        check_base(base, config, world)
        say(f"starting from {base.note}")
    return base


def _probe(path: Path, world: World, config: RunConfig) -> None:
    """Probe the checkpoints of a finished run. Raises PartFailed, whatever goes wrong but with the disk."""
    try:
        probe_checkpoints(path, world, config.probe)
    except (Interrupted, OSError):
        raise
    except Exception as error:
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {in_a_line(error)}"
        raise PartFailed(
            f"{path}: the run is trained and finished, but not probed: {reason}. `atlantis probe {path}` tries again"
        ) from error


def build_inputs(config: RunConfig) -> None:
    """Make the world and the dataset of a run where they are missing: many runs may share them."""
    world = World.from_config(config.world)
    check_request(config, world)
    _save_world(config, world)
    _dataset(config.dataset, world, config.output_root)


def load_base(config: RunConfig, resume: bool) -> Base | None:
    """The checkpoint to start from, made by `base_config` if it is nowhere."""
    if config.base is None:
        return None
    base = find_base(config)
    if base is None and config.base_config is not None:
        made = configs.load(Path(config.base_config), [f"output_root={config.output_root}"])
        say(f"base {config.base}: not there yet; training it first ({Path(config.base_config).name})")
        train(made.model_copy(update={"name": config.base}), resume=resume or _begun(made, config.base))
        base = find_base(config)
    if base is None:
        own = experiments(config) / config.base
        if own.is_dir() and trust.read_record(own).get("status") == "finished":
            raise UserError(
                f"base {own}: is finished, but its checkpoints/final is missing; `atlantis train "
                f"{own / trust.CONFIG} --resume` makes it again"
            )
        raise UserError(
            f"base: {config.base!r} is no folder, no finished run in {experiments(config)} and not in pretrained/; "
            "train it first, or give the path of a checkpoint"
        )
    if (base.checkpoint / artifacts.MANIFEST).is_file() and (problem := artifacts.damage(base.checkpoint)):
        run = base.checkpoint.parent.parent
        again = f"; `atlantis train {run / trust.CONFIG} --resume` makes it again" if base.is_run else ""
        raise UserError(f"{problem.partition(';')[0] if again else problem}{again}")
    return base


def _begun(config: RunConfig, name: str) -> bool:
    return (experiments(config) / name / "config.yaml").is_file()


def _save_world(config: RunConfig, world: World, strict: bool = False) -> None:
    _save_once(Path(config.output_root) / "worlds" / f"world-{world.digest}", world.digest, world.save, strict)


def _save_once(folder: Path, digest: str, save: Callable[[Path], None], strict: bool = False) -> None:
    """Write an artifact whose name holds its digest, unless it is there; another process may be as quick as we are.

    One that is damaged is moved aside and made again, which is said (`strict`: a UserError).
    """
    artifacts.clear_leftovers(folder.parent, folder.name)
    if artifacts.is_whole(folder, digest):
        return
    if (folder / artifacts.MANIFEST).is_file():
        problem = artifacts.damage(folder) or f"{folder}: holds another one than its name says; move it away"
        if strict:
            raise UserError(f"{problem} (without --strict it is moved aside and made again)")
        say(f"damaged: {problem.partition(';')[0]}; kept as {artifacts.set_aside(folder).name} and made again")
    try:
        save(folder)
    except UserError:
        if not artifacts.is_complete(folder, digest):
            raise


def _dataset(asked: DatasetConfig, world: World, output_root: str, strict: bool = False) -> Dataset:
    """The dataset, saved, or read if it is there."""
    wanted = resolved(asked, world)
    digest = dataset_digest(wanted, world.digest)
    folder = Path(output_root) / "datasets" / f"{wanted.name}-{digest}"
    _save_once(folder, digest, lambda path: Dataset.build(world, wanted).save(path), strict)
    return Dataset.load(folder)


def load_task(config: RunConfig, world: World, base: Base | None, strict: bool = False) -> tuple[Task, Dataset, str]:
    """The run's rows and its fixed evaluation items; the dataset is saved, or read if it is there."""
    dataset = _dataset(config.dataset, world, config.output_root, strict)
    for note in dataset.notes:
        say(note)
    old = base.config.dataset if base is not None and base.config is not None else None
    items, note = evaluation_questions(world, dataset, old, config.evaluation.n_items, config.evaluation.seed)
    device = choose_device(config.training.device)
    vocabulary = Vocabulary(config.tokenizer.kind, len(world), _version(dataset, items, base))
    validation = dataset.splits.get("validation")
    task = Task(
        world,
        vocabulary,
        dataset.splits["train"],
        Rows(dataset.splits["train"], vocabulary, device),
        None if validation is None else Rows(validation, vocabulary, device),
        items,
        ["distance"] if (parts := config.dataset.parts) is None else list(dict.fromkeys(part.task for part in parts)),
    )
    return task, dataset, note


def _version(dataset: Dataset, items: Questions, base: Base | None) -> int:
    """The symbols' version: the base's, or the first that has what the tasks are written with."""
    return needed_by((*dataset.tasks, *items.tasks)) if base is None else Vocabulary.load(base.checkpoint).version


def _model(config: RunConfig, task: Task, base: Base | None) -> Transformer:
    """A new model, or the base's with rows for the cities it does not know (city vocabulary)."""
    sizes = config.model
    if base is None:
        model = Transformer(
            task.vocabulary.size,
            task.vocabulary.first_city,
            width=sizes.hidden_size,
            n_layers=sizes.n_layers,
            n_heads=sizes.n_heads,
            mlp_width=sizes.mlp_size,
            rope_theta=sizes.rope_theta,
            context=sizes.context,
        )
        model.initialise(sizes.init_std, torch.Generator().manual_seed(sizes.seed))
        return model
    model, _ = ckpt.load_checkpoint(base.checkpoint)
    return ckpt.grow(model, task.vocabulary.size, sizes.init_std, sizes.seed)


def _train(run: RunFolder, task: Task, base: Base | None) -> None:
    config, settings = run.config, run.config.training
    total = total_steps(settings, len(task.rows))
    due = set(evaluation_steps(config.evaluation, total))
    engine = new_engine(config, task, base, total)
    order = order_of(settings, task.questions)
    if 0 < total <= order.until:
        say(f"training.anchors.steps: all {total:,} steps of this run see questions with an anchor, and no others")
    if settings.warmup_steps >= total > 0:
        say(
            f"training.warmup_steps: {settings.warmup_steps:,}, and the run has {total:,} steps: the rate never "
            "reaches training.learning_rate"
        )
    step, window = _begin_stretch(run, engine)
    run.note(device=_device_facts(engine), steps=total)
    saved_at = time.monotonic()
    with (
        Trackers(run) as trackers,
        distributed.joined(engine, task.rows, order, step, total),
        signals.requests(_say_stopping) as received,
        bar(f"training {run.path.name}", total, done=step) as progress,
    ):
        steps = Steps(engine, task.rows, order, total)
        if step == 0 and 0 in due and not run.log_size():
            _evaluate_and_save(run, task, engine, 0, trackers)
        while step < total:
            if signum := ranks.any_signal(received):
                _save_state(run, engine, step, window)
                raise _interrupted(signum, run.path, step)
            problem = None
            try:
                losses = steps.take(step, min(s for s in due if s > step))
            except NotFinite as found:
                losses, problem = found.losses, found
            for loss in losses:
                step += 1
                window.append(loss)
                progress.advance(note=f"loss {loss:.3f}")
                if step % LOG_EVERY == 0 or step in due:
                    row = {"step": step, "kind": "train", "loss": sum(window) / len(window), "lr": steps.rate(step - 1)}
                    if engine.strategy is not None:
                        row["penalty"] = engine.penalty
                    run.log(row)
                    trackers.log(row)
                    window.clear()
            if problem is not None:
                rows = order.rows(step)
                raise _not_finite(run, step, rows[rows < len(task.rows)].tolist(), str(problem)) from None
            if step in due:
                _evaluate_and_save(run, task, engine, step, trackers)
                saved_at = time.monotonic()
            elif time.monotonic() - saved_at > SAVE_STATE_EVERY_S:
                _save_state(run, engine, step, window)
                saved_at = time.monotonic()
        if received:
            _save_state(run, engine, step, window)
            raise _interrupted(received[0], run.path, step)
        run.note(device=_device_facts(engine) | {"recorded": steps.graph is not None})
    facts = ckpt.facts_of(task.world, task.vocabulary, run.path.name, total, task.names)
    artifacts.refuse_moved(run.path)
    if not _is_final(run, total):
        with _shown(engine) as model:
            ckpt.save_checkpoint(run.checkpoints / "final", model, task.vocabulary, facts, None)


def _is_final(run: RunFolder, total: int) -> bool:
    """Whether `final` is there, with the weights of the last step's checkpoint."""
    final, last = (artifacts.manifest(run.checkpoints / name) for name in ("final", f"checkpoint-{total}"))
    same = final and last and final["files"].get("model.safetensors") == last["files"].get("model.safetensors")
    return bool(same) and artifacts.is_complete(run.checkpoints / "final")


def _final_from_state(run: RunFolder, world: World) -> None:
    """Write `final` of a finished run from the state of its last step. Raises UserError if that is not whole."""
    base = None if run.config.base is None else find_base(run.config)
    if base is None and run.config.base is not None:
        raise UserError(f"its base {run.config.base} is not there any more")
    total = run.record.get("steps", -1)
    found = state.state_steps(run.path).get(total)
    if found is None:
        raise UserError(f"there is neither a whole checkpoint-{total} nor a whole state-{total}")
    task, _, _ = load_task(run.config, world, base)
    engine = new_engine(run.config, task, base, total)
    state.load_state(found, engine)
    facts = ckpt.facts_of(task.world, task.vocabulary, run.path.name, total, task.names)
    with _shown(engine) as model:
        ckpt.save_checkpoint(run.checkpoints / "final", model, task.vocabulary, facts, None)


def new_engine(config: RunConfig, task: Task, base: Base | None, total: int) -> Engine:
    """The run's model, its optimizer and its strategies, for a run of `total` steps; no strategy has begun."""
    engine = Engine(_model(config, task, base), config.training, choose_device(config.training.device))
    if not config.strategies:
        return engine
    base = checked_base(config, base)

    def questions_of(run: RunConfig, world: World) -> Questions:
        return _dataset(run.dataset, world, config.output_root).splits["train"]

    past = Past(base, config, task.world, questions_of)
    context = Context(
        config=config,
        world=task.world,
        vocabulary=task.vocabulary,
        model=engine.model,
        new_questions=task.questions,
        rows=task.rows,
        checkpoint=base.checkpoint,
        load_base=lambda: _model(config, task, base),
        old_ids=past.city_ids(),
        load_old_questions=past.questions,
        total=total,
        logits_of=engine.logits,
    )
    engine.adopt(Composed(config.strategies, context))
    return engine


@contextmanager
def _shown(engine: Engine) -> Iterator[Transformer]:
    """The model with the weights that are evaluated and saved."""
    with nullcontext() if engine.strategy is None else engine.strategy.shown():
        yield engine.model


@contextmanager
def _timed(run: RunFolder) -> Iterator[None]:
    """Add the seconds that pass to the run's `training_seconds`, also when it is stopped or fails."""
    started = time.monotonic()
    try:
        yield
    finally:
        seconds = run.record.get("training_seconds", 0.0) + time.monotonic() - started
        run.note(training_seconds=round(seconds, 1))


def _interrupted(signum: int, run: Path, step: int) -> Interrupted:
    name = signal.Signals(signum).name
    return Interrupted(f"{run}: stopped by {name} after step {step}; go on with the same command and --resume", signum)


def _begin_stretch(run: RunFolder, engine: Engine) -> tuple[int, list[float]]:
    """`_restore`, and note the conditions from here on; other ones than before are said (`strict`: a UserError)."""
    now = conditions(engine)
    other = run.other_conditions(now) if state.state_steps(run.path) else []
    if other and run.strict:
        raise UserError(
            f"{run.path}: was stopped under other conditions, and would end with other weights than without a stop; go "
            "on where it was begun, or without --strict. The difference:\n  " + "\n  ".join(other)
        )
    step, window = _restore(run, engine)
    if other and step > 0:
        say(f"{run.path}: goes on under other conditions; sums may be rounded otherwise ({'; '.join(other)})")
    run.begin_stretch(step, now)
    return step, window


def _restore(run: RunFolder, engine: Engine) -> tuple[int, list[float]]:
    """Go back to the newest usable state, if there is one; returns its step and the losses not logged yet."""
    found = state.usable_state(run.path, run.strict, run.from_what)
    if found is None:
        run.cut_log(0)
        run.seals = {}
        if engine.strategy is not None:
            engine.strategy.begin(engine.optimizer)
        return 0, []
    progress = state.load_state(found, engine)
    run.cut_log(progress["log_bytes"])
    run.seals = dict(progress.get("checkpoints", {}))
    return progress["step"], progress["losses"]


def _save_state(run: RunFolder, engine: Engine, step: int, window: list[float]) -> None:
    artifacts.refuse_moved(run.path)
    progress = {"step": step, "log_bytes": run.log_size(), "losses": window}
    progress |= {"origin": run.from_what, "checkpoints": run.seals}
    state.save_state(run.path, engine, progress)
    if engine.device.type == "cpu":
        release_freed_memory()


def _evaluate_and_save(run: RunFolder, task: Task, engine: Engine, step: int, trackers: Trackers) -> None:
    """Score the task, write the checkpoint, log the row, and save the state from which the run can go on."""
    artifacts.refuse_moved(run.path)
    with torch.no_grad(), _shown(engine) as model:
        loss = float("nan") if task.validation is None else mean_loss(model, task.validation)
        scores = score(answers(model, task.vocabulary, task.items), task.items)
        row = dict(results(scores, loss, step))
        facts = ckpt.facts_of(task.world, task.vocabulary, run.path.name, step, task.names)
        folder = run.checkpoints / f"checkpoint-{step}"
        ckpt.save_checkpoint(folder, model, task.vocabulary, facts, row)
    run.seals[str(step)] = trust.checkpoint_seal(folder) or ""
    run.log(row)
    trackers.log(row)
    _save_state(run, engine, step, [])


def _not_finite(run: RunFolder, step: int, rows: list[int], problem: str) -> NotFinite:
    """Record the batch; the weights are still those before the step."""
    artifacts.write_json(run.path / "not_finite.json", {"step": step, "problem": problem, "training_rows": rows})
    run.note(status="not finite")
    last = max(ckpt.checkpoint_steps(run.path), default=None)
    return NotFinite(
        f"{run.path}: at step {step} {problem}; the weights were not updated. The batch's rows are in not_finite.json; "
        f"the last good checkpoint is checkpoint-{last}. Lower training.learning_rate (now "
        f"{run.config.training.learning_rate:g}) or set training.max_grad_norm, under another name="
    )


def _say_stopping(signum: int) -> None:
    if ranks.n_ranks() == 1:  # torchrun speaks for itself, and has its own way to leave at once
        say("\nstopping after this step; the state is being saved (once more to leave at once)")


def _about(dataset: Dataset, evaluation: str) -> dict[str, Any]:
    return {"name": dataset.name, "counts": dataset.counts, "notes": dataset.notes, "evaluated_on": evaluation}


def _digests(world: World, dataset: Dataset, base: Base | None) -> dict[str, str]:
    found = {"world": world.digest, "dataset": dataset.digest}
    return found if base is None else found | base_digests(base)


def conditions(engine: Engine) -> dict[str, Any]:
    """What decides how the sums of a step are rounded, besides the code."""
    facts = {key: value for key, value in _device_facts(engine).items() if key != "kernels"}
    facts |= {"kernels": kernels.library_digest() if engine.kernels else "none"}
    facts |= {"processor": kernels.processor_digest(), "torch": torch.__version__}
    return facts | {"processes": ranks.n_ranks()}


def _device_facts(engine: Engine) -> dict[str, Any]:
    name = torch.cuda.get_device_name() if engine.device.type == "cuda" else "CPU"
    facts = {"name": name, "threads": torch.get_num_threads(), "precision": engine.precision}
    facts |= {"compiled": engine.compiled, "kernels": engine.kernels}
    return facts if ranks.n_ranks() == 1 else facts | {"processes": ranks.n_ranks()}
