"""The seven tasks of examples/: that a study of several tasks needs no change to the package."""

from __future__ import annotations

import re
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import Delaunay

from atlantis import config as configs
from atlantis.config import checked
from atlantis.data.draw import Pool, Where
from atlantis.data.encoding import longest_row, prefix
from atlantis.data.mixture import check_possible
from atlantis.data.streams import streams
from atlantis.errors import UserError
from atlantis.report.run_data import load
from atlantis.settings import DatasetConfig, RunConfig
from atlantis.tasks import Questions, Task, task_of
from atlantis.tasks.checking import canonical_of
from atlantis.tasks.score import score
from atlantis.training import loop, train
from atlantis.vocabulary import Vocabulary
from atlantis.world import World

ROOT = Path(__file__).parents[1]
MODULE = "examples.seven_tasks"
NAMES = ["Distance", "TriangleArea", "Angle", "Compass", "Inside", "Perimeter", "Crossing"]

CITIES = {
    7: (-350, 350),
    42: (-740, 407),
    1250: (23, 489),
    3021: (1397, 357),
    4865: (-462, -235),
    7310: (287, -262),
    9004: (-740, 497),
}
ROWS = [
    "dist(c_0042,c_1250)=767",
    "dist(c_0007,c_0042)=394",
    "triarea(c_0042,c_3021,c_4865)=679027",
    "angle(c_0042,c_1250,c_3021)=168",
    "angle(c_0042,c_0007,c_7310)=144",
    "compass(c_0042,c_7310)=SE",
    "compass(c_3021,c_1250)=W",
    "compass(c_0042,c_9004)=N",
    "perimeter(c_0042,c_1250)=767",
    "perimeter(c_0042,c_1250,c_3021,c_4865)=4798",
    "inside(c_0007;c_0042,c_1250,c_4865)=TRUE",
    "inside(c_0007;c_1250,c_3021,c_7310)=FALSE",
    "inside(c_0007;c_0042,c_3021,c_4865,c_7310)=TRUE",
    "cross(c_0042,c_7310;c_4865,c_1250)=TRUE",
    "cross(c_0042,c_1250;c_4865,c_7310)=FALSE",
    "cross(c_0042,c_4865;c_1250,c_3021)=FALSE",
]


@pytest.fixture(autouse=True)
def beside_the_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def seven() -> list[Task]:
    return [task_of(f"{MODULE}:{name}") for name in NAMES]


def places(positions: dict[int, tuple[int, int]]) -> Any:
    """Cities at points of the plane, in its units."""
    lon, lat = np.zeros(10_000), np.zeros(10_000)
    for city, (x, y) in positions.items():
        lon[city], lat[city] = x / 10, y / 10
    return SimpleNamespace(lon=lon, lat=lat, is_virtual=np.zeros(10_000, bool))


@pytest.mark.parametrize("row", ROWS)
def test_rows_are_written_and_answered_as_in_the_study(row: str) -> None:
    task = next(task for task in seven() if task.form.template.startswith(row[: row.index("(") + 1]))
    ids = [int(city) for city in re.findall(r"c_(\d+)", row)]
    cities = np.full((1, task.form.seats), -1)
    cities[0, task.form.seated(len(ids))] = ids
    questions = Questions.ask(task, places(CITIES), cities)
    assert task.form.text_columns(cities, questions.answer)["text"].to_pylist() == [row]


def test_the_longest_row_has_57_tokens() -> None:
    vocabulary = Vocabulary("characters", 5_175, version=2)
    lengths = [len(prefix(task.form, vocabulary)) + longest_row(task.form, vocabulary) for task in seven()]
    assert max(lengths) == 57


@given(
    points=st.lists(st.tuples(st.integers(-1800, 1800), st.integers(-900, 900)), min_size=6, max_size=6, unique=True)
)
def test_a_point_is_inside_where_scipy_finds_a_triangle_around_it(points: list[tuple[int, int]]) -> None:
    hull = np.array(points[1:], float)
    try:
        around = Delaunay(hull)
    except Exception:  # all on a line
        return
    margin = around.plane_distance(np.array(points[:1], float)).max()
    answer = task_of(f"{MODULE}:Inside").answer(places(dict(enumerate(points))), np.arange(6)[None])
    if abs(margin) > 1e-6:  # on the border rounding decides
        assert (answer[0] == 0) == (around.find_simplex(points[0]) >= 0)


@pytest.mark.parametrize(
    "name, size, n_questions",
    [
        ("TriangleArea", 3, 1),
        ("Angle", 3, 3),
        ("Compass", 2, 2),
        ("Inside", 4, 4),
        ("Perimeter", 4, 3),
        ("Perimeter", 2, 1),
        ("Crossing", 4, 3),
    ],
)
def test_orders_that_ask_the_same_thing_have_one_answer(name: str, size: int, n_questions: int) -> None:
    """And the draw knows how many different questions a few cities make."""
    task = task_of(f"{MODULE}:{name}")
    there = places(dict(enumerate(map(tuple, np.random.default_rng(5).integers(-900, 900, (6, 2)).tolist()))))
    rows = np.array(list(permutations(range(size))))
    answers, ordered = task.answer(there, rows), canonical_of(task, rows)
    for question in np.unique(ordered, axis=0):
        alike = (ordered == question).all(axis=1)
        assert len(set(answers[alike].tolist())) == 1
        assert alike[(rows == question).all(axis=1)].all(), "what stands for an order is one of its own"
    assert len(np.unique(ordered, axis=0)) == n_questions


def test_a_question_is_drawn_once_in_whichever_order(thirty_cities: Path) -> None:
    world = World.build(thirty_cities, regions=[])
    angle = task_of(f"{MODULE}:Angle")
    pool = Pool(angle, world, Where("world"))
    assert pool.most == 3 * 30 * 29 * 28 // 6
    for n in (2_000, pool.most):  # a few by chance, and all from a list
        questions, _ = pool.ask(n, streams(1, "angle"))
        assert len(np.unique(canonical_of(angle, questions.cities), axis=0)) == n
    legs = questions.cities[:, [0, 2]]
    assert 0.4 < (legs[:, 0] < legs[:, 1]).mean() < 0.6, "either leg comes first"
    with pytest.raises(UserError, match="at most 12,180 are possible"):
        pool.ask(pool.most + 1, streams(1, "angle"))


def test_one_model_learns_all_seven(tmp_path: Path) -> None:
    sizes = ["model.hidden_size=16", "model.n_layers=1", "model.n_heads=2", "model.mlp_size=16", "probe.layers=[0]"]
    few = ["training.max_steps=2", "training.warmup_steps=0", "evaluation.n_items=20", "dataset.n_test=140"]
    config = configs.load(ROOT / "examples" / "seven_tasks.yaml", [*sizes, *few, f"output_root={tmp_path}"])
    assert config.training.loss == "row"
    folder = train(config.model_copy(update={"probe": config.probe.model_copy(update={"measures": False})}))
    scores = load(folder).scores
    assert set(scores["task"]) == {task.name for task in seven()}
    assert (scores.groupby("task")["metric"].apply(set).map(lambda found: "own_exact" in found)).all()
    assert Vocabulary.load(folder / "checkpoints" / "final").version == 2


@pytest.mark.parametrize("strategy", ["replay", "distill"])
def test_whole_rows_are_learned_beside_old_ones_and_a_run_goes_on(
    strategy: str, small_config: RunConfig, small_run: Path, tmp_path: Path
) -> None:
    data = small_config.model_dump() | {"evaluation": {"probe": False, "steps": [0, 2], "fractions": []}}
    data |= {"output_root": str(tmp_path), "base": str(small_run / "checkpoints" / "final")}
    data |= {"strategy": {"name": strategy}, "training": {"loss": "row", "warmup_steps": 0, "batch_size": 8}}
    whole, cut = (
        checked(RunConfig, data | {"name": name, "training": data["training"] | {"max_steps": 4}})
        for name in ("whole", "cut")
    )
    train(whole)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("atlantis.training.loop.Steps.take", _stop_at(3))
        with pytest.raises(RuntimeError):
            train(cut)
    train(cut, resume=True)
    ends = [
        tmp_path / "experiments" / name / "checkpoints" / "final" / "model.safetensors" for name in ("whole", "cut")
    ]
    assert ends[0].read_bytes() == ends[1].read_bytes()


def _stop_at(last: int) -> Any:
    take = loop.Steps.take

    def until(self: loop.Steps, step: int, stop: int) -> list[float]:
        if step == last:
            raise RuntimeError("killed")
        return take(self, step, stop)

    return until


class Scored(Task):
    """A task with scores that no record could have."""

    name, unit, penalty = "scored", "km", 1.0
    form = task_of("distance").form
    given: dict[str, Any]

    def scores(self, predicted: Any, true: Any) -> dict[str, Any]:
        return self.given


@pytest.mark.parametrize(
    "given, problem",
    [
        ({"within 100": 1.0}, "named one 'within 100'"),
        ({7: 1.0}, "named one 7"),
        ({"exact": "many"}, "its scores\\(\\) failed: ValueError"),
        (None, "its scores\\(\\) failed: AttributeError"),
    ],
)
def test_scores_that_no_record_could_have_are_refused(given: Any, problem: str) -> None:
    task = Scored()
    task.given = given
    questions = Questions.of(task, np.array([[0, 1]]), np.array([5]))
    with pytest.raises(UserError, match=f"task scored: .*{problem}"):
        score(np.array([5]), questions)


def test_a_score_is_no_other_score_and_may_be_missing() -> None:
    task = Scored()
    task.given = {"mean": 0.25, "n": float("nan")}
    found = {s.metric: s.value for s in score(np.array([-1]), Questions.of(task, np.array([[0, 1]]), np.array([5])))}
    assert found["own_mean"] == 0.25 and found["own_n"] is None and found["mean"] == 1.0


OWN = """
import numpy as np
from atlantis.tasks import Form, Task


class East(Task):
    name, unit, penalty = "east", "wrong answers", 1.0
    form = Form("east({city},{city})={word:n|y}")

    def answer(self, places, cities):
        return (places.lon[cities[:, 0]] > places.lon[cities[:, 1]]).astype(int)

class Shorter(East):
    def canonical(self, cities):
        return cities[:, :1]

class Sorted(East):
    def canonical(self, cities):
        return np.sort(cities, axis=1)

class Symmetric(East):
    symmetric = True

class First(East):
    def canonical(self, cities):
        return cities[:, [0, 0]]

class Both(Symmetric):
    def canonical(self, cities):
        return cities

class Unreadable(East):
    def scores(self, predicted, true):
        return {"log": 1 / len(predicted[predicted >= 0])}

class InPlace(Task):
    name, unit, penalty = "in_place", "km", 30_000.0
    form = Form("sum({city},{city},{city})={int}")

    def answer(self, places, cities):
        return places.distance_km(cities, np.roll(cities, 1, axis=1)).sum(axis=1)

    def canonical(self, cities):
        cities.sort(axis=1)
        return cities
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module with tasks that say something wrong."""
    (tmp_path / "wrong_orders.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "wrong_orders"


@pytest.mark.parametrize(
    "name, problem",
    [
        ("Shorter", r"its canonical\(\) must return whole numbers of shape"),
        ("Sorted", r"its canonical\(\) takes questions for the same that have other answers"),
        ("First", r"its canonical\(\) must reorder each row's cities; it returned others"),
        ("Symmetric", "its symmetric = True takes questions for the same"),
        ("Both", "it is symmetric, so all orders ask the same"),
        ("Unreadable", r"its scores\(\) failed: ZeroDivisionError"),
    ],
)
def test_what_a_task_says_wrongly_is_found_before_a_run_trains(
    own: str, name: str, problem: str, small_world: World
) -> None:
    config = checked(DatasetConfig, {"parts": [{"task": f"{own}:{name}", "cities": "world", "n_train": 50}]})
    with pytest.raises(UserError, match=problem):
        check_possible(config.model_copy(update={"n_val": 5, "n_test": 5}), small_world)


def test_an_order_that_is_made_in_place_leaves_the_questions_as_drawn(own: str, thirty_cities: Path) -> None:
    world = World.build(thirty_cities, regions=[])
    questions, _ = Pool(task_of(f"{own}:InPlace"), world, Where("world")).ask(300, streams(1, "sum"))
    ascending = (np.diff(questions.cities, axis=1) > 0).all(axis=1)
    assert 0.05 < ascending.mean() < 0.35


@pytest.mark.parametrize(
    "wrong, problem",
    [
        ({"tokenizer": {"kind": "city"}, "training": {"loss": "row"}}, "training.loss is row"),
        ({"tokenizer": {"version": 3}}, "tokenizer.version"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(wrong: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        checked(RunConfig, wrong)


@pytest.mark.parametrize(
    "overrides, problem",
    [
        (
            ["tokenizer.kind=city", "training.loss=answer"],
            "written with 4 digits, and a model of this run has one token",
        ),
        (["tokenizer.version=1"], "its rows have E N S W, and a model of this run has no such symbols"),
        (["base=dist_100k_1M_20epochs"], "no such symbols .* tokenizer.version=2"),
    ],
)
def test_a_vocabulary_that_cannot_write_a_task_is_refused(overrides: list[str], problem: str, tmp_path: Path) -> None:
    config = configs.load(ROOT / "examples" / "seven_tasks.yaml", [*overrides, f"output_root={tmp_path}"])
    with pytest.raises(UserError, match=problem):
        train(config)


@pytest.mark.parametrize(
    "name, problem",
    [("made_first", r"the base made_first of .*made_first.yaml has no such symbols"), ("scratch_base", "with 'city'")],
)
def test_a_base_that_could_not_be_used_is_not_trained_first(name: str, problem: str, tmp_path: Path) -> None:
    """Nor is one that the package has a config of, by its bare name."""
    made = tmp_path / "made_first.yaml"
    made.write_text("dataset: {n_train: 1000}\n")
    file = made if name == "made_first" else name
    overrides = [f"base={name}", f"base_config={file}", f"output_root={tmp_path / 'out'}"]
    config = configs.load(ROOT / "examples" / "seven_tasks.yaml", overrides)
    with pytest.raises(UserError, match=problem):
        train(config)
    assert not (tmp_path / "out" / "experiments").exists()


def test_a_version_is_asked_for_in_advance_and_not_beside_another_base(small_config: RunConfig, tmp_path: Path) -> None:
    """A base of distances alone, of which tasks with other symbols can be fine-tuned."""
    few = {"max_steps": 1, "warmup_steps": 0}
    update = {"name": "v2", "output_root": str(tmp_path), "tokenizer": {"version": 2}, "training": few}
    config = checked(RunConfig, small_config.model_dump() | {"evaluation": {"probe": False}} | update)
    base = train(config) / "checkpoints" / "final"
    assert Vocabulary.load(base).version == 2
    with pytest.raises(UserError, match=r"tokenizer.version: the base .* has version 2, this run asks for 1"):
        train(config.model_copy(update={"name": "v1", "base": str(base), "tokenizer": {"version": 1}}))
