"""Virtual regions: cities that never existed, at places where there are none.

A region has its own seed. Its random stream comes from the text `seed:code` through SHA-256, so two regions
that share a seed do not share a pattern, and no process-dependent hash takes part. The numbers are raw outputs of
PCG64, whose stream NumPy keeps fixed between versions. City k takes the k-th pair of them: a larger `count`
adds cities and leaves the first ones where they are.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from atlantis.errors import UserError
from atlantis.sphere import destination, wrap_longitude

Kind = Literal["gaussian", "flat", "scattered"]
DECIMALS = 5
"""Of a position in degrees, here and in every table: about one metre."""


@dataclass(frozen=True)
class VirtualRegion:
    """A named cloud of virtual cities `<name>_001`, `<name>_002`, ... with country code `code`.

    - `kind="gaussian"`: isotropic on the sphere around (lon, lat): bearing uniform, distance Rayleigh with
      `spread_km`, which is a normal distribution with that standard deviation along each of two axes.
    - `kind="flat"`: independent normal longitude and latitude, both with `spread_degrees`; over a pole and on.
    - `kind="scattered"`: uniform over the whole sphere; centre and spread play no part.

    Raises UserError for a value that makes no sense.
    """

    name: str = "Atlantis"
    code: str = "XX0"
    kind: Kind = "gaussian"
    lon: float = -35.0
    lat: float = 35.0
    spread_km: float = 500.0
    spread_degrees: float = 3.0
    count: int = 100
    seed: int = 42

    def __post_init__(self) -> None:
        for field, text in (("name", self.name), ("code", self.code)):
            if not isinstance(text, str) or text != text.strip() or not text.isprintable() or not text:
                raise UserError(f"virtual region {self.name!r}: {field} must be plain text, not {text!r}")
        if self.kind not in get_args(Kind):
            raise self._error("kind", f"must be one of {', '.join(get_args(Kind))}")
        for field in ("count", "seed"):
            self._make_plain(field, int, Integral, "a whole number")
        for field in ("lon", "lat", "spread_km", "spread_degrees"):
            self._make_plain(field, float, Real, "a number")
        if self.count < 1:
            raise self._error("count", "must be at least 1")
        if not -180.0 <= self.lon <= 180.0:
            raise self._error("lon", "must lie between -180 and 180 degrees")
        if not -90.0 <= self.lat <= 90.0:
            raise self._error("lat", "must lie between -90 and 90 degrees")
        if self.kind == "gaussian" and not 0.0 < self.spread_km < np.inf:
            raise self._error("spread_km", "must be more than 0 km")
        if self.kind == "flat" and not 0.0 < self.spread_degrees < np.inf:
            raise self._error("spread_degrees", "must be more than 0 degrees")

    def _make_plain(self, field: str, plain: type, accepted: type, rule: str) -> None:
        """The value as a Python int or float, so that equal regions are written alike."""
        value = getattr(self, field)
        if isinstance(value, bool) or not isinstance(value, accepted):
            raise self._error(field, f"must be {rule}")
        object.__setattr__(self, field, plain(value))

    def _error(self, field: str, rule: str) -> UserError:
        return UserError(f"virtual region {self.name!r}: {field} {rule}, not {getattr(self, field)!r}")

    def city_names(self) -> list[str]:
        """The `count` names, numbered from 001."""
        return [f"{self.name}_{k:03d}" for k in range(1, self.count + 1)]

    def sample(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Positions of the cities: (lon, lat) in degrees, shape [count] each, rounded to 5 decimals."""
        u, v = self._uniforms()
        radius = np.sqrt(-2.0 * np.log1p(-u))  # Rayleigh with scale 1; 1 - u is never 0
        if self.kind == "gaussian":
            lon, lat = destination(self.lon, self.lat, 360.0 * v, self.spread_km * radius)
        elif self.kind == "flat":
            # Box and Muller, Annals of Mathematical Statistics 29, 1958
            step = self.spread_degrees * radius
            lon, lat = _over_the_poles(self.lon + step * np.cos(2 * np.pi * v), self.lat + step * np.sin(2 * np.pi * v))
        else:
            lon, lat = 360.0 * v - 180.0, np.degrees(np.arcsin(2.0 * u - 1.0))
        return rounded(lon), rounded(lat)

    def _uniforms(self) -> NDArray[np.float64]:
        """Shape [2, count], in [0, 1)."""
        stream = int.from_bytes(hashlib.sha256(f"{self.seed}:{self.code}".encode()).digest(), "big")
        raw = np.random.PCG64(stream).random_raw(2 * self.count)
        # The top 53 bits, as many as a float's fraction has: every value is exact, and none is 1.
        return ((raw >> np.uint64(11)).astype(np.float64) * 2.0**-53).reshape(self.count, 2).T


def rounded(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """To 5 decimals, the nearest float to each decimal number, so that text and back changes nothing; never -0.0."""
    return np.round(degrees, DECIMALS) + 0.0


def _over_the_poles(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> tuple[NDArray, NDArray]:
    """A latitude beyond a pole comes down on the other side of it, on the opposite meridian."""
    from_south_pole = (lat + 90.0) % 360.0
    beyond = from_south_pole > 180.0
    lat = np.where(beyond, 360.0 - from_south_pole, from_south_pole) - 90.0
    return wrap_longitude(lon + 180.0 * beyond), lat


OCEANS: dict[str, VirtualRegion] = {
    "atlantic": VirtualRegion(),
    "north_pacific": VirtualRegion(name="Mu", code="XX1", lon=-150.0, lat=38.0),
    "south_pacific": VirtualRegion(name="Hiva", code="XX2", lon=-125.0, lat=-28.0),
    "indian": VirtualRegion(name="Lemuria", code="XX3", lon=80.0, lat=-25.0),
    "southern": VirtualRegion(name="Australis", code="XX4", lon=-110.0, lat=-58.0),
}
"""One region for each ocean, centred in open water and far enough from the others not to mix with them."""
