"""Tasks: what a form writes and reads back, and a user's own from the draw to the report."""

import json
import linecache
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlantis import config as configs
from atlantis import tasks
from atlantis.config import checked
from atlantis.data.dataset import Dataset, dataset_digest, overlaps
from atlantis.data.encoding import encode, encode_questions, longest_row, needed_by, prefix, probe_text, read_answers
from atlantis.data.mixture import check_possible, held_out_cross, parts_of, resolved
from atlantis.data.rows import Rows
from atlantis.errors import UserError
from atlantis.interpolate import interpolate
from atlantis.report.page import write_report
from atlantis.report.run_data import load
from atlantis.report.tables import run_sheet, run_table
from atlantis.runs import Run
from atlantis.settings import DatasetConfig, PartConfig, Region, RunConfig
from atlantis.tasks import Form, Questions, Task, task_of
from atlantis.tasks.checking import errors_of
from atlantis.tasks.distance import DISTANCE
from atlantis.tasks.form import ABSENT
from atlantis.tasks.score import by_slice, constant_error, score, scores_of
from atlantis.training import train
from atlantis.vocabulary import Vocabulary
from atlantis.world import World

OWN = '''
import numpy as np

from atlantis.tasks import Form, Task


class Compass(Task):
    """In which of four directions does the second city lie, seen from the first?"""

    name, unit, penalty = "compass", "wrong", 1.0
    form = Form("compass({city},{city})={word:N|E|S|W}")

    def answer(self, places, cities):
        dx = places.lon[cities[:, 1]] - places.lon[cities[:, 0]]
        dy = places.lat[cities[:, 1]] - places.lat[cities[:, 0]]
        return np.where(abs(dy) >= abs(dx), np.where(dy >= 0, 0, 2), np.where(dx >= 0, 1, 3))

    def error(self, predicted, true):
        return (predicted != true).astype(float)


class Tour(Task):
    """How many kilometres is the way around two to four cities, the last of which is a stop of its own?"""

    name, unit, penalty = "tour", "km", 80_000
    form = Form("tour({cities:1-3};{city})={int:7}")

    def answer(self, places, cities):
        around = np.roll(cities, -1, axis=1)
        return places.distance_km(cities, around).sum(axis=1)


class Wrong(Compass):
    name = "wrong"

    def answer(self, places, cities):
        return super().answer(places, cities) / 2


class Flat(Compass):
    name = "flat"

    def answer(self, places, cities):
        return super().answer(places, cities)[:, None]


class Beyond(Compass):
    name = "beyond"

    def answer(self, places, cities):
        return super().answer(places, cities) + 4


class Ragged(Compass):
    name = "ragged"

    def answer(self, places, cities):
        return [[1], [1, 2]]


class Leaves(Compass):
    name = "leaves"

    def answer(self, places, cities):
        raise SystemExit(3)


class Same(Compass):
    name = "same"

    def draw(self, seats, n):
        return np.array([[0, 1]] * n)


class Twice(Compass):
    name = "twice"

    def draw(self, seats, n):
        return np.repeat(seats.take(n)[:, :1], 2, axis=1)


class Elsewhere(Compass):
    """It leaves what its part asks about."""

    name = "elsewhere"

    def draw(self, seats, n):
        return np.arange(2 * n).reshape(n, 2) % len(seats.world.lon)


class Hungry(Compass):
    name = "hungry"

    def draw(self, seats, n):
        raise MemoryError


class Spaces(Compass):
    name = "near/far"


class Demanding(Compass):
    name = "demanding"

    def __init__(self, limit):
        self.limit = limit


class Strange(Compass):
    name = "strange"

    def draw(self, seats, n):
        return np.array([[0, 999]] * n)


class Broken(Compass):
    name = "broken"

    def answer(self, places, cities):
        return places.nothing


class Stops(Compass):
    name = "stops"

    def draw(self, seats, n):
        return seats.nothing(n)


class OneError(Compass):
    name = "one_error"

    def error(self, predicted, true):
        return 0.5


class AList(Compass):
    name = "a_list"

    def error(self, predicted, true):
        return [float(a != b) for a, b in zip(predicted, true, strict=True)]


class OneByOne(Compass):
    name = "one_by_one"

    def error(self, predicted, true):
        return np.vectorize(lambda a, b: float(a != b))(predicted, true)


class NoNumber(Compass):
    name = "no_number"

    def error(self, predicted, true):
        return np.full(len(true), np.nan)


class Endless(Compass):
    name, penalty = "endless", float("inf")


class Long(Task):
    name, unit, penalty = "long", "km", 1
    form = Form("averyverylongname({city},{city},{city},{city})={int:9}")

    def answer(self, places, cities):
        return cities[:, 0]
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a user's module of tasks, which is the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "own_tasks.py").write_text(OWN)
    return tmp_path


def parts(*given: tuple[str, Any, int], **more: Any) -> dict[str, Any]:
    return {"parts": [{"task": t, "cities": c, "n_train": n} for t, c, n in given], "n_val": 8, "n_test": 24} | more


# forms

FORMS = {
    "dist({city},{city})={int:5}": "dist(c_3,c_4)=7",
    "inside({city};{cities:3-5})={word:TRUE|FALSE}": "inside(c_3;c_4,c_5,c_6)=TRUE",
    "perimeter({cities:2-5})={int}": "perimeter(c_3,c_4)=7",
    "cross({city},{city};{city},{city})={word:TRUE|FALSE}": "cross(c_3,c_4;c_5,c_6)=TRUE",
    "loc({city})={int:4}": "loc(c_3)=7",
    "inside({city:04};{cities:3-5:04})={word:TRUE|FALSE}": "inside(c_0003;c_0004,c_0005,c_0006)=TRUE",
}


OF_KINDS = [("characters", form) for form in FORMS] + [("city", form) for form in FORMS if ":0" not in form]
"""What each vocabulary can write: in a city's own token there are no zeros to fill up with."""


@pytest.mark.parametrize("kind, template", OF_KINDS)
@settings(max_examples=25)
@given(data=st.data())
def test_a_row_is_its_text_in_tokens_and_its_answer_is_read_back(kind: str, template: str, data) -> None:
    form, n = Form(template), data.draw(st.integers(1, 6))
    vocabulary = Vocabulary(kind, data.draw(st.sampled_from([10, 5_175])), version=2)  # type: ignore[arg-type]
    city = st.integers(0, vocabulary.n_cities - 1)
    cities = np.full((n, form.seats), ABSENT)
    for row in cities:
        count = data.draw(st.integers(form.least_cities, form.seats))
        row[form.seated(count)] = data.draw(st.lists(city, min_size=count, max_size=count))
    answer = np.array(data.draw(st.lists(st.integers(0, form.n_answers - 1), min_size=n, max_size=n)))
    rows, columns = encode(form, vocabulary, cities, answer), form.text_columns(cities, answer)
    start = prefix(form, vocabulary)
    whole = np.concatenate([np.tile(start, (n, 1)), rows.tokens], axis=1)
    texts = [a + b for a, b in zip(columns["prompt"].to_pylist(), columns["completion"].to_pylist(), strict=True)]
    assert vocabulary.decode(whole) == texts
    assert [text.removeprefix("<bos>").removesuffix("<eos>") for text in texts] == columns["text"].to_pylist()
    assert vocabulary.decode(
        np.where(np.arange(whole.shape[1]) < rows.prompt_length[:, None] + len(start), whole, 0)
    ) == (columns["prompt"].to_pylist())
    assert rows.length.max() <= longest_row(form, vocabulary) == rows.tokens.shape[1]
    written, _ = vocabulary.encode(columns["completion"].to_pylist())
    assert read_answers(form, written).tolist() == answer.tolist()
    cut = np.where(written == vocabulary.eos, 0, written)
    assert (read_answers(form, cut) == -1).all(), "an answer that is not closed is none"


@pytest.mark.parametrize("template", FORMS)
def test_an_example_is_as_one_would_write_it(template: str) -> None:
    form = Form(template)
    cities = np.full((1, form.seats), ABSENT)
    cities[0, form.seated(form.least_cities)] = 3 + np.arange(form.least_cities)
    answer = np.array([0 if form.words else 7])
    assert form.text_columns(cities, answer)["text"].to_pylist() == [FORMS[template]]


@pytest.mark.parametrize(
    "template, problem",
    [
        ("dist({city},{city})=", "must end with the answer"),
        ("dist({city},{city})={int}!", "must end with the answer"),
        ("dist({town})={int}", "is not"),
        ("dist({cities:3-2})={int}", "is not"),
        ("dist()={int}", "needs a city"),
        ("dist({cities:1-2},{cities:1-2})={int}", "at most one"),
        ("dist({city}{city})={int}", "needs text before it"),
        ("dist({city}7{city})={int}", "needs text before it"),
        ("dist({city:4},{city:4})={int}", "is not"),
        ("dist({city:04},{city})={int}", "as many digits everywhere"),
        ("dist({city})={int:0}", "1 to 9 digits"),
        ("dist({city})={word:a|a}", "different"),
    ],
)
def test_impossible_forms_are_refused(template: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Form(template)


def test_a_words_beginning_is_not_the_word() -> None:
    form, vocabulary = Form("compass({city},{city})={word:n|ne|e}"), Vocabulary("characters", 10)
    given = ["n<eos>", "ne<eos>", "e<eos>", "en<eos>", "n", "ne", "nee<eos>", "n<eos>e", "7<eos>", "<eos>"]
    assert read_answers(form, vocabulary.encode(given)[0]).tolist() == [0, 1, 2, -1, -1, -1, -1, -1, -1, -1]


# scores


def test_the_best_constant_answer() -> None:
    class Right(Task):
        name, unit, penalty = "right", "wrong", 1.0
        form = Form("right({city})={word:a|b|c}")

        def error(self, predicted: Any, true: Any) -> Any:
            return (predicted != true).astype(float)

    assert constant_error(DISTANCE, np.array([0, 10, 500]), np.array([10, 20])) == 5
    assert constant_error(Right(), np.array([1, 1, 2]), np.array([1, 2, 2, 0])) == 0.75
    questions = Questions.of(Right(), np.arange(4)[:, None], np.array([1, 1, 2, 2]))
    scores = by_slice(score(np.array([1, 1, 1, -1]), questions), "right")
    assert scores["all"]["mean_wrong"] == 0.5 and scores["all"]["skill"] == 0 and scores["all"]["parsed"] == 0.75


def test_scores_of_old_records_are_read_and_others_refused() -> None:
    old = {"slices": {"all": {"n": 9, "mean_km": 98.5, "parsed": 1.0}}}
    assert by_slice(scores_of(old)) == {"all": {"n": 9, "mean_km": 98.5, "parsed": 1.0}}
    assert {entry.task for entry in scores_of(old)} == {"distance"} and scores_of({}) == []
    for wrong in ({"slices": []}, {"slices": {"all": 3}}, {"scores": {}}, {"scores": [{"task": "x"}]}, {"scores": 3}):
        with pytest.raises(ValueError, match="not a score"):
            scores_of(wrong)
    with pytest.raises(ValueError, match="not a score"):
        scores_of({"slices": {"all": {"n": 3, "mean_km": "x"}}})


# parts and a user's own tasks


def test_a_part_may_say_how_many_are_held_out(small_world: World) -> None:
    """One part is for tests only; the others share what is left, by their training questions."""
    touching = {"touching": "Atlantis"}
    config = checked(
        DatasetConfig,
        {
            "parts": [
                {"task": "distance", "n_train": 60},
                {"task": "distance", "cities": {"inside": "Atlantis"}, "n_train": 0, "n_val": 0, "n_test": 9},
                {"task": "distance", "cities": touching, "n_train": 20},
            ],
            "n_val": 8,
            "n_test": 29,
        },
    )
    assert [part.sizes for part in parts_of(config)] == [(60, 6, 15), (0, 0, 9), (20, 2, 5)]
    splits = Dataset.build(small_world, config).splits
    assert len(splits["train"]) == 80 and splits["test"].counts()["atlantis-atlantis"] >= 9
    assert dataset_digest(config, "w") != dataset_digest(
        checked(DatasetConfig, config.model_dump() | {"n_test": 30}), "w"
    )
    small = {"parts": [{"n_train": 1_000, "n_test": 10_000}, {"n_train": 1_000, "cities": touching}]}
    assert checked(DatasetConfig, small).sizes == (2_000, 128, 20_000), "who says nothing is not left without"
    tests_only = {"parts": [{"n_train": 9, "n_val": 10, "n_test": 0}, {"n_train": 0, "n_test": 50, "cities": touching}]}
    assert checked(DatasetConfig, tests_only).sizes == (9, 10, 50)
    assert "n_val" not in checked(DatasetConfig, small).model_dump()["parts"][1], "as before there was such a number"
    own = {"n_val": 1, "n_test": 2}
    alone = checked(DatasetConfig, {"parts": [{"n_train": 5} | own, {"n_train": 4, "cities": touching} | own]})
    assert alone.sizes == (9, 2, 4), "all say it, so the dataset has their sum"


def test_a_part_for_tests_alone_may_be_a_preset_in_a_small_world(small_world: World) -> None:
    touching = {"task": "distance", "cities": {"touching": "virtual"}, "n_train": 0, "n_val": 5, "n_test": 20}
    config = checked(DatasetConfig, {"parts": [{"n_train": 200, "n_val": 5, "n_test": 20}, touching]})
    check_possible(config, small_world)
    built = Dataset.build(small_world, config)
    assert built.splits["test"].counts()["world-world"] == 20 and len(built.splits["test"]) == 40


def test_a_question_that_two_parts_train_on_is_told(small_world: World) -> None:
    """The region with the most of the 30 cities: all its pairs are among all pairs of real cities."""
    region = max(small_world.regions[:-1], key=lambda name: len(small_world.ids_of(name)))
    n = len(small_world.ids_of(region)) * (len(small_world.ids_of(region)) - 1) // 2
    config = checked(
        DatasetConfig,
        parts(("distance", "world", 435), ("distance", {"inside": region}, n)) | {"n_val": 0, "n_test": 0},
    )
    built = Dataset.build(small_world, config)
    assert len(built.splits["train"]) == 435 + n
    assert f"{n:,} training questions stand twice: two parts of the dataset have them" in built.notes


@pytest.mark.parametrize(
    "given, problem",
    [
        ([{"n_train": 0}], "n_train is 0, so give n_val or n_test"),
        ([{"n_train": 0, "n_test": 5}], "no part has training questions"),
        ([{"n_train": 5, "n_test": 25}, {"n_train": 5, "cities": {"inside": "Atlantis"}}], "n_test is 24, but"),
        ([{"n_train": 5, "n_test": 20, "n_val": 8}], "n_test is 24, but its parts have 20; leave it out"),
    ],
)  # fmt: skip
def test_numbers_of_parts_that_do_not_add_up_are_refused(given: Any, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        checked(DatasetConfig, {"parts": given, "n_val": 8, "n_test": 24})


def test_a_preset_is_its_parts(small_world: World) -> None:
    """The same questions, whichever way they are asked for."""
    sizes = {"n_val": 5, "n_test": 7}
    for kind, cities in (("distance", "world"), ("inter", {"inside": "virtual"}), ("cross", {"touching": "virtual"})):
        preset = Dataset.build(small_world, DatasetConfig(kind=kind, n_train=9, **sizes))  # type: ignore[arg-type]
        config = checked(DatasetConfig, {"parts": [{"task": "distance", "cities": cities, "n_train": 9}], **sizes})
        assert Dataset.build(small_world, config).splits == preset.splits


def test_a_mixture_shares_only_what_all_rows_begin_with(own: Path, small_world: World, tmp_path: Path) -> None:
    config = checked(
        DatasetConfig,
        parts(
            ("own_tasks:Tour", {"touching": "Atlantis"}, 60),
            ("distance", "world", 30),
            ("own_tasks:Compass", "world", 30),
        ),
    )
    dataset = Dataset.build(small_world, config)
    train = dataset.splits["train"]
    assert len(train) == 120 and [task.name for task in dataset.tasks] == ["tour", "distance", "compass"]
    tour = train[train.task == 0]
    counts = (tour.cities != ABSENT).sum(axis=1)
    assert set(counts) == {2, 3, 4} and (tour.slice > 0).all() and (train.slice[train.task > 0] == 0).all()
    every = Questions.concatenate(list(dataset.splits.values())).keys()
    assert all(len(np.unique(keys)) == len(keys) for keys in every.values()), "no question is in two splits"
    assert needed_by(dataset.tasks) == 2
    vocabulary = Vocabulary("characters", len(small_world), 2)
    shared, rows = encode_questions(train, vocabulary)
    assert vocabulary.decode(np.array([shared])) == ["<bos>"]
    assert [text.removesuffix("<eos>") for text in vocabulary.decode(rows.tokens)] == [
        row["text"] for row in _saved(dataset, tmp_path / "there")
    ]
    batch = Rows(train, vocabulary).batch(np_to_torch(np.arange(120)))
    assert batch.prefix.tolist() == [1] and batch.targets.shape[1] == 8
    assert Dataset.load(tmp_path / "there") == dataset


def np_to_torch(array: np.ndarray) -> Any:
    import torch

    return torch.as_tensor(array)


def _saved(dataset: Dataset, folder: Path) -> list[dict[str, Any]]:
    import datasets

    dataset.save(folder)
    rows: Any = list(datasets.load_from_disk(str(folder))["train"])
    assert set(rows[0]) == {"prompt", "completion", "text", "cities", "answer", "slice", "task"}
    assert "tour" in (folder / "README.md").read_text()
    return rows


def test_a_users_tasks_from_the_draw_to_the_report(
    own: Path, small_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Draw, train, evaluate, probe and report, with words and numbers, `;` and upper-case letters."""
    regions = [region.model_dump() for region in RunConfig().world.regions]
    run = checked(
        RunConfig,
        {
            "name": "own",
            "output_root": str(own / "outputs"),
            "world": {"cities": str(_cities(own)), "regions": [regions[0] | {"count": 12}]},
            "dataset": parts(("own_tasks:Compass", "world", 80), ("own_tasks:Tour", {"touching": "Atlantis"}, 40)),
            "model": {"hidden_size": 32, "n_layers": 2, "n_heads": 2, "mlp_size": 32, "context": 40},
            "training": {"batch_size": 16, "max_steps": 2, "warmup_steps": 0, "device": "cpu"},
            "evaluation": {"steps": [0], "fractions": [1.0], "n_items": 8},
            "probe": {"n_cities": 40, "n_train": 20, "layers": [0, 1], "repeats": 2},
        },
    )
    folder = train(run)
    facts = json.loads((folder / "checkpoints" / "final" / "atlantis.json").read_text())
    vocabulary = Vocabulary.load(folder / "checkpoints" / "final")
    assert facts["tasks"] == ["own_tasks:Compass", "own_tasks:Tour"] and vocabulary.version == 2
    assert probe_text(task_of("own_tasks:Compass").form, vocabulary, 3) == "<bos>compass(c_3,c_"
    data = load(folder)
    found = data.scores.groupby("task")["slice"].unique()
    assert set(found.index) == {"compass", "tour"} and "world-world" in found["compass"] and data.task.empty
    assert {"mean", "parsed", "skill"} <= set(data.scores["metric"])
    assert (folder / "analysis" / "map" / "measures.parquet").is_file()
    page = write_report(folder).read_text()
    assert "compass, real" in page and "tour, real" in page
    caption = str(run_table(data).caption)
    assert "skill: of the answers" in caption and "task km" not in caption
    assert {"compass world-world skill", "tour world-Atlantis skill"} <= set(run_sheet(data).rows)
    between = interpolate(folder, [0, 1])
    assert list(between.columns) == ["alpha", "world-world wrong", "map of real cities km"]
    assert between["world-world wrong"].between(0, 1).all()

    there = Run(folder)
    with pytest.raises(UserError, match="compass: a question is about 2 cities, not 3"):
        there.ask(0, 1, 2)
    monkeypatch.setattr("atlantis.runs.probed_task", lambda checkpoint: task_of("own_tasks:Tour"))
    assert there.ask(0, 1, 2).true == there.world.distance_km([0, 1, 2], [1, 2, 0]).sum()
    with pytest.raises(UserError, match="tour: a question is about 2 to 4 cities, not 5"):
        there.ask(*range(5))


def _cities(folder: Path) -> Path:
    rng, file = np.random.default_rng(0), folder / "cities.csv"
    rows = [f"C{k},{rng.uniform(-60, 60):.3f},{rng.uniform(-170, 170):.3f},FR,200000" for k in range(48)]
    file.write_text("\n".join(["name,lat,lon,country,population", *rows]) + "\n")
    return file


@pytest.mark.parametrize(
    "given, problem",
    [
        ([("distanze", "world", 10)], r"dataset.parts\[0\].task: no task 'distanze'; did you mean distance\?"),
        ([("nowhere:Task", "world", 10)], r"dataset.parts\[0\].task: 'nowhere' cannot be imported"),
        ([("own_tasks:Nothing", "world", 10)], "has no subclass of .*Task named 'Nothing'"),
        ([("own_tasks:Wrong", "world", 10)], r"answer\(\) must return whole numbers of shape .*; it returned float64"),
        ([("own_tasks:Flat", "world", 10)], r"answer\(\) must return whole numbers .* of shape \(\d+, 1\)"),
        ([("own_tasks:Beyond", "world", 10)], r"can write 0 to 3"),
        ([("own_tasks:Broken", "world", 10)], r"answer\(\) failed: AttributeError"),
        ([("own_tasks:Ragged", "world", 10)], r"answer\(\) failed: ValueError"),
        ([("own_tasks:Leaves", "world", 10)], r"answer\(\) failed: SystemExit: 3"),
        ([("own_tasks:Same", "world", 10)], r"draw\(\) returned \d+ questions, and 1 different"),
        ([("own_tasks:Strange", "world", 10)], r"draw\(\) returned \[0, 999\], and the cities of this world are 0 to"),
        (
            [("own_tasks:Twice", "world", 10)],
            r"draw\(\) returned \[(\d+), \1\]; a question names different cities, and",
        ),
        ([("own_tasks:Elsewhere", {"inside": "Atlantis"}, 10)], r"draw\(\) returned \[0, 1\]; .* between 8 "),
        ([("own_tasks:Spaces", "world", 10)], r"its name is 'near/far'; use up to 40 letters, digits and _"),
        ([("own_tasks:Demanding", "world", 10)], r"task demanding: its __init__\(\) failed: TypeError: .*limit"),
        ([("own_tasks:Stops", "world", 10)], r"task stops: its draw\(\) failed: AttributeError"),
        ([("own_tasks:OneError", "world", 10)], r"error\(\) must return numbers of shape \(\d+,\); .* of shape \(\)"),
        ([("own_tasks:NoNumber", "world", 10)], r"error\(\) returned nan; an error is from 0 on, below 1e\+12"),
        ([("own_tasks:Endless", "world", 10)], "its penalty is inf; give a number from 0 on, below"),
        ([("./own_tasks.py:Compass", "world", 10)], "write a module's name and not a path, such as own_tasks:Compass"),
        ([("distance", {"inside": "Lemuria"}, 10)], r"dataset.parts\[0\]: no region 'Lemuria' in this world; it has"),
        ([("own_tasks:Compass", {"inside": "Atlantis"}, 1_000_000)], "compass questions asked for .* at most"),
        ([("distance", "world", 10), ("distance", "world", 10)], "twice with the same cities"),
    ],
)
def test_impossible_parts_are_refused(own: Path, small_world: World, given: Any, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        check_possible(checked(DatasetConfig, parts(*given)), small_world)


@pytest.mark.parametrize("name", ["AList", "OneByOne"])
def test_an_error_may_be_written_as_one_likes(name: str, own: Path, small_world: World) -> None:
    check_possible(checked(DatasetConfig, parts((f"own_tasks:{name}", "world", 10))), small_world)
    task = task_of(f"own_tasks:{name}")
    assert errors_of(task, np.array([1, 2, -1]), np.array([1, 3, 0])).tolist() == [0, 1, 1]
    assert errors_of(task, np.array([-1, -1]), np.array([1, 3])).tolist() == [1, 1], "none is readable"
    questions = Questions.of(task, np.arange(8).reshape(4, 2), np.array([0, 1, 1, 2]))
    assert by_slice(score(np.full(4, 1), questions), task.name)["all"]["mean_wrong"] == 0.5


def test_rows_that_outgrow_the_context_are_refused(own: Path) -> None:
    config = checked(
        RunConfig, {"name": "long", "output_root": str(own), "dataset": parts(("own_tasks:Long", "world", 10))}
    )
    with pytest.raises(UserError, match=r"model.context: 32 is too short .* \(task long\)"):
        train(config)
    assert not (own / "experiments").exists()


@pytest.mark.parametrize(
    "wrong, problem",
    [
        ({"parts": []}, "parts"),
        ({"kind": "cross", "parts": [{"n_train": 5}]}, "give a kind alone, or parts"),
        ({"kind": "parts"}, "give a kind alone, or parts"),
        ({"parts": [{"n_train": 5, "cities": {"inside": "A", "touching": "B"}}]}, "must be world, {inside: REGION} or"),
        ({"parts": [{"n_train": 5, "cities": "Atlantis"}]}, "must be world, {inside: REGION} or"),
        ({"parts": [{"n_train": 5}], "n_train": 6}, "its parts have 5"),
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        checked(DatasetConfig, wrong)


def test_no_memory_is_not_the_tasks_fault(own: Path, small_world: World) -> None:
    with pytest.raises(MemoryError):
        check_possible(checked(DatasetConfig, parts(("own_tasks:Hungry", "world", 10))), small_world)


def test_the_share_within_a_region_is_had_beside_another_part() -> None:
    """The study's dataset of 110,128 questions could not have it: there are 4,950 pairs within Atlantis."""
    world = World.build()
    given = parts(("distance", {"touching": "Atlantis"}, 400), ("distance", "world", 400))
    counts = Dataset.build(world, checked(DatasetConfig, given | {"inter_ratio": 0.5})).counts["train"]
    assert 150 < counts["atlantis-atlantis"] < 250 and counts["world-world"] == 400


def test_a_small_mixed_dataset_is_asked_about_as_many_held_out_pairs() -> None:
    """Of each kind what an evaluation asks, also where its training pairs are few and have their share within."""
    world = World.build()
    config = resolved(checked(DatasetConfig, {"kind": "mixed", "n_distance": 400, "n_cross": 2000}), world)
    counts = held_out_cross(world, config).counts()
    assert counts["world-atlantis"] > 512 and counts["atlantis-atlantis"] > 512
    train = Dataset.build(world, config).counts["train"]
    assert 150 < train["atlantis-atlantis"] < 250, "a tenth"


@pytest.mark.parametrize("second", [[], [("distance", "world", 20)]])
def test_a_task_that_keeps_few_works_beside_another_part(second: list[Any], own: Path) -> None:
    text = OWN.replace('"compass"', '"near"') + NEAR
    (own / "near_tasks.py").write_text(text)
    given = parts(("near_tasks:Near", {"touching": "Atlantis"}, 200), *second)
    assert Dataset.build(World.build(), checked(DatasetConfig, given)).counts["train"]["world-atlantis"] > 0


NEAR = """

class Near(Compass):
    def draw(self, seats, n):
        return seats.take(n, lambda cities: seats.world.distance_km(cities[:, 0], cities[:, 1]) < 2500)
"""


def test_questions_that_stand_twice_are_not_shared_with_another_dataset(small_world: World) -> None:
    region = max(small_world.regions[:-1], key=lambda name: len(small_world.ids_of(name)))
    n = len(small_world.ids_of(region)) * (len(small_world.ids_of(region)) - 1) // 2
    twice = parts(("distance", "world", 435), ("distance", {"inside": region}, n)) | {"n_val": 0, "n_test": 0}
    virtual = checked(DatasetConfig, {"kind": "inter", "n_train": 10, "n_val": 0, "n_test": 8})
    ours, other = (Dataset.build(small_world, config) for config in (checked(DatasetConfig, twice), virtual))
    assert set(overlaps(ours, other)["train"].values()) == {0}
    assert overlaps(ours, ours)["train"]["train"] == 435 + n


def test_code_is_that_of_the_class_in_use(own: Path, small_world: World) -> None:
    """The file is edited while its class is in use: the class's rows are not taken for those of the new code."""
    config = resolved(checked(DatasetConfig, parts(("own_tasks:Compass", "world", 10))), small_world)
    before = dataset_digest(config, "w")
    (own / "own_tasks.py").write_text(OWN.replace("predicted != true", "predicted == true"))
    linecache.checkcache()
    assert dataset_digest(config, "w") == before


def test_what_was_typed_is_no_task(small_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its source cannot be read, so its datasets could not be told from those of another version."""
    typed = types.ModuleType("typed")
    exec(OWN, typed.__dict__)
    monkeypatch.setitem(sys.modules, "typed", typed)
    config = resolved(checked(DatasetConfig, parts(("typed:Compass", "world", 10))), small_world)
    with pytest.raises(UserError, match="typed:Compass: its source cannot be read; put the class into a file"):
        dataset_digest(config, "w")


def test_an_edited_task_is_another_dataset(own: Path, small_world: World) -> None:
    config = resolved(checked(DatasetConfig, parts(("own_tasks:Compass", "world", 10))), small_world)
    assert dataset_digest(config, "w") == dataset_digest(config, "w")
    distances = resolved(checked(DatasetConfig, parts(("distance", "world", 10))), small_world)
    assert dataset_digest(config, "w") != dataset_digest(distances, "w")
    old = checked(DatasetConfig, {"kind": "inter", "offset": 50})
    assert old.first_virtual == 50 and dataset_digest(old, "w") == dataset_digest(
        checked(DatasetConfig, {"kind": "inter", "first_virtual": 50}), "w"
    )


CORNER = """
from atlantis.tasks.form import Form
from atlantis.tasks.task import Task

class Corner(Task):
    name, unit, penalty = "corner", "corners", 1.0
    form = Form("corner({city})={int:1}")

    def answer(self, places, cities):
        return cities[:, 0] % 4
"""


def test_a_task_of_the_package_is_told_by_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "known", lambda: ["corner", "distance"])
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(tmp_path)])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def written(code: str) -> None:
        (tmp_path / "corner.py").write_text(code)
        sys.modules.pop("atlantis.tasks.corner", None)
        tasks.task_of.cache_clear()
        linecache.clearcache()

    digests = []
    for code in (CORNER, CORNER + "# a remark\n", CORNER.replace("% 4", "% 3")):
        written(code)
        digests.append(tasks.task_digest("corner"))
    assert digests[0] == digests[1] != digests[2]
    assert tasks.task_digest("distance") == "distance", "its rows are held by test_same_numbers"
    mistakes = {
        "x = (": "corner.py cannot be imported: SyntaxError",
        "": "must define one subclass of Task, not 0",
        CORNER.replace('"corner", ', '"edge", '): "its task is named 'edge'",
        CORNER.replace("{int:1}", ""): "must end with the answer",
    }
    for code, message in mistakes.items():
        written(code)
        with pytest.raises(UserError, match=message):
            tasks.task_of("corner")
    written("")


# parts on the command line


PARTS = "dataset.parts=[{task: distance, cities: world, n_train: 1000}, {cities: {touching: Atlantis}, n_train: 9}]"


def test_parts_on_the_command_line_replace_the_kind_of_the_config() -> None:
    dataset = configs.load("demo", [PARTS, "dataset.parts.1.n_train=7"]).dataset
    assert configs.load("demo").dataset.kind == "cross" and dataset.kind == "parts"
    assert dataset.parts is not None and [part.n_train for part in dataset.parts] == [1000, 7]
    assert dataset.parts[0] == PartConfig(task="distance", cities="world", n_train=1000)
    assert dataset.parts[1].cities == Region(touching="Atlantis")
    grid = configs.changed(configs.load("demo", ["dataset.n_train=500"]), [PARTS])
    assert grid.dataset.parts is not None and grid.dataset.sizes[0] == 1009
    assert configs.changed(grid, ["dataset.kind=inter"]).dataset.parts is None
    assert configs.changed(grid, ["dataset.kind=parts"]) == grid


def test_parts_of_a_file_replace_the_kind_of_what_it_extends(tmp_path: Path) -> None:
    (tmp_path / "parts.yaml").write_text("extends: demo\ndataset:\n  parts: [{n_train: 5}]\n")
    (tmp_path / "kind.yaml").write_text("extends: parts.yaml\ndataset:\n  kind: inter\n")
    parts, kind = (configs.load(tmp_path / f"{name}.yaml").dataset for name in ("parts", "kind"))
    assert (parts.kind, parts.sizes[0]) == ("parts", 5) and (kind.kind, kind.parts) == ("inter", None)


@pytest.mark.parametrize(
    "overrides, problem",
    [
        ([PARTS, "dataset.kind=cross"], "give a kind alone, or parts"),
        ([PARTS, "dataset.n_train=5"], "its parts have 1009"),
        (
            ["dataset.parts=[{n_train: 5, citys: world}]"],
            r"citys: unknown key; did you mean .*cities\?",
        ),
        (["dataset.parts=[{n_train: 5"], "not valid YAML"),
        (["dataset.parts=[{n_train: 5, cities: {inside: A, touching: B}}]"], "must be world, {inside: REGION} or"),
    ],
)
def test_mistakes_in_parts_on_the_command_line_are_named(overrides: list[str], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        configs.load("demo", overrides)
