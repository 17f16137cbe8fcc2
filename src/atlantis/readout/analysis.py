"""Probing a run: every checkpoint, both protocols and what became of the map, written to the run's `analysis/`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Num

from atlantis import artifacts, limits, trust
from atlantis import config as configs
from atlantis.errors import PartFailed, UserError, without_remedy
from atlantis.model.checkpoint import checkpoint_folders, probed_task
from atlantis.names import ANSWERS, REAL
from atlantis.progress import bar, say
from atlantis.reading import read_json
from atlantis.readout.catalogue import METRICS
from atlantis.readout.compared import block_features, layer_name
from atlantis.readout.estimator import Regressor
from atlantis.readout.files import Tables, analysis_folder, read_table, rows_where, write_tables
from atlantis.readout.forgetting import when_table
from atlantis.readout.initial import initial_std
from atlantis.readout.layers import layer_table, layer_tables
from atlantis.readout.measures import VERSION, Measures
from atlantis.readout.neighbours import neighbour_table, no_neighbours
from atlantis.readout.probes import Reading, read_degrees, read_sphere
from atlantis.readout.source import open_checkpoint, open_source
from atlantis.readout.splits import without_r2
from atlantis.readout.threads import as_they_come, side_by_side
from atlantis.settings import ProbeConfig
from atlantis.tasks import Task, task_of
from atlantis.tasks.distance import DISTANCE
from atlantis.tasks.score import Score, scores_of
from atlantis.world import World
from atlantis.world.of_run import world_of

AT_ONCE, BUDGET = 16, 8 << 30
"""Checkpoints that are read side by side, at most, and the bytes that they may take together, about, at most."""

TIMES_STATES = 10
"""What reading a checkpoint takes at once, as a multiple of its hidden states."""

NEIGHBOURS_FILE = "neighbours.parquet"
"""Of the first checkpoint and the last. Analyses before 2026-11-28 have none."""

READERS = {"degrees": read_degrees, "sphere": read_sphere}


def probe_checkpoint(
    checkpoint: Path | str,
    world: World,
    config: ProbeConfig | None = None,
    estimator: Regressor | None = None,
    task: str | None = None,
) -> dict[str, Reading]:
    """Both protocols' readings, by name, of one checkpoint, or of any transformers folder with our tokens.

    `estimator`: any regressor of scikit-learn for several targets, in place of ridge regression, with the same splits
    and intervals. It is copied for each fit, and several are fitted at once. `task`: in whose prompts the cities are
    named, a name or `my_module:MyTask`; left out, the first that the model was trained on.

    Raises UserError if the checkpoint cannot be read, was trained on another world, or lacks the layers.
    """
    config = config or ProbeConfig()
    features = open_source(checkpoint, world, _named(task)).features(world, config.layers)
    return readings_of(features, world, config, estimator)


def _named(task: str | None) -> Task | None:
    return None if task is None else task_of(task)


def readings_of(
    features: Num[np.ndarray, "n_cities p"], world: World, config: ProbeConfig, estimator: Regressor | None = None
) -> dict[str, Reading]:
    """Each protocol's reading of the features, by its name."""
    return {name: read(features, world, config, estimator) for name, read in READERS.items()}


def probe_checkpoints(run: Path, world: World, config: ProbeConfig, again: bool = False) -> None:
    """Read every checkpoint of a run and write `analysis/degrees/`, `analysis/sphere/` and perhaps `analysis/map/`.

    What is complete is kept unless `again`: then all are read. Where only some steps are there, the others are added.
    A checkpoint that cannot be read does not stop the rest: all that can be read is written, and then PartFailed names
    it. If none can be read, the first one's UserError is raised and nothing is written.
    """
    checkpoints = checkpoint_folders(run)
    if not checkpoints:
        raise UserError(f"{run}: no checkpoint to probe in {run / 'checkpoints'}")
    before = None if again else _tables_of(run, config)
    done = _steps(before) if before else set()
    if not done <= set(checkpoints):  # one was taken away: its rows go too
        before, done = None, set()
    if done == set(checkpoints):
        return
    if reason := without_r2(world):
        say(f"{run}: {reason}")
    seals = trust.read_record(run).get("checkpoints", {})
    measures = None
    if config.measures:
        order = configs.load_of_run(run).dataset.order if configs.is_run(run) else "fair"
        measures = Measures(world, config, _task_of(checkpoints), initial_std(run), order)
    tables, problems = _read(checkpoints, done, world, config, seals, measures)
    if not tables:
        raise next(iter(problems.values()))
    fresh = _steps(tables)
    if before and min(fresh) == min(done | fresh) and done - fresh:  # the same first step: what was there still holds
        tables = {name: _merged(before[name], tables[name], fresh) for name in tables}
    if fresh - done:
        _write(run, config, tables)
    if problems:
        named = "; ".join(str(problem) for problem in problems.values())
        n_read = len(checkpoints) - len(problems)
        raise PartFailed(f"{named} (the other {n_read} of {len(checkpoints)} checkpoints are read and written)")


def is_probed(run: Path, config: ProbeConfig) -> bool:
    """Whether every checkpoint of a run has been probed, by what its `analysis/` lists; no file is read through."""
    names = (*READERS, "map") if config.measures else READERS
    if not all(artifacts.is_complete(analysis_folder(run, name)) for name in names):
        return False
    file = analysis_folder(run, "degrees") / "representation_dynamics.csv"
    try:
        return set(checkpoint_folders(run)) == set(pd.read_csv(file, usecols=["step"])["step"])
    except ValueError:  # whatever is wrong with it: the probe says so
        return False


def _read(
    checkpoints: dict[int, Path],
    done: set[int],
    world: World,
    config: ProbeConfig,
    seals: Mapping[str, str],
    measures: Measures | None,
) -> tuple[dict[str, Tables], dict[int, UserError]]:
    """The tables of the first checkpoint and of all that are not `done`, by folder; and what could not be read.

    `seals` are the digests of what the run wrote, by step; `measures`, if given, are added.

    If the first step of what is done cannot be read any more, or an earlier one can, all are read: measures compare
    with the first.
    """
    by_step: dict[int, dict[str, Reading]] = {}
    problems: dict[int, UserError] = {}
    neighbours: dict[int, pd.DataFrame] = {}
    n_bytes = 1  # that a checkpoint takes

    def read_checkpoint(step: int, measures: Measures | None) -> tuple[dict[str, Reading], Measures | None] | UserError:
        checkpoint = checkpoints[step]
        try:
            source = open_checkpoint(checkpoint, world)
            source.check(config.layers)
            scores = _scores(checkpoint)
            if wrong := trust.exchanged(checkpoint, step, seals):
                raise UserError(wrong)
            assert source.model is not None
            layers = range(len(source.model.blocks)) if measures else sorted(set(config.layers))
            states = source.states(np.arange(len(world)), layers)
        except UserError as problem:
            return problem
        nonlocal n_bytes
        n_bytes = max(n_bytes, TIMES_STATES * states.nbytes)
        features = block_features(states, [layers.index(layer) for layer in config.layers])
        readings = readings_of(features, world, config)
        if measures:
            measures.read(step, source.model, source.vocabulary, states, readings["sphere"].fits)
            measures.add_scores(scores)
            if step in (min(checkpoints), max(checkpoints)):
                neighbours[step] = neighbour_table(step, features)
        return readings, measures

    def note(step: int, result: tuple[dict[str, Reading], Measures | None] | UserError) -> None:
        progress.advance(note=f"step {step}")
        if isinstance(result, UserError):
            problems[step] = result
            return
        by_step[step], measured = result
        if measures and measured and measured is not measures:
            measures.add(measured)

    with bar("probing checkpoints", len(checkpoints)) as progress:
        # The first that can be read comes alone, for the others are compared with it.
        left = list(checkpoints)
        while left and not by_step:
            step = left.pop(0)
            note(step, *side_by_side(lambda first: read_checkpoint(first, measures), [step]))
        if by_step and min(by_step) == min(done, default=-1):
            left = [step for step in left if step not in done]
        most = max(1, min(AT_ONCE, min(BUDGET, limits.memory_bytes() // 2) // n_bytes))
        others = as_they_come(lambda step: read_checkpoint(step, measures and measures.another()), left, most=most)
        for step, result in zip(left, others, strict=True):
            note(step, result)
    if not by_step:
        return {}, problems
    tables = {name: _stacked({step: readings[name] for step, readings in by_step.items()}) for name in READERS}
    if measures:
        tables["map"] = {
            "measures.parquet": measures.table(),
            "cities.parquet": pd.concat(measures.cities),
            NEIGHBOURS_FILE: pd.concat([no_neighbours(), *(neighbours[step] for step in sorted(neighbours))]),
        }
    return tables, problems


def _task_of(checkpoints: Mapping[int, Path]) -> Task:
    """The task whose prompts are probed; a checkpoint that cannot say which is a problem of its own."""
    for checkpoint in checkpoints.values():
        try:
            return probed_task(checkpoint)
        except UserError:
            continue
    return DISTANCE


def _scores(checkpoint: Path) -> list[Score]:
    """The scores that the checkpoint was saved with; none for one that was not evaluated."""
    file = checkpoint / "eval_results.json"
    try:
        row = read_json(file)
    except FileNotFoundError:
        return []
    try:
        scores = scores_of(row)
    except ValueError:
        scores = []
    if not any(score.metric == "mean" for score in scores):
        raise UserError(f"{file}: has no scores by slice; the checkpoint is damaged")
    return scores


def _stacked(readings: dict[int, Reading]) -> Tables:
    """One protocol's readings of several steps as its files."""
    by_file: dict[str, list[pd.DataFrame]] = {}
    for step, reading in readings.items():
        for file, table in reading.tables().items():
            by_file.setdefault(file, []).append(table.assign(step=step))
    tables = {file: pd.concat(parts, ignore_index=True) for file, parts in by_file.items()}
    return {file: pd.DataFrame(table, columns=["step", *table.columns.drop("step")]) for file, table in tables.items()}


def _digest(config: ProbeConfig, steps: Iterable[int], folder: str) -> str:
    settings = config.model_dump(exclude={"measures"})  # what is read does not depend on what else is
    version = {"measures": VERSION} if folder == "map" else {}
    return artifacts.digest_of({"probe": settings, "steps": sorted(steps)} | version)


def _steps(tables: dict[str, Tables]) -> set[int]:
    return {int(step) for step in tables["degrees"]["representation_dynamics.csv"]["step"]}


def _tables_of(run: Path, config: ProbeConfig) -> dict[str, Tables] | None:
    """What an earlier call wrote, by folder; None unless all folders are whole and made by these settings."""
    names = (*READERS, "map") if config.measures else READERS
    folders = {name: analysis_folder(run, name) for name in names}
    if not all(artifacts.is_whole(folder) for folder in folders.values()):
        return None
    kept = {name: _kept_files(name, folder) for name, folder in folders.items()}
    found = {name: {file: read_table(folders[name] / file) for file in files} for name, files in kept.items()}
    steps = _steps(found)
    complete = (artifacts.is_complete(folder, _digest(config, steps, name)) for name, folder in folders.items())
    return found if all(complete) else None


def _kept_files(name: str, folder: Path) -> list[str]:
    """The files of a folder that others are made from."""
    if name == "map":
        files = ["measures.parquet", "cities.parquet", NEIGHBOURS_FILE]
        return [file for file in files if file != NEIGHBOURS_FILE or (folder / file).is_file()]
    return sorted(file.name for file in folder.iterdir() if file.name != artifacts.MANIFEST)


def _merged(before: Tables, fresh: Tables, steps: set[int]) -> Tables:
    """Both, by step; for the `steps` that are in both, the fresh rows."""
    kept = {file: rows_where(table, ~table["step"].isin(list(steps))) for file, table in before.items()}
    merged = {}
    for file, table in fresh.items():
        both = pd.concat([kept[file], table] if file in kept else [table])  # an older analysis may lack a file
        if file == NEIGHBOURS_FILE:  # what was the last step before may be one in the middle by now
            both = rows_where(both, both["step"].isin([both["step"].min(), both["step"].max()]))
        merged[file] = both.sort_values("step", kind="stable", ignore_index=True)
    return merged


def _write(run: Path, config: ProbeConfig, tables: dict[str, Tables]) -> None:
    if config.measures:
        courses = when_table(_courses(tables, config))
        tables["map"] |= {"measures.csv": tables["map"]["measures.parquet"], "when.csv": courses}
    for name, files in tables.items():
        folder, digest = analysis_folder(run, name), _digest(config, _steps(tables), name)
        if (folder / artifacts.MANIFEST).is_file() and (problem := artifacts.damage(folder)):
            say(f"damaged: {without_remedy(problem)}; kept as {artifacts.set_aside(folder).name} and made again")
        with artifacts.new_folder(folder, kind="analysis", digest=digest, overwrite=True) as aside:
            write_tables(files, aside)


def _courses(tables: dict[str, Tables], config: ProbeConfig) -> pd.DataFrame:
    """The numbers whose course over the run is told: of the real cities, the old prompts and the task's slices."""
    names = [metric.name for metric in METRICS.values() if metric.better and metric.course]
    measures = tables["map"]["measures.parquet"]
    read = (measures["group"] == REAL) & (measures["layer"] == layer_name(config.layers))
    courses = rows_where(measures, measures["metric"].isin(names) & (read | (measures["layer"] == ANSWERS)))
    dynamics = tables["degrees"]["representation_dynamics.csv"]
    test = rows_where(dynamics, (dynamics["group"] == REAL) & (dynamics["split"] == "test"))
    scores = test.melt(["step", "group"], [name for name in names if name in test], var_name="metric")
    return pd.concat([courses, scores])


def probe_run(run: Path | str, measures: bool | None = None) -> None:
    """Probe every checkpoint of a run again, by the run's own settings; `measures`, if given, in place of theirs.

    Raises UserError for what is no run.
    """
    run = Path(run)
    if not run.is_dir():
        raise UserError(f"{run}: no such folder; give a run's folder, such as outputs/experiments/demo")
    config = configs.load_of_run(run)
    trust.check_config(run, trust.read_record(run), config)
    probe = config.probe if measures is None else config.probe.model_copy(update={"measures": measures})
    artifacts.refuse_links(run)
    with artifacts.lock(run):
        probe_checkpoints(run, world_of(run, config), probe, again=True)


def probe_folder(
    folder: Path,
    world: World,
    config: ProbeConfig,
    out: Path | None = None,
    by_layer: bool = False,
    task: str | None = None,
) -> tuple[dict[str, Reading], pd.DataFrame | None]:
    """Both protocols' readings of one transformers folder, and its layer table if asked for.

    They are written to the new folder `out`, if given: degrees/, sphere/, layers/. `task` is that of
    `probe_checkpoint`. Raises UserError as that does, and for an `out` that holds something already.
    """

    def read() -> tuple[dict[str, Reading], pd.DataFrame | None]:
        source = open_source(folder, world, _named(task))
        features = source.features(world, config.layers)
        return readings_of(features, world, config), layer_table(source, world, config) if by_layer else None

    if out is None:
        return read()
    with artifacts.new_folder(out, kind="analysis") as aside:
        readings, table = read()
        for name, reading in readings.items():
            write_tables(reading.tables(), aside / name)
        if table is not None:
            write_tables(layer_tables(table), aside / "layers")
    return readings, table
