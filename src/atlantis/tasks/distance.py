"""The distance task: how many kilometres lie between two cities?"""

from __future__ import annotations

from atlantis.sphere import HALF_CIRCUMFERENCE_KM
from atlantis.tasks.form import Form, Ints
from atlantis.tasks.task import Places, Task


class Distance(Task):
    """Great-circle kilometres on a sphere of radius 6371 km, rounded.

    <bos>dist(c_12,c_5101)=4821<eos>
    ------- prompt --------====-----  completion

    An unreadable answer counts with half the Earth's circumference: nothing on Earth is farther away.
    """

    name = "distance"
    form = Form("dist({city},{city})={int:5}")
    unit = "km"
    penalty = HALF_CIRCUMFERENCE_KM
    symmetric = True

    def answer(self, places: Places, cities: Ints) -> Ints:
        return places.distance_km(cities[:, 0], cities[:, 1])


DISTANCE = Distance()
