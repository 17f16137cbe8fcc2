"""What a task is: how cities are asked about, what the answer is, and how wrong another one is.

    class Compass(Task):
        \"\"\"In which of four directions does the second city lie, seen from the first?

        <bos>compass(c_12,c_5101)=n<eos>
        \"\"\"
        name, unit, penalty = "compass", "sectors", 2.0
        form = Form("compass({city},{city})={word:n|e|s|w}")

        def answer(self, places, cities):    # cities (n, 2) -> (n,): places in the list of words
            ...

One task, one file. A user's own is named `my_module:Compass` in a config.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from atlantis.tasks.form import Form, Ints


class Places(Protocol):
    """Where cities lie, by id; every `World` is one."""

    @cached_property
    def lon(self) -> NDArray[np.float64]: ...
    @cached_property
    def lat(self) -> NDArray[np.float64]: ...
    @cached_property
    def is_virtual(self) -> NDArray[np.bool_]: ...
    def distance_km(self, i: ArrayLike, j: ArrayLike) -> NDArray[np.int32]: ...


class Seats(Protocol):
    """The cities that a dataset's part allows, as `Task.draw` gets them."""

    @property
    def world(self) -> Places: ...

    def take(self, n: int, keep: Callable[[Ints], NDArray[np.bool_]] | None = None) -> Ints: ...


class Task:
    """A question about cities. `name`, `form`, `unit`, `penalty` and `answer` are needed; the rest has defaults."""

    name: ClassVar[str]
    form: ClassVar[Form]
    unit: ClassVar[str]
    """Of `error`."""
    penalty: ClassVar[float]
    """The error that an answer counts with when it cannot be read."""
    symmetric: ClassVar[bool] = False
    """Whether the same cities in another order are the same question."""
    balanced: ClassVar[bool] = False
    """Whether each word is the answer to as many questions as any other, in every split. For forms with words."""

    def answer(self, places: Places, cities: Ints) -> Ints:
        """The answers (n,) to questions about cities (n, k): whole numbers; of words, their places in the form's list.

        All rows of a call have the same number of cities, and no seat is empty.
        """
        raise NotImplementedError

    def error(self, predicted: Ints, true: Ints) -> NDArray[np.float64]:
        """How wrong readable answers (n,) are, in `unit`."""
        return np.abs(np.asarray(predicted, np.float64) - np.asarray(true, np.float64))

    def scores(self, predicted: Ints, true: Ints) -> Mapping[str, float]:
        """Scores of the task's own, by name and without a unit: of answers (n,), -1 where one cannot be read.

        Asked for each slice and for all; one that too few answers have may be NaN.
        """
        return {}

    def canonical(self, cities: Ints) -> Ints:
        """Each row's cities (n, k), reordered so that rows which ask the same thing become equal.

        Of an angle at the second city, both c_1, c_2, c_3 and c_3, c_2, c_1 become c_1, c_2, c_3. Unless written, rows
        stay as they are, or are sorted where the task is `symmetric`. All rows of a call have k cities.
        """
        return np.sort(cities, axis=1) if self.symmetric else cities

    def draw(self, seats: Seats, n: int) -> Ints:
        """The cities (n, k) of n different questions; `seats.take(n, keep)` takes those that `keep` is true for.

        Splits are cut from them in order, the held-out ones first: any beginning must be like the whole. So questions
        of several calls of `take` are to be mixed, each with the same shares of them as before. A larger n should begin
        with a smaller one.
        """
        return seats.take(n)
