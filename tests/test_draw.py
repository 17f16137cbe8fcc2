"""Sampling: exact unranking, no repeats, every subset as likely as another, a fair coin, and what is refused."""

import math
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlantis.data.draw import ENOUGH, Pool, Where, virtual_ids
from atlantis.data.streams import distinct, shuffled, streams, unrank_triangular
from atlantis.errors import UserError
from atlantis.names import SLICES
from atlantis.tasks import Form, Questions, Task, task_of
from atlantis.tasks.distance import DISTANCE
from atlantis.tasks.questions import question_keys
from atlantis.world import World
from tests.distances import distances, drawn


@dataclass(frozen=True)
class Line:
    """A world whose city k lies at kilometre k of a road."""

    n_real: int
    n_virtual: int

    @property
    def first_virtual(self):
        return self.n_real

    @property
    def is_virtual(self):
        return np.arange(self.n_real + self.n_virtual) >= self.n_real

    @property
    def lon(self):
        return np.arange(self.n_real + self.n_virtual, dtype=float)

    lat = lon

    def distance_km(self, i, j):
        return np.abs(i - j)


def rng(seed=0):
    return streams(seed, "test").which


# integers and pairs


def test_unranking_names_every_pair_once():
    i, j = unrank_triangular(np.arange(n_pairs(60)))
    assert sorted(zip(i.tolist(), j.tolist(), strict=True)) == list(combinations(range(60), 2))


@settings(max_examples=300)
@given(j=st.integers(1, 10**9), data=st.data())
def test_unranking_is_exact_where_floats_are_not(j, data):
    i = data.draw(st.one_of(st.sampled_from([0, j - 1]), st.integers(0, j - 1)))
    index = np.array([j * (j - 1) // 2 + i])
    assert [x.item() for x in unrank_triangular(index)] == [i, j]


@settings(max_examples=100)
@given(total=st.integers(0, 300), share=st.floats(0, 1), seed=st.integers(0, 2**32))
def test_distinct_integers_in_range(total, share, seed):
    n = int(share * total)
    found = distinct(rng(seed), total, n)
    assert len(found) == len(set(found.tolist())) == n
    assert n == 0 or (found.min() >= 0 and found.max() < total)


def test_a_larger_draw_begins_with_the_smaller():
    large = distinct(rng(), 10_000, 4_000)
    for n in (1, 10, 999):
        assert np.array_equal(distinct(rng(), 10_000, n), large[:n])


@pytest.mark.parametrize("n", [2, 4])  # both ways of drawing
def test_every_subset_and_order_is_as_likely(n):
    draws, total = 12_000, 5
    generator = rng(7)
    seen: dict[tuple[int, ...], int] = {}
    for _ in range(draws):
        key = tuple(distinct(generator, total, n).tolist())
        seen[key] = seen.get(key, 0) + 1
    cells = {2: 20, 4: 120}[n]
    expected = draws / cells
    chi2 = sum((count - expected) ** 2 / expected for count in seen.values()) + (cells - len(seen)) * expected
    assert chi2 < cells + 5 * np.sqrt(2 * cells)  # five standard deviations


def test_half_a_trillion_pairs_take_little_memory():
    import tracemalloc

    tracemalloc.start()
    found = distinct(rng(), n_pairs(1_000_000), 100_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * len(found)
    assert abs(found.mean() / n_pairs(1_000_000) - 0.5) < 5 * 0.2887 / np.sqrt(len(found))


def test_streams_differ_and_come_back():
    drawn = [shuffled(stream, 50).tolist() for s in (1, 2) for kind in ("a", "b") for stream in streams(s, kind)]
    assert len({tuple(order) for order in drawn}) == len(drawn) == 12
    assert drawn[:3] == [shuffled(stream, 50).tolist() for stream in streams(1, "a")]
    assert sorted(drawn[0]) == list(range(50))


def test_the_stream_never_changes():
    """Planted numbers: a dataset drawn years ago can be drawn again."""
    assert distinct(streams(42, "distance").which, 12_875_275, 4).tolist() == [2188733, 10589094, 4378872, 6124833]


# samplers


def n_pairs(n_cities: int) -> int:
    return math.comb(n_cities, 2)


def most_cross(world: Line, ratio: float) -> int:
    return Pool(DISTANCE, world, Where("touching"), inter_ratio=ratio).most  # type: ignore[arg-type]


def unordered(pairs: Questions):
    return {frozenset(pair) for pair in pairs.cities.tolist()}


@settings(max_examples=60)
@given(
    n_real=st.integers(2, 40),
    n_virtual=st.integers(2, 40),
    share=st.floats(0, 1),
    ratio=st.floats(0, 1),
    data=st.data(),
)
def test_samples_are_what_they_say(n_real, n_virtual, share, ratio, data):
    world, seed = Line(n_real, n_virtual), data.draw(st.integers(0, 1_000))
    n_cross = int(share * most_cross(Line(n_real, n_virtual), ratio))
    samples = {
        "distance": drawn(world, "world", int(share * n_pairs(n_real)), streams(seed, "distance")),
        "inter": drawn(world, "inside", int(share * n_pairs(n_virtual)), streams(seed, "inter")),
        "cross": drawn(world, "touching", n_cross, streams(seed, "cross"), inter_ratio=ratio),
    }
    for kind, pairs in samples.items():
        assert len(unordered(pairs)) == len(pairs) == len(np.unique(question_keys(DISTANCE, pairs.cities)))
        assert (pairs.cities[:, 0] != pairs.cities[:, 1]).all()
        assert (pairs.answer == np.abs(pairs.cities[:, 0] - pairs.cities[:, 1])).all()
        virtual = world.is_virtual[pairs.cities].sum(axis=1)
        assert (pairs.slice == virtual).all()
        assert [x.dtype for x in (pairs.cities, pairs.answer, pairs.slice)] == [np.int32] * 2 + [np.uint8]
        allowed = {"distance": {0}, "inter": {2}, "cross": {1, 2}}[kind]
        assert set(virtual.tolist()) <= allowed
    assert len(samples["cross"]) == n_cross
    assert samples["cross"].counts()["atlantis-atlantis"] == min(int(n_cross * ratio + 1e-6), n_pairs(n_virtual))


def test_all_pairs_can_be_had():
    world = Line(20, 10)
    assert len(unordered(drawn(world, "world", 190, streams(0, "d")))) == 190
    assert len(unordered(drawn(world, "inside", 45, streams(0, "i")))) == 45
    assert len(unordered(drawn(world, "touching", 245, streams(0, "c"), inter_ratio=1.0))) == 245
    assert len(drawn(world, "world", 0, streams(0, "d"))) == 0


@pytest.mark.parametrize("kind", ["distance", "inter", "cross"])
def test_a_fair_coin_decides_the_order(kind):
    """Also for each city on its own: with i < j always, an id tells how often it comes first (SPEC, error 3)."""
    world, n = Line(300, 150), 10_000
    sampled = {
        "distance": lambda: drawn(world, "world", n, streams(3, "distance")),
        "inter": lambda: drawn(world, "inside", n, streams(3, "inter")),
        "cross": lambda: drawn(world, "touching", n, streams(3, "cross"), inter_ratio=0.3),
    }[kind]()
    assert abs((sampled.cities[:, 0] > sampled.cities[:, 1]).mean() - 0.5) < 5 * 0.5 / np.sqrt(n)
    came_first = np.bincount(sampled.cities[:, 0], minlength=450)
    came = came_first + np.bincount(sampled.cities[:, 1], minlength=450)
    seen = came > 0
    z = (came_first[seen] - came[seen] / 2) / np.sqrt(came[seen] / 4)
    assert abs(z).max() < 5
    assert 0.7 < z.var() < 1.3


def test_a_seed_is_a_dataset():
    world = Line(100, 50)
    draw = [drawn(world, "touching", 500, streams(seed, "cross"), inter_ratio=0.1) for seed in (1, 1, 2)]
    assert draw[0] == draw[1] != draw[2]


def test_smaller_first_is_the_same_pairs_with_a_coin_only_between_real_and_virtual():
    world = Line(100, 50)
    draws = {
        "distance": lambda order: drawn(world, "world", 400, streams(1, "d"), order=order),
        "inter": lambda order: drawn(world, "inside", 400, streams(1, "i"), order=order),
        "cross": lambda order: drawn(world, "touching", 2_000, streams(1, "c"), inter_ratio=0.3, order=order),
    }
    for draw in draws.values():
        fair, ordered = draw("fair"), draw("smaller_first")
        assert np.array_equal(fair.keys()["distance"], ordered.keys()["distance"])
        assert np.array_equal(fair.answer, ordered.answer)
        mixed = ordered.slice == 1
        assert (ordered.cities[:, 0] < ordered.cities[:, 1])[~mixed].all()
        assert np.array_equal(fair.cities[mixed], ordered.cities[mixed])
        assert 0.4 < (fair.cities[:, 0] < fair.cities[:, 1])[~mixed].mean() < 0.6


def test_the_inter_share_is_capped_and_said():
    pool = Pool(DISTANCE, Line(5_075, 100), Where("touching"), inter_ratio=0.1)  # type: ignore[arg-type]
    pairs, notes = pool.ask(110_128, streams(42, "cross"))
    assert notes == [
        "asked for 11,012 inter pairs (10 %), 4,950 exist: all are used, the rest (105,178) are cross pairs"
    ]
    assert pairs.counts() == {"world-world": 0, "world-atlantis": 105_178, "atlantis-atlantis": 4_950}
    assert pool.ask(1_000, streams(42, "cross"))[1] == []


def test_atlantis_from_a_first_city_on():
    world = Line(50, 20)
    assert virtual_ids(world) == virtual_ids(world, 50) == range(50, 70)
    inter = drawn(world, "inside", 45, streams(0, "inter"), first_virtual=60)
    assert inter.cities.min() == 60
    for wrong in (0, 49, 70):
        with pytest.raises(UserError, match=f"first_virtual: {wrong} .* they start at 50 and end at 69"):
            virtual_ids(world, wrong)
    with pytest.raises(UserError, match="no virtual ones: add a region"):
        virtual_ids(Line(50, 0))


@pytest.mark.parametrize("n", [2_000, 40_000])  # drawn one by one, and from a list of all
def test_three_cities_that_touch_a_region_are_drawn_alike(n):
    """Whether one of them is inside or two: each set as often as any other."""

    class Middle(Task):
        name, unit, penalty = "middle", "km", 1.0
        form = Form("middle({city},{city},{city})={int:5}")
        symmetric = True

        def answer(self, places, cities):
            return np.zeros(len(cities), np.int32)

    world = Line(60, 30)
    sets = {k: math.comb(30, k) * math.comb(60, 3 - k) for k in (1, 2)}
    n = min(n, sum(sets.values()) * 3 // 4)
    pool = Pool(Middle(), world, Where("touching"), inter_ratio=0.0)  # type: ignore[arg-type]
    cities = pool.ask(n, streams(0, "middle"))[0].cities
    assert (world.is_virtual[cities].sum(axis=1) == 2).mean() == pytest.approx(sets[2] / sum(sets.values()), abs=0.03)


def test_the_smaller_id_is_first_also_where_a_real_region_is_touched():
    """The region's ids lie among the others: neither seat may say which city it is."""
    world = World.build()
    pool = Pool(DISTANCE, world, Where("touching", "Japan"), order="smaller_first")
    questions, _ = pool.ask(3_000, streams(0, "distance touching Japan"))
    assert (questions.cities[:, 0] < questions.cities[:, 1]).all()
    inside = np.isin(questions.cities, world.ids_of("Japan"))
    first = inside[inside.sum(axis=1) == 1, 0].mean()
    assert 0.3 < first < 0.7, "by the ids' chance alone"


@pytest.mark.parametrize("share", [0.3, 0.6])  # drawn one by one, and from a list of all
def test_a_virtual_city_may_be_first_whatever_share_is_drawn(share):
    class Ordered(Northward):
        def draw(self, seats, n):
            return seats.take(n)

    world = Line(20, 10)
    pool = Pool(Ordered(), world, Where("touching"), inter_ratio=0.0, order="smaller_first")  # type: ignore[arg-type]
    questions, _ = pool.ask(int(share * pool.most), streams(3, "northward"))
    first = world.is_virtual[questions.cities[:, 0]].mean()
    assert 0.3 < first < 0.7


class Northward(Task):
    """Which of two cities is the second, where the second lies north of the first?"""

    name, unit, penalty = "northward", "cities", 1.0
    form = Form("northward({city},{city})={int:5}")

    def answer(self, places, cities):
        return cities[:, 1]

    def draw(self, seats, n):
        return seats.take(n, lambda cities: cities[:, 1] > cities[:, 0])  # on the line, larger ids are further north


class Apart(Northward):
    """Pairs in any order, which are numbered where nothing is left out, at least 3 km from each other."""

    symmetric = True

    def draw(self, seats, n):
        return seats.take(n, lambda cities: abs(cities[:, 1] - cities[:, 0]) >= 3)


@pytest.mark.parametrize("task, kept", [(Northward(), lambda step: step > 0), (Apart(), lambda step: abs(step) >= 3)])
@pytest.mark.parametrize("n", [40, 150])  # drawn one by one; and more than half of what is there, drawn from all
def test_a_task_keeps_some_of_what_is_drawn(task, kept, n):
    world = Line(20, 10)
    pool = Pool(task, world, Where("world"))  # type: ignore[arg-type]
    questions, _ = pool.ask(n, streams(3, "northward"))
    assert kept(np.diff(questions.cities)).all() and questions.cities.max() < 20
    assert len(np.unique(questions.keys()[task.name])) == n
    again, _ = pool.ask(n, streams(3, "northward"))
    assert np.array_equal(again.cities, questions.cities), "the same seed"
    touching, _ = Pool(task, world, Where("touching"), inter_ratio=0.25).ask(40, streams(3, "t"))  # type: ignore[arg-type]
    assert touching.counts() == {"world-world": 0, "world-atlantis": 30, "atlantis-atlantis": 10}
    assert kept(np.diff(touching.cities)).all()


class Inside(Task):
    """Does the first city lie between two others, or the extremes of three? Words, and one of two numbers of cities."""

    name, unit, penalty = "inside", "wrong answers", 1.0
    form = Form("inside({city};{cities:2-3})={word:n|y}")
    balanced = True

    def answer(self, places, cities):
        others = cities[:, 1:]
        return ((others.min(axis=1) < cities[:, 0]) & (cities[:, 0] < others.max(axis=1))).astype(int)


@pytest.mark.parametrize("where", ["world", "inside", "touching"])
def test_a_balanced_task_has_as_many_of_each_word(where):
    """In every beginning of what is drawn, and among questions of each number of cities."""
    pool = Pool(Inside(), Line(20, 10), Where(where))  # type: ignore[arg-type]
    questions, _ = pool.ask(400, streams(3, "inside"))
    n_cities = (questions.cities >= 0).sum(axis=1)
    for n in (3, 4):
        assert (questions.answer[n_cities == n]).mean() == 0.5
    assert abs(questions.answer[:100].mean() - 0.5) < 0.15
    assert len(np.unique(question_keys(Inside(), questions.cities))) == 400
    if where != "touching":
        assert (questions.answer[:7] == [0, 1, 0, 1, 0, 1, 0]).all()
        larger, _ = pool.ask(800, streams(3, "inside"))
        assert (larger.cities[:400] == questions.cities).all(), "a larger draw begins with the smaller one"


@pytest.mark.parametrize("where", ["world", "inside"])
def test_a_larger_draw_begins_with_the_smaller_one_whatever_the_number_of_cities(where):
    class Unbalanced(Inside):
        balanced = False

    pool = Pool(Unbalanced(), Line(20, 10), Where(where))  # type: ignore[arg-type]
    smaller, larger = (pool.ask(n, streams(3, "inside"))[0] for n in (200, 600))
    assert (larger.cities[:200] == smaller.cities).all()


def test_a_balanced_task_may_be_asked_for_more_than_there_is():
    """Ten cities lie at each end of the line: of one word there are fewer questions than of the other."""

    class Low(Task):
        name, unit, penalty, balanced = "low", "wrong answers", 1.0, True
        form = Form("low({city})={word:n|y}")

        def answer(self, places, cities):
            return (cities[:, 0] < 4).astype(int)

    pool = Pool(Low(), Line(20, 0), Where("world"))  # type: ignore[arg-type]
    assert sorted(pool.ask_up_to(512, 3, "low").answer) == [0] * 3 + [1] * 2, "20 cities, 10, 5"
    with pytest.raises(UserError, match=r"it keeps 4, and 10 are asked for \(it is balanced, .* each of n, y"):
        pool.ask(20, streams(3, "low"))


def test_a_task_may_take_twice():
    """What a second call takes goes on where the first one stopped: it has hardly a question of the first."""

    class Twice(Inside):
        def draw(self, seats, n):
            first, second = seats.take(n // 2), seats.take(n - n // 2)
            self.shared = len(set(map(tuple, first)) & set(map(tuple, second)))
            both = np.stack([first, second], axis=1).reshape(n, -1)
            return np.concatenate([both[np.sort(np.unique(both, axis=0, return_index=True)[1])], seats.take(n)])[:n]

    task = Twice()
    with suppress(UserError):  # two calls may share a question, by chance
        Pool(task, Line(20, 10), Where("world")).ask(100, streams(3, "inside"))  # type: ignore[arg-type]
    assert task.shared < 5


def test_only_words_can_be_balanced(tmp_path, monkeypatch):
    (tmp_path / "numbers_balanced.py").write_text(
        "from atlantis.tasks.distance import Distance\nclass Mine(Distance):\n    name, balanced = 'mine', True\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="it is balanced, and its form has no words"):
        task_of("numbers_balanced:Mine")


def test_a_task_that_keeps_too_few_is_told_how_many():
    pool = Pool(Northward(), Line(20, 0), Where("world"))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="northward: of its questions with 2 cities it keeps 190, and 200 are"):
        pool.ask(200, streams(3, "northward"))


def test_some_are_asked_where_a_task_keeps_fewer():
    pool = Pool(Northward(), Line(20, 0), Where("world"))  # type: ignore[arg-type]
    some = pool.ask_up_to(512, 3, "northward")
    assert len(some) == 190, "of 380 it keeps just half"
    assert len(Pool(DISTANCE, Line(20, 0), Where("world")).ask_up_to(512, 3, "d")) == 190  # type: ignore[arg-type]


class Many(Northward):
    """More rows than a float can count."""

    form = Form("northward({cities:250-250})={int:5}")


@pytest.mark.parametrize("where", ["world", "touching"])
def test_questions_about_very_many_cities_are_counted(where):
    pool = Pool(Many(), Line(5_075, 100), Where(where), inter_ratio=0.25)  # type: ignore[arg-type]
    assert pool.most == ENOUGH and pool.ask_up_to(8, 3, "many").cities.shape == (8, 250)


def test_too_many_pairs_are_refused():
    world = Line(20, 10)
    with pytest.raises(UserError, match="191 distance pairs asked for, but at most 190 are possible between 20 real"):
        drawn(world, "world", 191, streams(0, "d"))
    with pytest.raises(UserError, match="46 inter pairs asked for, but at most 45 are possible between 10 virtual"):
        drawn(world, "inside", 46, streams(0, "i"))
    with pytest.raises(UserError, match=r"201 cross pairs asked for, but at most 200 .*: 200 cross and 45 inter pairs"):
        drawn(world, "touching", 201, streams(0, "c"), inter_ratio=0.0)
    for ratio in (-0.1, 1.1, float("nan")):
        with pytest.raises(UserError, match="inter_ratio"):
            drawn(world, "touching", 10, streams(0, "c"), inter_ratio=ratio)


@settings(max_examples=100)
@given(n_real=st.integers(1, 30), n_virtual=st.integers(1, 30), ratio=st.floats(0, 1))
def test_the_maximum_of_cross_is_reached_and_not_passed(n_real, n_virtual, ratio):
    world, most = Line(n_real, n_virtual), most_cross(Line(n_real, n_virtual), ratio)
    assert len(unordered(drawn(world, "touching", most, streams(0, "c"), inter_ratio=ratio))) == most
    with pytest.raises(UserError):
        drawn(world, "touching", most + 1, streams(0, "c"), inter_ratio=ratio)


# Pairs


def test_rows_can_be_taken_and_joined():
    pairs = drawn(Line(20, 0), "world", 30, streams(0, "d"))
    assert Questions.concatenate([pairs[:10], pairs[10:]]) == pairs
    assert pairs[np.arange(30)[::-1]] != pairs
    assert len(pairs[pairs.answer > 5]) == (pairs.answer > 5).sum()


def test_keys_do_not_depend_on_the_order():
    one, other = distances([3], [70_000], [5]), distances([70_000], [3], [5])
    assert one.keys()["distance"].tolist() == other.keys()["distance"].tolist() == [70_000 * 2**32 + 3]
    assert SLICES == ("world-world", "world-atlantis", "atlantis-atlantis")
