"""The world that a run was made in: the one saved beside it, not what the user's file holds today.

A run records its world's digest, and the world lies two folders above it: `<root>/experiments/<run>` and
`<root>/worlds/world-<digest>`. So a run can be read after its file of cities was edited, and on another machine.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlantis.errors import UserError, without_remedy
from atlantis.reading import read_json
from atlantis.world.world import World

if TYPE_CHECKING:
    from atlantis.settings import RunConfig


def world_of(run: Path, config: RunConfig) -> World:
    """The world of the run in the folder `run`, whose config is `config`.

    It is read where it was saved. Where that is gone or damaged, it is built again from the config, if that still gives
    the same world. A run that recorded no digest, as of a version before there was one, has what its config gives.
    Raises UserError naming the digest, the file and what to do.
    """
    digest = recorded_digest(run)
    if digest is None:
        return World.from_config(config.world)
    problem = f"{saved_world(run, digest)}: is not there"
    for folder in dict.fromkeys([saved_world(run, digest), Path(config.output_root) / "worlds" / f"world-{digest}"]):
        if not folder.is_dir():
            continue
        try:
            world = World.load(folder)
        except UserError as error:
            problem = str(error)
            continue
        if world.digest == digest:
            return world
        problem = f"{folder}: holds another world than its name says"
    again = changed_world(config, digest)
    if again is None:
        return World.from_config(config.world)
    raise UserError(
        f"{run}: was made in the world {digest}, which cannot be had: {without_remedy(problem)}, and {again}. Bring "
        "one of them back"
    )


def changed_world(config: RunConfig, digest: str) -> str | None:
    """Why what the config names is not the world with this digest, in a clause; None if it still is."""
    source = config.world.cities or "the shipped table of cities"
    try:
        digest_now = World.from_config(config.world).digest
    except UserError as error:
        return str(error)
    return None if digest_now == digest else f"{source} gives another one now (its digest is {digest_now})"


def recorded_digest(run: Path) -> str | None:
    """The digest of the world that a run was made in; None for one that did not record it, or that is not there."""
    try:
        digests: Any = read_json(run / "run.json").get("digests")
    except FileNotFoundError:
        return None
    digest = digests.get("world") if isinstance(digests, dict) else None
    return digest if isinstance(digest, str) and re.fullmatch(r"[0-9a-f]{12}", digest) else None


def saved_world(run: Path, digest: str) -> Path:
    """Where the world of a run is saved."""
    return run.absolute().parent.parent / "worlds" / f"world-{digest}"
