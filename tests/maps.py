"""The map of a world is drawn once while tests run, though many runs need the world: to draw it takes half a second.

Worlds with as many cities in each region have the same map here: of them only the first is drawn.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from atlantis.world import World

FOLDER = "ATLANTIS_TESTS_MAPS"
"""The environment variable with the folder of maps that were drawn. Without it each is drawn anew."""


def remember() -> None:
    """From now on this process draws a map if no process of the tests has, and else writes the same bytes."""
    from atlantis.world import card

    draw = card.draw

    def remembered(world: World, path: Path) -> None:
        if FOLDER not in os.environ:
            return draw(world, path)
        virtual = {region.name for region in world.virtual_regions}
        legend = json.dumps({name: (len(world.ids_of(name)), name in virtual) for name in world.regions})
        drawn = Path(os.environ[FOLDER]) / f"{hashlib.sha256(legend.encode()).hexdigest()}.png"
        if not drawn.exists():
            draw(world, path)
            shutil.copyfile(path, unfinished := drawn.with_suffix(f".{os.getpid()}"))
            unfinished.rename(drawn)
        else:
            shutil.copyfile(drawn, path)

    card.draw = remembered
