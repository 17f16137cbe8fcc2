"""The region of a place whose country is not known: that of the nearest shipped city, if one is near."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from atlantis.sphere import EARTH_RADIUS_KM, unit_vectors
from atlantis.world.regions import OTHER, region_of_country

NEAR_KM = 500.0


def nearest_regions(lon: NDArray[np.float64], lat: NDArray[np.float64], cities: pd.DataFrame) -> NDArray[np.object_]:
    """The region of the nearest of `cities` (lon, lat, country) within 500 km, else `OTHER`; degrees, shape (n,)."""
    nearest = _nearest(lon, lat, cities)
    region = np.array([region_of_country.get(code, OTHER) for code in nearest["country"]], dtype=object)
    near = nearest["chord"].to_numpy() <= 2.0 * np.sin(NEAR_KM / (2.0 * EARTH_RADIUS_KM))
    return np.where(near, region, OTHER)


def exchanged(lon: NDArray[np.float64], lat: NDArray[np.float64], country: list[str], cities: pd.DataFrame) -> bool:
    """Whether most places are nearest to a city of their own country only with latitude and longitude exchanged.

    Judged where both ways are possible and the country is known, from four such places on.
    Fewer than ten must all agree.
    """
    is_code = np.array([code in region_of_country for code in country])
    judged = np.flatnonzero((np.abs(lon) <= 90.0) & is_code)[:2000]
    if len(judged) < 4:
        return False
    codes = np.array(country, dtype=object)[judged]
    as_given, the_other_way = (
        np.mean(_nearest(x[judged], y[judged], cities)["country"].to_numpy() == codes)
        for x, y in ((lon, lat), (lat, lon))
    )
    if len(judged) < 10:
        return bool(the_other_way == 1 and as_given == 0)
    return bool(the_other_way > 0.5 > 0.2 > as_given)


def _nearest(lon: NDArray[np.float64], lat: NDArray[np.float64], cities: pd.DataFrame) -> pd.DataFrame:
    """The nearest of `cities` to each place, with its `chord` on the unit sphere."""
    from scipy.spatial import KDTree

    tree = KDTree(unit_vectors(cities["lon"].to_numpy(), cities["lat"].to_numpy()))
    chord, index = tree.query(unit_vectors(lon, lat))
    return cities.iloc[index].assign(chord=chord)
