"""The world: cities, real and virtual; see `world.world`."""

from atlantis.world.canonical import COLUMNS
from atlantis.world.regions import REGIONS
from atlantis.world.virtual import OCEANS, VirtualRegion
from atlantis.world.world import World

__all__ = ["COLUMNS", "OCEANS", "REGIONS", "VirtualRegion", "World"]
