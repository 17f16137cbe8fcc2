"""The world: a fixed table of cities, real ones first, virtual regions after them.

    world = World.build()                          # 5,075 real cities and Atlantis
    world = World.build("my_cities.csv", regions=[OCEANS["indian"]])
    world.save("outputs/worlds/mine"); World.load("outputs/worlds/mine")

Choices that everything else builds on:
- An id is a position in the table. Real cities get 0..n_real-1 by a seeded shuffle, because the source's order (by
  population, or whatever the user's file has) would leak through the ids. Virtual regions follow without a gap.
- Positions are rounded to 5 decimals at once, so a world and its saved table are the same world.
- A world never changes. Its digest is that of its table's bytes; equal digests mean equal worlds.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from atlantis.artifacts import verify
from atlantis.errors import UserError
from atlantis.names import MAX_CITIES, is_reserved, own_region_name
from atlantis.progress import say
from atlantis.sphere import haversine_km
from atlantis.world.canonical import COLUMNS, canonical_csv, ids_are_positions, table_digest, virtual_rows, with_ids
from atlantis.world.cities import read_cities, shipped_cities, with_regions
from atlantis.world.folder import read_world, write_world
from atlantis.world.regions import OTHER, REGIONS, region_of_country
from atlantis.world.virtual import OCEANS, VirtualRegion

if TYPE_CHECKING:
    from atlantis.settings import WorldConfig


@dataclass(frozen=True, eq=False, repr=False)
class World:
    """An immutable table of cities; make one with `build`, `from_config` or `load`."""

    _table: pd.DataFrame
    virtual_regions: tuple[VirtualRegion, ...]
    seed: int
    source: str
    """Where the real cities come from: "shipped", or the name of the user's file."""
    given_ids: bool
    """Whether the ids of the real cities are those of the user's file, and not shuffled."""

    @classmethod
    def build(
        cls,
        cities: Path | str | None = None,
        regions: Sequence[VirtualRegion] = (OCEANS["atlantic"],),
        seed: int = 42,
    ) -> World:
        """The shipped cities, or those of the file `cities`, and the virtual regions after them.

        `seed` shuffles the ids of the real cities, unless the file has the ids 0 to n-1. How a file was read is told
        on standard error. Raises UserError for a file that cannot be used and for regions that share a name, a code
        or the name of a city with another.
        """
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise UserError(f"world seed must be a whole number of at least 0, not {seed!r}")
        file = None if cities is None else with_regions(read_cities(cities))
        unnumbered = shipped_cities() if file is None else file.cities
        real = with_ids(unnumbered, seed)
        if len(real) + sum(region.count for region in regions) > MAX_CITIES:
            raise UserError(f"a world can have {MAX_CITIES:,} cities, real and virtual together; ask for fewer")
        _check_regions(real, regions)
        table = pd.concat([real, *virtual_rows(regions, offset=len(real))], ignore_index=True)
        if file is not None:
            file.tell()  # not sooner: what is refused has one message
        source = "shipped" if cities is None else Path(cities).name
        world = cls(table, tuple(regions), seed, source, given_ids=ids_are_positions(unnumbered))
        for name, shown in world._renamed.items():
            say(f"{cities}: the region {name!r} is shown as {shown!r}, for {name!r} is a name of ours")
        return world

    @classmethod
    def from_config(cls, config: WorldConfig) -> World:
        """The world that a config's `world:` section asks for."""
        regions = [VirtualRegion(**region.model_dump()) for region in config.regions]
        return cls.build(Path(config.cities) if config.cities else None, regions, config.seed)

    @classmethod
    def of_places(cls, lon: ArrayLike, lat: ArrayLike, regions: ArrayLike | None = None) -> World:
        """Any places as they are: degrees (n,), place i being city i, and a region's name for each.

        Raises UserError for arrays of unequal lengths, what is no place, and a region with a name of ours, such as
        "real", which is all places together.
        """
        lon, lat = (np.asarray(degrees, dtype=np.float64) for degrees in (lon, lat))
        region = np.full(lon.shape, OTHER) if regions is None else np.asarray(regions).astype(str)
        if lon.ndim != 1 or not lon.shape == lat.shape == region.shape:
            raise UserError(
                f"lon, lat and groups must have one value per place, not {lon.shape}, {lat.shape}, {region.shape}"
            )
        outside = np.flatnonzero(~((np.abs(lon) <= 180) & (np.abs(lat) <= 90)))
        if len(outside):
            row = outside[0]
            raise UserError(f"row {row}: longitude {lon[row]:g}, latitude {lat[row]:g} is no place on Earth (degrees)")
        if taken := sorted(name for name in set(region.tolist()) if is_reserved(name)):
            raise UserError(f"groups: {taken[0]!r} is a name of ours ('real' is all places); give that group another")
        names = [f"place_{i}" for i in range(len(lon))]
        values = [np.arange(len(lon)), names, lon, lat, "", region, 0, False]
        return cls(pd.DataFrame(dict(zip(COLUMNS, values, strict=True))), (), 0, "arrays", given_ids=True)

    @classmethod
    def load(cls, folder: Path | str) -> World:
        """The world that `save` wrote. Raises UserError if there is none, or if its table is not what was saved."""
        table, record = read_world(Path(folder))
        world = cls(table, tuple(record["regions"]), record["seed"], record["source"], record["given_ids"])
        if world.digest != record["digest"]:
            raise UserError(
                f"{Path(folder) / 'cities.csv'}: changed since it was saved (digest {world.digest}, recorded "
                f"{record['digest']}); build the world again, from your own CSV file if you want other cities"
            )
        verify(Path(folder), text="cities.csv")
        return world

    def save(self, folder: Path | str, overwrite: bool = False) -> None:
        """Write a folder that is complete or absent: cities.csv, world.json, README.md, map.png, manifest.json.

        The same world gives the same bytes. Raises UserError if something is there already; `overwrite` replaces
        a saved world, and nothing else.
        """
        write_world(self, Path(folder), overwrite)

    @property
    def cities(self) -> pd.DataFrame:
        """A copy of the table, one row per id: columns `COLUMNS`; lon, lat in degrees. Changing it changes no world.

        A region of the user's that has a name of ours is called `<name> (region)`.
        """
        return self._table.assign(region=self._region)

    @cached_property
    def _renamed(self) -> dict[str, str]:
        """Regions with a name of ours, and what they are shown as. The saved table keeps the user's own name."""
        names = set(self._table["region"])
        return {name: own_region_name(name, names) for name in sorted(names) if is_reserved(name)}

    @cached_property
    def _region(self) -> pd.Series:
        """The name of each city's region, as it is shown."""
        names = self._table["region"]
        shown = [self._renamed.get(name, name) for name in names.tolist()]
        return pd.Series(shown, names.index, dtype=names.dtype)

    @cached_property
    def lon(self) -> NDArray[np.float64]:
        """Longitudes in degrees, shape [len(self)], indexed by id; read-only."""
        return self._array("lon")

    @cached_property
    def lat(self) -> NDArray[np.float64]:
        """Latitudes in degrees, shape [len(self)], indexed by id; read-only."""
        return self._array("lat")

    @cached_property
    def is_virtual(self) -> NDArray[np.bool_]:
        """Shape [len(self)], indexed by id; read-only."""
        return self._array("is_virtual")

    def _array(self, column: str) -> NDArray:
        array = self._table[column].to_numpy(copy=True)
        array.flags.writeable = False
        return array

    def __len__(self) -> int:
        return len(self._table)

    @cached_property
    def n_virtual(self) -> int:
        return int(self.is_virtual.sum())

    @property
    def n_real(self) -> int:
        return len(self) - self.n_virtual

    @property
    def first_virtual(self) -> int:
        """The first virtual id; the number of cities in a world that has none."""
        return self.n_real

    @cached_property
    def regions(self) -> tuple[str, ...]:
        """Names of the regions that have cities: real ones in the order of `REGIONS`, then virtual ones."""
        virtual = [region.name for region in self.virtual_regions]
        present = set(self._region) - set(virtual)
        names = sorted(present - {*REGIONS, OTHER})
        return (*(name for name in (*REGIONS, *names, OTHER) if name in present), *virtual)

    def ids_of(self, region: str) -> NDArray[np.int64]:
        """Ids of a region's cities, ascending. Raises UserError for a name that the world does not have."""
        if region not in self.regions:
            raise UserError(f"no region {region!r} in this world; it has: {', '.join(self.regions)}")
        return self._ids_by_region[region].copy()

    @cached_property
    def _ids_by_region(self) -> dict[str, NDArray[np.int64]]:
        names = self._region.to_numpy(dtype=object)
        return {region: np.flatnonzero(names == region) for region in self.regions}

    def find(self, name: str) -> NDArray[np.int64]:
        """Ids of all cities of this name, the most populous first; capitals and spaces around it make no difference.

        Raises UserError, with the nearest name, if there is none.
        """
        names = self._table["name"].astype(str)
        folded, wanted = names.str.strip().str.casefold().to_numpy(), name.strip().casefold()
        ids = np.flatnonzero(folded == wanted)
        if not len(ids):
            close = difflib.get_close_matches(wanted, folded.tolist(), n=1)
            nearest = f"; did you mean {names[int(np.flatnonzero(folded == close[0])[0])]}?" if close else ""
            raise UserError(f"{name}: no city of this name in this world{nearest}")
        populations = self._table["population"].to_numpy()[ids]
        return ids[np.argsort(-populations, kind="stable")]

    def distance_km(self, i: ArrayLike, j: ArrayLike) -> NDArray[np.int32]:
        """Great-circle distances between cities in whole km; `i` and `j` are ids that broadcast.

        Raises IndexError for an id outside 0..len(self)-1.
        """
        i, j = np.asarray(i), np.asarray(j)
        for ids in (i, j):
            if ids.size and not 0 <= ids.min() <= ids.max() < len(self):
                raise IndexError(f"city ids must be 0 to {len(self) - 1}; got {ids.min()} to {ids.max()}")
        return np.rint(haversine_km(self.lon[i], self.lat[i], self.lon[j], self.lat[j])).astype(np.int32)

    @cached_property
    def csv_bytes(self) -> bytes:
        """The table as canonical CSV: UTF-8, `\\n`, 5 decimals; the same world gives the same bytes anywhere."""
        return canonical_csv(self._table)

    @cached_property
    def digest(self) -> str:
        """12 hexadecimal digits of the SHA-256 of `csv_bytes`."""
        return table_digest(self.csv_bytes)

    @cached_property
    def real_cities_digest(self) -> str:
        """12 hexadecimal digits of the ids and places of the real cities: equal where ids mean the same places."""
        places = np.stack([self.lon[: self.n_real], self.lat[: self.n_real]])
        return hashlib.sha256(np.round(places * 1e5).astype("<i8").tobytes()).hexdigest()[:12]

    def extends(self, other: World) -> bool:
        """Whether this world begins with all of `other`: the same cities under the same ids, and perhaps more."""
        return self.csv_bytes.startswith(other.csv_bytes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, World) and self.digest == other.digest

    def __hash__(self) -> int:
        return int(self.digest, 16)

    def __repr__(self) -> str:
        virtual = ", ".join(f"{region.name} {region.count:,}" for region in self.virtual_regions) or "none"
        return f"World({self.n_real:,} real cities, virtual: {virtual}, seed {self.seed}, digest {self.digest})"


def _check_regions(real: pd.DataFrame, regions: Sequence[VirtualRegion]) -> None:
    """UserError if a region cannot be told from another, or from the real world."""
    names = {name.casefold() for name in (*REGIONS, OTHER, *real["region"].unique())}
    codes = {code.casefold() for code in (*region_of_country, *real["country"].unique())}
    cities = set(real["name"].tolist())
    for region in regions:
        if is_reserved(region.name):
            raise UserError(f"virtual region {region.name!r}: this is a name of ours, for a group; choose another one")
        if region.name.casefold() in names:
            raise UserError(f"virtual region {region.name!r}: another region has this name already; choose a new one")
        if region.code.casefold() in codes:
            raise UserError(
                f"virtual region {region.name!r}: code {region.code!r} belongs to another region or country; "
                "choose a new one, like XX1"
            )
        taken = sorted(cities.intersection(region.city_names()))
        if taken:
            raise UserError(f"virtual region {region.name!r}: there is a city {taken[0]!r} already; rename the region")
        names.add(region.name.casefold())
        codes.add(region.code.casefold())
        cities.update(region.city_names())
