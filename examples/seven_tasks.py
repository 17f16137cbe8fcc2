"""The seven tasks of Park (2026, arXiv 2602.00533): seven questions about the same cities, on a plane.

A task is a template and an answer. These are not part of the package. Name one in a config, and run it from the folder
that holds `examples/`:

    dataset:
      parts:
        - {task: examples.seven_tasks:Angle, cities: world, n_train: 100000}

    atlantis train examples/seven_tasks.yaml

The plane has ten units to a degree, x to the east and y to the north, and no wrap-around. City ids have four digits.
As a script it prints questions of each task about Atlantis.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from atlantis import World
from atlantis.tasks import Form, Questions, Task
from atlantis.tasks.form import Ints
from atlantis.tasks.task import Places

WIDTH, HEIGHT = 3600, 1800


def xy(places: Places, cities: Ints) -> NDArray[np.int64]:
    """Where cities lie on the plane: ids (...) to whole units (..., 2)."""
    degrees = np.stack([places.lon[cities], places.lat[cities]], axis=-1)
    return np.rint(10 * degrees).astype(np.int64)


def cross(u: NDArray[np.int64], v: NDArray[np.int64]) -> NDArray[np.int64]:
    """u x v of vectors (..., 2): above 0 where v points to the left of u."""
    return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]


def whole(numbers: NDArray[np.float64]) -> Ints:
    """Rounded, halves to even."""
    return np.rint(numbers).astype(np.int64)


class PlaneTask(Task):
    """Scores the share of exact answers, beside what every task has."""

    def scores(self, predicted: Ints, true: Ints) -> dict[str, float]:
        return {"exact": float((predicted == true).mean())}


class WordTask(PlaneTask):
    """An answer is right or wrong."""

    unit, penalty = "wrong answers", 1.0

    def error(self, predicted: Ints, true: Ints) -> NDArray[np.float64]:
        return (predicted != true).astype(float)


class Distance(PlaneTask):
    """How far apart are two cities, in a straight line?

    dist(c_0042,c_1250)=767
    """

    name, unit, penalty, symmetric = "plane_distance", "units", float(np.hypot(WIDTH, HEIGHT)), True
    form = Form("dist({city:04},{city:04})={int:4}")

    def answer(self, places: Places, cities: Ints) -> Ints:
        a, b = np.moveaxis(xy(places, cities), 1, 0)
        return whole(np.hypot(*(b - a).T))


class TriangleArea(PlaneTask):
    """How large is the triangle of three cities?

    triarea(c_0042,c_3021,c_4865)=679027
    """

    name, unit, penalty, symmetric = "triangle_area", "square units", WIDTH * HEIGHT / 2, True
    form = Form("triarea({city:04},{city:04},{city:04})={int:7}")

    def answer(self, places: Places, cities: Ints) -> Ints:
        a, b, c = np.moveaxis(xy(places, cities), 1, 0)
        return whole(np.abs(cross(b - a, c - a)) / 2)


class Angle(PlaneTask):
    """What is the angle at the second city, in whole degrees? 0 where a leg has no length.

    angle(c_0042,c_1250,c_3021)=168
    """

    name, unit, penalty = "angle", "degrees", 180.0
    form = Form("angle({city:04},{city:04},{city:04})={int:3}")

    def answer(self, places: Places, cities: Ints) -> Ints:
        a, corner, b = np.moveaxis(xy(places, cities), 1, 0)
        u, v = a - corner, b - corner
        return whole(np.degrees(np.arctan2(np.abs(cross(u, v)), (u * v).sum(axis=1))))

    def canonical(self, cities: Ints) -> Ints:
        legs = np.sort(cities[:, [0, 2]], axis=1)
        return np.stack([legs[:, 0], cities[:, 1], legs[:, 1]], axis=1)


class Compass(WordTask):
    """In which of eight directions does the second city lie, seen from the first? N where both are in one place.

    compass(c_0042,c_7310)=SE
    """

    name = "compass"
    form = Form("compass({city:04},{city:04})={word:E|NE|N|NW|W|SW|S|SE}")

    def answer(self, places: Places, cities: Ints) -> Ints:
        a, b = np.moveaxis(xy(places, cities), 1, 0)
        dx, dy = (b - a).T
        sector = np.floor((np.degrees(np.arctan2(dy, dx)) % 360 + 22.5) / 45).astype(np.int64) % 8
        return np.where((dx == 0) & (dy == 0), 2, sector)


class Inside(WordTask):
    """Does the first city lie in the convex hull of the others, or on its border? FALSE where these lie on a line.

    inside(c_0007;c_0042,c_1250,c_4865)=TRUE
    """

    name, balanced = "inside", True
    form = Form("inside({city:04};{cities:3-5:04})={word:TRUE|FALSE}")

    def answer(self, places: Places, cities: Ints) -> Ints:
        point, *others = np.moveaxis(xy(places, cities), 1, 0)
        inside = np.zeros(len(cities), bool)
        for a, b, c in combinations(others, 3):  # a hull is the triangles of its points (Caratheodory, 1907)
            sides = np.stack([cross(b - a, point - a), cross(c - b, point - b), cross(a - c, point - c)])
            flat = cross(b - a, c - a) == 0
            inside |= ~flat & ((sides >= 0).all(axis=0) | (sides <= 0).all(axis=0))
        return np.where(inside, 0, 1)

    def canonical(self, cities: Ints) -> Ints:
        return np.concatenate([cities[:, :1], np.sort(cities[:, 1:], axis=1)], axis=1)


class Perimeter(PlaneTask):
    """How long is the way around the cities in this order? Of two, the way from one to the other.

    perimeter(c_0042,c_1250,c_3021,c_4865)=4798
    """

    name, unit, penalty = "perimeter", "units", 20_000.0
    form = Form("perimeter({cities:2-5:04})={int:5}")

    def answer(self, places: Places, cities: Ints) -> Ints:
        corners = xy(places, cities)
        sides = np.linalg.norm(np.roll(corners, -1, axis=1) - corners, axis=2)
        return whole(sides.sum(axis=1) / (2 if cities.shape[1] == 2 else 1))

    def canonical(self, cities: Ints) -> Ints:
        """From the smallest id on, in the direction of its smaller neighbour."""
        n = cities.shape[1]
        turned = np.take_along_axis(cities, (cities.argmin(axis=1)[:, None] + np.arange(n)) % n, axis=1)
        back = np.concatenate([turned[:, :1], turned[:, :0:-1]], axis=1)
        return np.where((turned[:, 1] <= turned[:, -1])[:, None], turned, back)


class Crossing(WordTask):
    """Do the segments of the first and the last two cities cross? A touch is none.

    cross(c_0042,c_7310;c_4865,c_1250)=TRUE
    """

    name, balanced = "crossing", True
    form = Form("cross({city:04},{city:04};{city:04},{city:04})={word:TRUE|FALSE}")

    def answer(self, places: Places, cities: Ints) -> Ints:
        a, b, c, d = np.moveaxis(xy(places, cities), 1, 0)
        apart = np.sign(cross(b - a, c - a)) * np.sign(cross(b - a, d - a)) < 0
        apart &= np.sign(cross(d - c, a - c)) * np.sign(cross(d - c, b - c)) < 0
        return np.where(apart, 0, 1)

    def canonical(self, cities: Ints) -> Ints:
        segments = np.sort(cities.reshape(-1, 2, 2), axis=2)
        first = segments[:, :, 0].argsort(axis=1)[:, :, None]
        return np.take_along_axis(segments, first, axis=1).reshape(-1, 4)


TASKS = (Distance, TriangleArea, Angle, Compass, Inside, Perimeter, Crossing)

if __name__ == "__main__":
    world = World.build()
    atlantis = world.ids_of("Atlantis")
    for kind in TASKS:
        task = kind()
        cities = np.arange(task.form.seats)[None] + atlantis[0]
        row = task.form.text_columns(cities, Questions.ask(task, world, cities).answer)
        print(f"{task.name:14} {row['text'][0]}   (cities of Atlantis)")
