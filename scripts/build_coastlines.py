"""Build the outlines of land that the package draws on its maps, from Natural Earth through `world-atlas`.

    npm pack world-atlas@2.0.2 && tar xzf world-atlas-2.0.2.tgz package
    python scripts/build_coastlines.py package/land-110m.json    # rewrites src/atlantis/world/coastlines.json
    python scripts/build_coastlines.py package/land-50m.json     # and coastlines_fine.json, for a map that is zoomed

Natural Earth is in the public domain; `world-atlas` packs its land as TopoJSON: arcs of quantised,
delta-coded points, which rings share by index (`~i` is arc i walked backwards), and its rings run across the 180th
meridian. Here they become plain rings of [lon, lat, lon, lat, ...], each closed and cut there, so that they can be
filled on a flat map, rounded to 2 decimals (about 1 km). Of the finer one no point is kept that lies within
`TOLERANCE` of the line without it, and no island smaller than `SMALLEST`. The same source gives the same bytes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

WORLD = Path(__file__).parents[1] / "src" / "atlantis" / "world"
FINE = "50m"
TOLERANCE, SMALLEST = 0.04, 0.2
"""Of the finer outlines, in degrees."""


def decode_arcs(topology: dict[str, Any]) -> list[np.ndarray]:
    """Every arc as degrees [n, 2]: running sums of the deltas, scaled and shifted (TopoJSON specification, 2.1.3)."""
    scale, translate = np.array(topology["transform"]["scale"]), np.array(topology["transform"]["translate"])
    return [np.cumsum(np.array(arc), axis=0) * scale + translate for arc in topology["arcs"]]


def join_ring(indices: list[int], arcs: list[np.ndarray]) -> np.ndarray:
    """One closed ring [n, 2]; neighbouring arcs share their end point, which is kept once."""
    parts = [arcs[i] if i >= 0 else arcs[~i][::-1] for i in indices]
    return np.concatenate([parts[0], *(part[1:] for part in parts[1:])])


def unrolled(ring: np.ndarray) -> np.ndarray:
    """The ring with its longitudes made continuous; one that winds around a pole is closed along it."""
    lon = np.unwrap(ring[:, 0], period=360.0)
    unrolled_ring = np.column_stack([lon, ring[:, 1]])
    if abs(lon[-1] - lon[0]) > 180.0:
        pole = np.copysign(90.0, ring[:, 1].mean())
        corners = np.array([[lon[-1], pole], [lon[0], pole], [lon[0], ring[0, 1]]])
        unrolled_ring = np.concatenate([unrolled_ring, corners])
    return unrolled_ring


def clip(ring: np.ndarray, lon: float, keep_east: bool) -> np.ndarray:
    """The part of a closed ring on one side of a meridian, closed again; may be empty (Sutherland, Hodgman 1974)."""
    inside = ring[:, 0] >= lon if keep_east else ring[:, 0] <= lon
    points: list[np.ndarray] = []
    for k in range(len(ring) - 1):
        if inside[k]:
            points.append(ring[k])
        if inside[k] != inside[k + 1]:
            share = (lon - ring[k, 0]) / (ring[k + 1, 0] - ring[k, 0])
            points.append(np.array([lon, ring[k, 1] + share * (ring[k + 1, 1] - ring[k, 1])]))
    return np.array([*points, points[0]]) if points else np.empty((0, 2))


def cut_at_seam(ring: np.ndarray) -> list[np.ndarray]:
    """The ring's pieces in each turn of the globe, moved back to longitudes in [-180, 180]."""
    ring = unrolled(ring)
    first, last = (int(np.floor((edge + 180.0) / 360.0)) for edge in (ring[:, 0].min(), ring[:, 0].max()))
    pieces = []
    for turn in range(first, last + 1):
        west = -180.0 + 360.0 * turn
        piece = clip(clip(ring, west, keep_east=True), west + 360.0, keep_east=False)
        pieces.append(piece - [360.0 * turn, 0.0])
    return pieces


def simplified(ring: np.ndarray) -> np.ndarray:
    """Rounded to 2 decimals, without the points that this makes repeat."""
    ring = np.round(ring, 2)
    moved = np.any(np.diff(ring, axis=0) != 0, axis=1)
    return ring[np.concatenate([[True], moved])] if len(ring) else ring


def thinned(ring: np.ndarray, tolerance: float) -> np.ndarray:
    """The ring without the points that lie within `tolerance` of the line without them (Douglas and Peucker, 1973)."""
    keep = np.zeros(len(ring), bool)
    keep[[0, -1]] = True
    stretches = [(0, len(ring) - 1)]
    while stretches:
        first, last = stretches.pop()
        if last - first < 2:
            continue
        way, inner = ring[last] - ring[first], ring[first + 1 : last] - ring[first]
        length = float(np.hypot(*way))
        away = np.abs(way[0] * inner[:, 1] - way[1] * inner[:, 0]) / length if length else np.hypot(*inner.T)
        if away.max() > tolerance:
            farthest = first + 1 + int(away.argmax())
            keep[farthest] = True
            stretches += [(first, farthest), (farthest, last)]
    return ring[keep]


def finer(found: list[np.ndarray]) -> list[np.ndarray]:
    """The rings of the finer outlines: thinned, without small islands and lakes."""
    large = [ring for ring in found if np.ptp(ring, axis=0).max() > SMALLEST]
    return [ring for ring in (thinned(ring, TOLERANCE) for ring in large) if len(ring) > 3]


def rings(topology: dict[str, Any]) -> list[np.ndarray]:
    """All rings of the land, lakes' included, that rounding leaves an area."""
    arcs = decode_arcs(topology)
    found = []
    for geometry in topology["objects"]["land"]["geometries"]:
        polygons = geometry["arcs"] if geometry["type"] == "MultiPolygon" else [geometry["arcs"]]
        for polygon in polygons:
            for indices in polygon:
                found += map(simplified, cut_at_seam(join_ring(indices, arcs)))
    return [ring for ring in found if len(ring) > 3]


def compact(number: float) -> int | float:
    """12.0 as 12, -0.0 as 0, so that the file stays small."""
    return int(number) if float(number).is_integer() else float(number)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="land-110m.json or land-50m.json of world-atlas")
    parser.add_argument("--out", type=Path, help="where to write the rings; by default in the package")
    arguments = parser.parse_args()
    is_fine = FINE in arguments.source.name
    arguments.out = arguments.out or WORLD / ("coastlines_fine.json" if is_fine else "coastlines.json")
    found = rings(json.loads(arguments.source.read_text(encoding="utf-8")))
    found = finer(found) if is_fine else found
    table = {
        "source": f"Natural Earth 1:{FINE if is_fine else '110m'} land (public domain), through world-atlas 2.0.2",
        "rings": [[compact(number) for number in ring.ravel()] for ring in found],
    }
    arguments.out.write_text(json.dumps(table, separators=(",", ":")) + "\n", encoding="utf-8")
    print(f"{arguments.out}: {len(found)} rings, {sum(map(len, found)):,} points")


if __name__ == "__main__":
    main()
