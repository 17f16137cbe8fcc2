"""Islands are what they claim to be, and new cities that lie on the map are told from those that do not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from atlantis.readout.compared import REGION_CELLS
from atlantis.readout.integration import (
    Island,
    constellation_disparity,
    find_islands,
    mean_gap_km,
    mean_of_islands,
    place_unseen,
    ratio,
)
from atlantis.readout.skill import Estimate
from atlantis.scales import LOG
from atlantis.sphere import haversine_km, unit_vectors
from atlantis.statistics import cells_of, mean_over_cities
from atlantis.world import World


@pytest.fixture(scope="module")
def world() -> World:
    return World.build()


@pytest.fixture(scope="module")
def islands(world: World) -> list[Island]:
    return find_islands(*places(world, False), places(world, True), (-35.0, 35.0))


def places(world: World, virtual: bool) -> tuple[np.ndarray, np.ndarray]:
    return world.lon[world.is_virtual == virtual], world.lat[world.is_virtual == virtual]


def test_islands_are_matched_to_atlantis(world: World, islands: list[Island]) -> None:
    lon, lat = places(world, False)
    gap = mean_gap_km(*places(world, True), lon, lat)
    spread = haversine_km(-35.0, 35.0, *places(world, True)).mean()
    assert len(islands) == 12
    for island in islands:
        assert len(set(island.cities)) == world.n_virtual
        assert set(island.cities) <= set(island.left_out) and len(island.left_out) <= world.n_real / 2
        assert island.mismatch <= 0.1
        rest = np.delete(np.arange(len(lon)), island.left_out)
        assert mean_gap_km(lon[island.cities], lat[island.cities], lon[rest], lat[rest]) == pytest.approx(island.gap_km)
        assert island.gap_km == pytest.approx(gap, rel=0.1)
        nearest = min(
            haversine_km(lon[i], lat[i], lon[island.cities], lat[island.cities]).mean() for i in island.cities
        )
        assert nearest < 1.15 * spread
    everyone = np.concatenate([island.cities for island in islands])
    assert len(set(everyone)) == len(everyone), "no two islands share a city"


def test_a_world_too_small_has_no_islands(world: World) -> None:
    lon, lat = (x[:50] for x in places(world, False))
    assert find_islands(lon, lat, places(world, True), (-35.0, 35.0)) == []


def test_on_the_map_or_off_it(world: World, islands: list[Island]) -> None:
    """Features are the map itself: virtual cities at their places read a ratio about 1, elsewhere a large one."""
    rng = np.random.default_rng(0)
    vectors = unit_vectors(world.lon, world.lat)
    x = np.hstack([vectors, rng.normal(size=(len(world), 5))]) + rng.normal(size=(len(world), 8)) * 0.05
    real, virtual = x[: world.first_virtual], x[world.first_virtual :]
    y, true = vectors[: world.first_virtual], vectors[world.first_virtual :]

    def km(virtual: np.ndarray) -> tuple[Estimate, Estimate]:
        placed = place_unseen(real, y, *places(world, False), virtual, islands)
        cosine = (placed.virtual * true).sum(1) / np.linalg.norm(placed.virtual, axis=1)
        km, cell = 6371 * np.arccos(cosine.clip(-1, 1)), cells_of(*places(world, True), REGION_CELLS)
        around = mean_over_cities(km, LOG, cell)
        return Estimate(float(km.mean()), around.low, around.high, len(km)), mean_of_islands(placed.island_km)

    on_it = ratio(*km(virtual))
    assert 0.8 < on_it.value < 1.25 and on_it.low < on_it.value < on_it.high and on_it.n == 12
    assert ratio(*km(virtual[rng.permutation(100)] * [-1, 1, 1, 1, 1, 1, 1, 1])).value > 5


def test_islands_are_really_left_out(world: World, islands: list[Island]) -> None:
    """A feature that marks an island's cities and their void alone, and says there where they are, is of no use."""
    lon, lat = places(world, False)
    y = unit_vectors(lon, lat)
    island = islands[0]
    x = np.random.default_rng(1).normal(size=(len(y), 6))
    x[island.left_out, :3] = 100 * y[island.left_out]
    placed = place_unseen(x, y, lon, lat, x[:1], [island])
    assert placed.island_km[0] > 3_000
    told = place_unseen(x, y, lon, lat, x[:1], [island._replace(left_out=island.left_out[:2])])
    assert told.island_km[0] < 1_000


@pytest.mark.filterwarnings("error")
def test_a_ratio_has_the_errors_of_both() -> None:
    """On the log scale, where two standard errors of 3 and 4 are one of 5."""
    region, islands = Estimate(900.0, 900 / 1.2, 900 * 1.2, 100), Estimate(300.0, 300 / 1.5, 300 * 1.5, 12)
    found = ratio(region, islands)
    both = math.exp(math.hypot(math.log(1.2), math.log(1.5)))
    assert found == pytest.approx((3.0, 3.0 / both, 3.0 * both, 12))
    skewed = ratio(region._replace(high=900 * 1.2), islands._replace(low=300 / 3))
    assert skewed.low == pytest.approx(found.low) and skewed.high > found.high
    for one, other in ((Estimate(900.0), islands), (region, mean_of_islands(np.array([300.0])))):
        none = ratio(one, other)
        assert none.value == 3 and math.isnan(none.low) and math.isnan(none.high)


def test_the_islands_interval_covers_and_keeps_its_bounds() -> None:
    """Errors of islands are skewed: log-normal, with the deviation that the demo's twelve have."""
    rng, spread = np.random.default_rng(5), 0.7
    drawn = [mean_of_islands(np.exp(rng.normal(size=12) * spread)) for _ in range(2_000)]
    assert 0.92 < np.mean([one.low < math.exp(spread**2 / 2) < one.high for one in drawn]) < 0.97
    assert all(0 < one.low < one.value < one.high for one in drawn)
    for none in ([0.0, 500.0, 700.0], [300.0, 500.0], [400.0] * 5):
        assert math.isnan(mean_of_islands(np.array(none)).low)


def test_a_constellation_keeps_its_shape_when_it_moves(world: World) -> None:
    true = unit_vectors(*places(world, True))
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    assert constellation_disparity(true, 7 * true @ turn) == pytest.approx(0, abs=1e-9)
    shuffled = true[np.random.default_rng(3).permutation(100)]
    assert constellation_disparity(true, shuffled) > 0.9
    assert math.isnan(constellation_disparity(true[:2], true[:2]))
    assert math.isnan(constellation_disparity(true, np.ones((100, 3))))
