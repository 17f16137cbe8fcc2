"""Interventions, against planted answers: states that are places, exchanged names, answers that are made up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlantis import load_config, train
from atlantis.cli import main
from atlantis.errors import UserError
from atlantis.model import Transformer
from atlantis.model.checkpoint import load_checkpoint
from atlantis.readout.generate import answers
from atlantis.readout.interventions import (
    CHANGES,
    GROUPS,
    Directions,
    changed_answers,
    changes,
    draw_triples,
    effects,
    ids_alike,
    in_order,
    intervention_table,
    prompts_of,
)
from atlantis.settings import RunConfig
from atlantis.sphere import unit_vectors
from atlantis.statistics import slope_interval
from atlantis.tasks import Form, Questions, Task
from atlantis.tasks.distance import DISTANCE
from atlantis.tasks.form import Ints
from atlantis.tasks.task import Places
from atlantis.training.base import find_base
from atlantis.vocabulary import Kind, Vocabulary
from atlantis.world import World
from atlantis.world.cities import shipped_cities


@pytest.fixture(scope="module")
def world() -> World:
    return World.build()


@pytest.fixture(scope="module")
def trained() -> tuple[Transformer, Vocabulary]:
    base = find_base(load_config("configs/atlantis_cross_finetune.yaml"))
    assert base is not None
    model, vocabulary = load_checkpoint(base.checkpoint)
    return model.eval(), vocabulary


def places(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return unit_vectors(rng.uniform(-180, 180, n), rng.uniform(-90, 90, n))


def test_directions_find_planted_places() -> None:
    """States that are places times a matrix, and noise across it: the probe reads them, the encoding is the matrix."""
    rng, where = np.random.default_rng(1), places(400)
    basis = np.linalg.qr(rng.normal(size=(20, 20)))[0]
    states = where @ (4 * basis[:3]) + rng.normal(size=(400, 17)) @ basis[3:]
    directions = Directions.fit(states, where)
    assert np.abs(directions.encoding - 4 * basis[:3]).max() < 0.6
    fresh, other = places(50, 2), places(50, 3)
    of_a, of_b = fresh @ (4 * basis[:3]), other @ (4 * basis[:3]) + rng.normal(size=(50, 17)) @ basis[3:]
    assert np.abs(directions.read(of_a) - fresh).max() < 0.05
    added = changes(of_a, of_b, fresh, other, directions, rng)
    assert tuple(added) == CHANGES
    assert np.allclose(directions.read(of_a + added["probe"]), other)
    assert np.abs(directions.read(of_a + added["encoding"]) - other).max() < 0.25
    assert np.allclose(directions.read(of_a + added["beside"]), directions.read(of_a))
    assert np.allclose(of_a + added["interchange"], of_b)
    for one, like in (("random", "encoding"), ("random_probe", "probe")):
        assert np.allclose(np.linalg.norm(added[one], axis=1), np.linalg.norm(added[like], axis=1))
    shorter = np.linalg.norm(added["probe"], axis=1) <= np.linalg.norm(
        (other - directions.read(of_a)) @ np.linalg.pinv(directions.probe) + added["beside"], axis=1
    )
    assert shorter.all(), "of all changes with that reading it is the least"


@pytest.mark.parametrize("kind", ["characters", "city"])
def test_seats_are_where_the_cities_are(world: World, kind: Kind) -> None:
    vocabulary = Vocabulary(kind, len(world))
    prompts = prompts_of(DISTANCE, vocabulary, np.array([[1234, 4321], [2000, 3999]]))
    texts = [vocabulary.decode(prompts.tokens[:, seat].numpy())[0] for seat in prompts.seats]
    assert texts == (["1234,c_", "4321)="] if kind == "characters" else ["c_1234,", "c_4321)="])


@pytest.mark.parametrize("seat", [0, 1])
def test_another_citys_tokens_are_its_name(trained: tuple[Transformer, Vocabulary], world: World, seat: int) -> None:
    """Interchanged before the first block, the answer is the one about B; without a change, the one about A."""
    model, vocabulary = trained
    a, b, c = np.arange(1000, 1030), np.arange(2000, 2030), np.arange(3000, 3030)
    pairs = [np.stack([x, c] if seat == 0 else [c, x], axis=1) for x in (a, b)]
    prompts = [prompts_of(DISTANCE, vocabulary, pair) for pair in pairs]
    where = prompts[0].seats[seat]
    one, other = (model.embedding(each.tokens)[:, where].detach().double().numpy() for each in prompts)
    own = [answers(model, vocabulary, Questions.ask(DISTANCE, world, pair)) for pair in pairs]
    for added, expected in ((other - one, own[1]), (0 * one, own[0])):
        assert np.array_equal(changed_answers(model, DISTANCE, prompts[0], -1, where, added[None])[0], expected)


def test_effects_of_planted_answers() -> None:
    rng = np.random.default_rng(0)
    true_a, true_b = rng.integers(100, 9000, 80), rng.integers(100, 9000, 80)
    whole = effects(DISTANCE, true_b, (true_a, true_b), (true_a, true_b))
    assert whole["slope"][0] == whole["own_slope"][0] == 1 and whole["nearer"][0] == 1
    none = effects(DISTANCE, true_a, (true_a, true_b), (true_a, true_b))
    assert none["slope"][0] == 0 and none["nearer"][0] == 0
    third = true_a + (true_b - true_a) // 3 + rng.integers(-50, 50, 80)
    third[:8] = -1
    value, interval = (some := effects(DISTANCE, third, (true_a, true_b), (true_a, true_b)))["slope"]
    assert abs(value - 1 / 3) < 0.02 and interval.low < value < interval.high and interval.n == 72
    assert some["readable"][0] == 0.9
    endless = effects(DISTANCE, np.full(80, 99_999), (true_a, true_b), (true_a, true_b))["slope"]
    assert endless == effects(DISTANCE, np.full(80, 20_015), (true_a, true_b), (true_a, true_b))["slope"]


class Bearing(Task):
    """In which direction, in whole degrees, does the second city lie?"""

    name, unit, penalty = "bearing", "degrees", 180.0
    form = Form("bear({city},{city})={int:3}")

    def answer(self, places: Places, cities: Ints) -> Ints:
        return np.zeros(len(cities), int)

    def error(self, predicted: Ints, true: Ints) -> np.ndarray:
        off = np.abs(predicted - true)
        return np.minimum(off, 360 - off)


def test_effects_are_by_the_tasks_own_error() -> None:
    """Of a task whose answers go beyond its penalty, and whose error is no difference."""
    true_a, true_b = np.random.default_rng(0).integers(0, 360, (2, 200))
    whole = effects(Bearing(), true_b, (true_a, true_b), (true_a, true_b))
    assert whole["slope"][0] == whole["own_slope"][0] == 1
    north, east = np.full(20, 1), np.full(20, 100)
    assert effects(Bearing(), np.full(20, 359), (east, north), (east, north))["nearer"][0] == 1


@given(st.integers(0, 2**31), st.floats(-2, 2), st.integers(5, 200))
def test_the_slope_is_least_squares(seed: int, slope: float, n: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    y = slope * x + rng.normal(size=n)
    value, interval = slope_interval(x, y)
    assert value == pytest.approx(np.linalg.lstsq(x[:, None], y)[0][0])
    assert interval.low <= value <= interval.high and interval.n == n


@pytest.mark.parametrize("slope", [0.0, 1.0, -0.3])
def test_a_slope_without_any_spread_has_no_interval(slope: float) -> None:
    x = np.random.default_rng(0).normal(size=20)
    value, interval = slope_interval(x, slope * x)
    assert value == pytest.approx(slope) and np.isnan(interval.low) and interval.why == "all values are the same"


def test_the_slopes_interval_covers() -> None:
    """In about 95 of 100 samples whose spread grows with x, as the spread of answers does."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(400):
        x = rng.normal(size=60)
        _, interval = slope_interval(x, 0.5 * x + (0.2 + np.abs(x)) * rng.normal(size=60))
        held += interval.low <= 0.5 <= interval.high
    assert 0.90 <= held / 400 <= 0.98


def test_the_slopes_interval_covers_where_a_rows_values_hang_together() -> None:
    """Each row has a slope of its own: three values of it are no three rows."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(400):
        x = rng.normal(size=(60, 3))
        _, interval = slope_interval(x, (0.5 + 0.5 * rng.normal(size=(60, 1))) * x)
        assert interval.n == 60
        held += interval.low <= 0.5 <= interval.high
    assert 0.91 <= held / 400 <= 0.98


def test_triples_name_no_city_twice(world: World) -> None:
    vocabulary = Vocabulary("characters", len(world))
    rng = np.random.Generator(np.random.PCG64(0))
    triples, free = draw_triples(world, vocabulary, list(GROUPS), 40, rng)
    for group, kinds in GROUPS.items():
        for kind, ids in zip(kinds, triples[1:], strict=True):
            of_group = ids[triples.group == group]
            assert len(of_group) == 40 and (world.is_virtual[of_group] == (kind == "virtual")).all()
    named = np.concatenate([ids[~world.is_virtual[ids]] for ids in triples[1:]])
    assert len(np.unique(named)) == len(named) == 240 and not np.isin(free, named).any()
    assert (triples.a != triples.b).all()
    assert np.isin(np.concatenate([*triples[1:], free]), ids_alike(world, vocabulary)).all()


@pytest.mark.parametrize("index", [0, 1])
def test_the_smaller_id_comes_first_where_it_did_in_training(world: World, index: int) -> None:
    rng = np.random.Generator(np.random.PCG64(0))
    triples, free = draw_triples(world, Vocabulary("characters", len(world)), ["real", "virtual"], 30, rng)
    cities, others = in_order(triples, free, index)
    for city, other in zip(cities, others, strict=True):
        real = slice(30) if len(city) == 60 else slice(None)
        assert ((city < other) if index == 0 else (city > other))[real].all()
    for rows in (slice(30), slice(30, 60)):
        named = [
            np.sort(np.concatenate([a[rows], b[rows], c[rows]])) for a, b, c in [triples[1:], (*cities[:2], others[0])]
        ]
        assert np.array_equal(*named)
    assert np.array_equal(cities[0][30:], triples.a[30:])


@pytest.mark.parametrize("index", [0, 1])
def test_the_smaller_id_comes_first_also_where_a_city_moves_out_to_the_real_ones(world: World, index: int) -> None:
    """The question about B asks about two real cities; that about A, a new one, has the order of a coin."""
    rng = np.random.Generator(np.random.PCG64(0))
    triples, free = draw_triples(world, Vocabulary("characters", len(world)), ["outwards"], 30, rng)
    (a, b, _), (c, of_b, _) = in_order(triples, free, index)
    assert np.array_equal(a, triples.a) and np.array_equal(c, of_b)
    assert ((b < c) if index == 0 else (b > c)).all()


def test_a_world_of_real_cities_alone_has_triples_of_them() -> None:
    world = World.build(regions=[])
    groups, rng = ("real",), np.random.Generator(np.random.PCG64(0))
    triples, _ = draw_triples(world, Vocabulary("characters", len(world)), groups, 5, rng)
    assert len(triples.a) == 5


def test_too_few_cities_are_refused(trained: tuple[Transformer, Vocabulary], world: World) -> None:
    model, vocabulary = trained
    with pytest.raises(UserError, match="there are 4075 and 0"):
        intervention_table(model, vocabulary, World.build(regions=()), DISTANCE, ["virtual"], 20)
    with pytest.raises(UserError, match="6000 real cities"):
        intervention_table(model, vocabulary, world, DISTANCE, ["real"], 2_000)


def test_the_command(
    small_config: RunConfig, small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped_cities().head(400).to_csv(tmp_path / "cities.csv", index=False)
    data = small_config.model_dump() | {"name": "intervened", "output_root": str(tmp_path)}
    data["world"] |= {"cities": str(tmp_path / "cities.csv")}
    data["training"] |= {"max_steps": 2}
    data["evaluation"] |= {"probe": False}
    run = train(RunConfig.model_validate(data))
    assert main(["intervene", str(run), "--steps", "0", "--items", "10"]) == 0
    assert "interchange" in capsys.readouterr().out
    table = pd.read_csv(run / "analysis" / "interventions" / "interventions.csv")
    assert set(table["change"]) == set(CHANGES) and set(table["group"]) == set(GROUPS)
    readings = table[(table["metric"] == "reading") & (table["seat"] == "first") & (table["group"] == "real")]
    by_change = readings.groupby("change")["value"].mean()
    assert by_change["probe"] > 0.2 + abs(by_change["random_probe"]) and abs(by_change["beside"]) < 1e-6
    for arguments, message in (
        ([str(small_run)], "there are 20 and 8"),
        ([str(run), "--steps", "7"], "no such checkpoint"),
        ([str(run), "--steps", "x"], "write steps with commas"),
    ):
        assert main(["intervene", *arguments]) == 2
        assert message in capsys.readouterr().err
    assert not (small_run / "analysis" / "interventions").exists()
