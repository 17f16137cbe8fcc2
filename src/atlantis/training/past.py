"""What a base has learned, by the configs of the runs that made it: which cities, and from which questions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from atlantis import trust
from atlantis.data.mixture import names_virtual
from atlantis.errors import UserError
from atlantis.settings import RunConfig
from atlantis.tasks import Questions
from atlantis.training import ranks
from atlantis.training.base import Base, base_digests, find_base
from atlantis.world import World
from atlantis.world.of_run import world_of


def checked_base(config: RunConfig, base: Base | None) -> Base:
    """The base, if a run with strategies can be carried out; else a UserError."""
    names = "+".join(strategy.name for strategy in config.strategies)
    if base is None:
        raise UserError(f"strategy: {names} keeps what a base knows; name one with base=, or leave the strategy out")
    if ranks.n_ranks() > 1:
        raise UserError(f"strategy: {names} trains in one process; start it without torchrun")
    return base


class Past:
    """The runs before a run, its base's first, as far back as their configs are known."""

    def __init__(
        self, base: Base, config: RunConfig, world: World, questions_of: Callable[[RunConfig, World], Questions]
    ) -> None:
        """`questions_of` makes or reads the training questions of a run in its world.

        Raises UserError where the base of one of these runs is not the one that it was trained from.
        """
        self.base, self.world, self.questions_of = base, world, questions_of
        self.runs: list[RunConfig] = []
        self._folders: list[Path] = []
        here: Base | None = base
        while here is not None and here.config is not None and here.config not in self.runs:
            folder = here.folder or here.checkpoint
            self.runs.append(here.config)
            self._folders.append(folder)
            config_there = here.config.model_copy(update={"output_root": config.output_root})
            here = None if config_there.base is None else find_base(config_there)
            _check_same(folder, config_there, here)

    def city_ids(self) -> np.ndarray:
        """Ids (n,) of the cities that the base has learned: the real ones, and virtual ones if a run asked for them."""
        made = zip(self.runs, self._folders, strict=True)
        asked = [(run, world_of(folder, run)) for run, folder in made if run.dataset.kind != "distance"]
        worlds = [world for run, world in asked if names_virtual(world, run.dataset)]
        return np.arange(max([self.world.n_real, *map(len, worlds)]))

    def questions(self) -> Questions:
        """All training questions of these runs. Raises UserError where they are not known, or name other cities."""
        if not self.runs:
            raise UserError(
                f"strategy: it needs the data that the base {self.base.checkpoint} was trained on, but there is no "
                "config.yaml that says which; use a base with one, or a strategy that needs no old data"
            )
        made = zip(self.runs, self._folders, strict=True)
        return Questions.concatenate([self.questions_of(run, self._world_of(run, folder)) for run, folder in made])

    def _world_of(self, run: RunConfig, folder: Path) -> World:
        world = world_of(folder, run)
        n = len(world) if names_virtual(world, run.dataset) else world.n_real
        if n > len(self.world) or not _same_places(world, self.world, n):
            raise UserError(
                f"strategy: {run.name} was trained on cities that are not the first of this run's world; "
                "keep its virtual regions, in the same order, in world.regions"
            )
        return world


def _check_same(run: Path, config: RunConfig, base: Base | None) -> None:
    """UserError if a run noted other weights of its base than those of the base found now."""
    noted = trust.read_record(run).get("digests", {}).get("base")
    found = None if base is None else base_digests(base).get("base")
    if base is not None and noted is not None and found is not None and noted != found:
        raise UserError(
            f"base: {run} was trained from another {config.base} than {base.note}; bring that one back, or rename the "
            "new run"
        )


def _same_places(one: World, other: World, n: int) -> bool:
    """Whether the first n cities of two worlds lie at the same places."""
    return np.array_equal(one.lon[:n], other.lon[:n]) and np.array_equal(one.lat[:n], other.lat[:n])
