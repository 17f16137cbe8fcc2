"""`atlantis world build`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atlantis.cli.folders import at_home
from atlantis.cli.output import show_folder
from atlantis.errors import UserError

if TYPE_CHECKING:
    from atlantis.settings import VirtualRegionConfig

_SETTINGS: dict[str, Any] = {"rich_markup_mode": None}
app = typer.Typer(
    name="world",
    help="Build a world: real cities and the virtual regions after them.",
    no_args_is_help=True,
    add_completion=False,
    **_SETTINGS,
)


@app.callback()
def _world() -> None:
    """Makes `build` a command of a group, though it is the only one."""


@app.command("build")
def world_build(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder to make.", callback=at_home)],
    config: Annotated[
        str | None,
        typer.Argument(metavar="CONFIG", help="Take the world of this config (a file, or a name in configs/)."),
    ] = None,
    cities: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Your own file of cities, for the 5,075 shipped ones.", callback=at_home),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Of the shuffle that gives real cities their ids.  [default: 42]"),
    ] = None,
    region: Annotated[
        list[str] | None, typer.Option(metavar="SPEC", help="A virtual region, for Atlantis; repeat for more.")
    ] = None,
    real_only: Annotated[bool, typer.Option("--real-only", help="No virtual region at all.")] = False,
) -> None:
    """Build a world and save it.

    Writes into --out: cities.csv (id, name, lon, lat, country, region, population, is_virtual), world.json, a map
    (map.png) and a card (README.md). The same request gives the same bytes.

    A file of your own needs a name and a place for every city, and may have countries and populations. It may be CSV
    with any usual separator and encoding, GeoJSON or other JSON, or Parquet, and packed as .gz or .zip. The files of
    GeoNames, SimpleMaps, Natural Earth, Wikidata, OpenStreetMap, MaxMind and Berkeley Earth are read as they are. One
    line on standard error says which columns were taken for what, and which were not used. docs/cities.md lists all
    known files.

    A region's SPEC is NAME:CODE:LON:LAT:SPREAD_KM:COUNT, with a seed after one more colon if you like, or the name of
    a ready-made one: atlantic (Atlantis, the default), north_pacific, south_pacific, indian, southern.

    \b
    Examples:
      atlantis world build --out outputs/worlds/default
      atlantis world build --cities my_cities.csv --out outputs/worlds/mine
      atlantis world build --cities cities15000.zip --out outputs/worlds/geonames
      atlantis world build --region atlantic --region Lemuria:XX1:75:-20:400:50 --out outputs/worlds/two
    """
    from atlantis.artifacts import clear_leftovers, is_complete, verify
    from atlantis.config import checked, find, load
    from atlantis.settings import RunConfig, WorldConfig
    from atlantis.world import World

    settings = (load(find(config), own_code=False) if config else RunConfig()).world.model_dump()
    if region and real_only:
        raise UserError("--region and --real-only: give one or the other")
    if region or real_only:
        settings["regions"] = [_region(spec).model_dump() for spec in region or []]
    settings |= {key: value for key, value in (("cities", cities and str(cities)), ("seed", seed)) if value is not None}
    world = World.from_config(checked(WorldConfig, settings))
    clear_leftovers(out.parent, out.name)
    if is_complete(out, world.digest):
        verify(out)
        print(f"{out}: this world is already there; nothing to do")
    else:
        try:
            world.save(out)
        except UserError:
            if not is_complete(out, world.digest):  # else another process has just made the same
                raise
    show_folder(out)


def _region(spec: str) -> VirtualRegionConfig:
    """A virtual region from `NAME:CODE:LON:LAT:SPREAD_KM:COUNT[:SEED]` or the name of a ready-made one."""
    from dataclasses import asdict

    from atlantis.settings import VirtualRegionConfig
    from atlantis.world import OCEANS

    if spec in OCEANS:
        return VirtualRegionConfig(**asdict(OCEANS[spec]))
    from atlantis.config import checked
    from atlantis.yaml12 import scalar

    keys = ("name", "code", "lon", "lat", "spread_km", "count", "seed")
    parts = spec.split(":")
    if len(parts) not in (len(keys) - 1, len(keys)):
        raise UserError(
            f"--region {spec}: write NAME:CODE:LON:LAT:SPREAD_KM:COUNT, such as Lemuria:XX1:75:-20:400:50, "
            f"or one of {', '.join(OCEANS)}"
        )
    values = {key: text if key in ("name", "code") else scalar(text) for key, text in zip(keys, parts, strict=False)}
    return checked(VirtualRegionConfig, values, f"--region {spec}")
