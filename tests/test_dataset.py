"""The four datasets: the study's counts, disjoint splits, folders that `datasets` reads, the same bytes, refusals."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import atlantis
from atlantis import artifacts
from atlantis.data import SLICES, Dataset, overlaps
from atlantis.data.dataset import COLUMNS, dataset_digest
from atlantis.data.encoding import encode
from atlantis.data.mixture import check_possible
from atlantis.errors import UserError
from atlantis.readout.evaluate import evaluation_questions, shared_questions
from atlantis.settings import DatasetConfig
from atlantis.vocabulary import Vocabulary
from atlantis.world import OCEANS, VirtualRegion, World
from tests.distances import FORM, completion, prompt, text

KINDS = ("distance", "inter", "cross", "mixed")


@pytest.fixture(scope="module")
def world():
    return World.build()


@pytest.fixture(scope="module")
def study(world):
    """The study's datasets by kind."""
    return {kind: Dataset.build(world, DatasetConfig(kind=kind)) for kind in KINDS}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """30 real cities and 12 virtual ones."""
    path = tmp_path_factory.mktemp("world") / "cities.csv"
    rows = [f"City {k},{(k * 37) % 170 - 85},{(k * 73) % 350 - 175},FR,{1000 + k}" for k in range(30)]
    path.write_text("\n".join(["name,lat,lon,country,population", *rows]) + "\n")
    return World.build(path, regions=[VirtualRegion(count=12)])


def small_config(kind, **changes):
    sizes = {"mixed": {"n_distance": 40, "n_cross": 60, "n_val": 10, "n_test": 5}}
    return DatasetConfig(**{"kind": kind, **sizes.get(kind, {"n_train": 40, "n_val": 5, "n_test": 7}), **changes})


# the study's numbers


@pytest.mark.parametrize(
    "kind, name, sizes",
    [
        ("distance", "dist_100k_1M_42", {"train": 1_000_000, "validation": 128, "test": 10_000}),
        ("inter", "atlantis_inter_4k_42", {"train": 4_000, "validation": 128, "test": 500}),
        ("cross", "atlantis_cross_100k_42", {"train": 100_000, "validation": 128, "test": 10_000}),
        ("mixed", "mixed_dist20k_cross100k_42", {"train": 120_000, "validation": 128}),
    ],
)
def test_the_studys_names_and_sizes(study, kind, name, sizes):
    dataset = study[kind]
    assert (dataset.name, dataset.kind) == (name, kind)
    assert {split: len(pairs) for split, pairs in dataset.splits.items()} == sizes
    assert {split: sum(by_slice.values()) for split, by_slice in dataset.counts.items()} == sizes


@pytest.mark.parametrize("kind", KINDS)
def test_no_pair_twice_and_none_in_two_splits(study, kind):
    keys = np.concatenate([pairs.keys()["distance"] for pairs in study[kind].splits.values()])
    assert len(np.unique(keys)) == len(keys)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_agree_with_the_world(study, world, kind):
    for pairs in study[kind].splits.values():
        assert np.array_equal(pairs.answer, world.distance_km(*pairs.cities.T))
        virtual = world.is_virtual[pairs.cities].sum(axis=1)
        assert np.array_equal(pairs.slice, virtual)
        assert abs((pairs.cities[:, 0] > pairs.cities[:, 1]).mean() - 0.5) < 5 * 0.5 / np.sqrt(len(pairs))


def test_slices_of_each_kind(study):
    assert study["distance"].counts["train"] == {SLICES[0]: 1_000_000, SLICES[1]: 0, SLICES[2]: 0}
    assert study["inter"].counts["test"] == {SLICES[0]: 0, SLICES[1]: 0, SLICES[2]: 500}


def test_cross_shares_are_the_studys(study):
    """All 4,950 inter pairs over 110,128: 4.5 / 95.5 % in training, chance around it in the small splits."""
    counts = study["cross"].counts
    total = {name: sum(by_split[name] for by_split in counts.values()) for name in SLICES}
    assert total == {SLICES[0]: 0, SLICES[1]: 105_178, SLICES[2]: 4_950}
    for split, n in (("train", 100_000), ("validation", 128), ("test", 10_000)):
        share = counts[split][SLICES[2]] / n
        assert abs(share - 0.04495) < 5 * np.sqrt(0.04495 * 0.95505 / n * (1 - n / 110_128))
    assert round(100 * counts["train"][SLICES[2]] / 100_000, 1) == 4.5
    assert study["cross"].notes == [
        "asked for 11,012 inter pairs (10 %), 4,950 exist: all are used, the rest (105,178) are cross pairs"
    ]


@pytest.mark.parametrize("ratio, inter", [(0.0, 0), (0.02, 2_202), (0.04, 4_405)])
def test_the_inter_share_is_adjustable(world, ratio, inter):
    dataset = Dataset.build(world, DatasetConfig(kind="cross", inter_ratio=ratio))
    assert sum(by_slice[SLICES[2]] for by_slice in dataset.counts.values()) == inter
    assert dataset.notes == []


def test_mixed_is_old_and_new_training_data(study):
    mixed = study["mixed"]
    assert mixed.counts["train"][SLICES[0]] == 20_000
    assert mixed.counts["validation"][SLICES[0]] == 21  # 128 * 20 / 120
    nothing = {"train": 0, "validation": 0, "test": 0}
    assert overlaps(mixed, study["distance"]) == {
        "train": {**nothing, "train": 20_000},
        "validation": {**nothing, "validation": 21},
    }
    assert overlaps(mixed, study["cross"]) == {
        "train": {**nothing, "train": 100_000},
        "validation": {**nothing, "validation": 107},
    }
    old = mixed.splits["train"].slice == 0
    assert abs(np.flatnonzero(old).mean() / len(old) - 0.5) < 0.02  # shuffled together
    assert any("20,000 training pairs are the first of dist_100k_1M_42" in note for note in mixed.notes)
    assert any("asked for 11,012 inter pairs" in note for note in mixed.notes)


def test_old_pairs_do_not_change_when_atlantis_comes(study):
    before = Dataset.build(World.build(regions=[]), DatasetConfig(n_train=50_000))
    assert before.splits["train"] == study["distance"].splits["train"][:50_000]
    assert before.splits["test"] == study["distance"].splits["test"]


def test_a_hundred_thousand_cities(tmp_path):
    """Five thousand million pairs exist; memory follows those asked for."""
    n = 100_000
    rng = np.random.Generator(np.random.PCG64(0))
    lat, lon = rng.uniform(-80, 80, n).round(4), rng.uniform(-180, 179, n).round(4)
    path = tmp_path / "cities.csv"
    rows = [f"C{k},{a},{o},FR,1" for k, (a, o) in enumerate(zip(lat.tolist(), lon.tolist(), strict=True))]
    path.write_text("\n".join(["name,lat,lon,country,population", *rows]))
    large = World.build(path, regions=[OCEANS["indian"]])
    pairs = Dataset.build(large, DatasetConfig(n_train=50_000)).splits["train"]
    assert pairs.cities.max() > 99_000 and len(np.unique(pairs.keys()["distance"])) == 50_000
    tokens = encode(FORM, Vocabulary("characters", len(large)), pairs.cities, pairs.answer)
    assert tokens.tokens.shape == (50_000, 23)


# a small world


@pytest.mark.parametrize("kind", KINDS)
def test_any_world_works(small, kind):
    dataset = Dataset.build(small, small_config(kind))
    assert sum(len(pairs) for pairs in dataset.splits.values()) == (115 if kind == "mixed" else 52)
    assert Dataset.build(small, small_config(kind)) == dataset
    assert Dataset.build(small, small_config(kind, seed=43)) != dataset


def test_names_follow_the_numbers(small, world):
    names = [Dataset.build(small, small_config(kind)).name for kind in KINDS]
    assert names == ["dist_30cities_40_42", "atlantis_inter_40_42", "atlantis_cross_40_42", "mixed_dist40_cross60_42"]
    assert Dataset.build(world, DatasetConfig(n_train=1_500, seed=7)).name == "dist_100k_1500_7"
    assert Dataset.build(small, small_config("inter", name="mine")).name == "mine"


def test_empty_splits_are_left_out(small):
    assert list(Dataset.build(small, small_config("inter", n_val=0, n_test=0)).splits) == ["train"]


def test_mixed_of_one_kind_only(small):
    dataset = Dataset.build(small, small_config("mixed", n_distance=0))
    assert dataset.counts["train"]["world-world"] == 0
    with pytest.raises(UserError, match="both 0"):
        Dataset.build(small, small_config("mixed", n_distance=0, n_cross=0))


def test_digest_follows_what_matters(small):
    config, digest = small_config("cross"), small.digest
    assert Dataset.build(small, config).digest == dataset_digest(config, digest)
    assert dataset_digest(config.model_copy(update={"name": "mine", "n_cross": 7}), digest) == dataset_digest(
        config, digest
    )
    changes = [{"seed": 1}, {"n_val": 6}, {"inter_ratio": 0.2}, {"first_virtual": 31}]
    digests = {dataset_digest(config.model_copy(update=change), digest) for change in changes}
    assert len({*digests, dataset_digest(config, digest), dataset_digest(config, "other")}) == 6


# refusals, before anything is written


@pytest.mark.parametrize(
    "kind, changes, message",
    [
        (
            "distance",
            {"n_train": 430},
            "442 distance pairs .* at most 435 .* n_train at most 423, n_val at most 0, n_test at most 0",
        ),
        ("inter", {"n_train": 60}, "72 inter pairs .* 12 virtual cities. .* n_train at most 54"),
        ("cross", {"n_train": 500}, "n_train at most 388"),  # 360 cross and a tenth of all: 40 of the 66 inter pairs
        ("cross", {"inter_ratio": 0.0, "n_test": 400}, "n_test at most 315"),
        ("mixed", {"n_distance": 500}, r"distance pairs asked for \(n_train=500.* at most 435"),
        ("mixed", {"n_cross": 500}, r"cross pairs asked for \(n_train=500"),
        ("cross", {"offset": 3}, "they start at 30 and end at 41"),
    ],
)
def test_too_much_is_refused_with_the_maximum(small, kind, changes, message):
    with pytest.raises(UserError, match=message):
        Dataset.build(small, small_config(kind, **changes))


def test_every_maximum_that_is_named_can_be_had(small):
    with pytest.raises(UserError) as error:
        Dataset.build(small, small_config("cross", n_train=390, n_val=20, n_test=30))
    most = {key: int(n) for key, n in re.findall(r"(n_\w+) at most (\d+)", str(error.value))}
    assert set(most) == {"n_train", "n_val", "n_test"}
    sizes = {"n_train": 390, "n_val": 20, "n_test": 30}
    Dataset.build(small, small_config("cross", **{**sizes, "n_train": most["n_train"]}))
    with pytest.raises(UserError):
        Dataset.build(small, small_config("cross", **{**sizes, "n_train": most["n_train"] + 1}))


@pytest.mark.parametrize("kind", ["inter", "cross", "mixed"])
def test_no_atlantis_is_said(kind):
    with pytest.raises(UserError, match="no virtual ones: add a region"):
        Dataset.build(World.build(regions=[]), DatasetConfig(kind=kind))


# what a run is asked


def test_a_run_is_asked_about_its_own_new_cities_and_not_about_those_of_its_base():
    """A base that learned another ocean before has held-out pairs of it, which the run does not train on."""
    seas = World.build(regions=[VirtualRegion(count=12), OCEANS["indian"]])
    first = small_config("cross", first_virtual=5075, n_test=500)
    second = small_config("cross", first_virtual=5087, n_test=500)
    of_base = shared_questions(seas, first, seas)
    items, _ = evaluation_questions(seas, Dataset.build(seas, second), of_base, n_per_slice=500, seed=42)
    assert (items.cities.max(1)[items.slice > 0] >= 5087).all() and (items.slice == 0).any()
    inter = small_config("inter", first_virtual=5087, n_train=400, n_test=50)
    items, _ = evaluation_questions(seas, Dataset.build(seas, inter), of_base, n_per_slice=500, seed=42)
    assert (items.cities.min(1)[items.slice == 2] >= 5087).all()
    assert (items.slice == 1).any(), "of a kind that the run itself does not ask"


def test_questions_about_real_cities_are_the_runs_and_its_bases(small):
    mixed, base = Dataset.build(small, small_config("mixed")), small_config("distance", seed=1, n_test=30)
    asked, _ = evaluation_questions(small, mixed, shared_questions(small, base, small), n_per_slice=500, seed=42)

    def real(split):
        return {frozenset(row) for row in split.cities[split.slice == 0].tolist()}

    theirs = real(Dataset.build(small, base).splits["test"])
    assert real(asked) == (real(mixed.splits["test"]) | theirs) - real(mixed.splits["train"])


def test_a_run_is_not_asked_what_it_learns(small_world: World):
    """A small world, and a part without held-out questions: they are drawn, and not as the training questions are."""
    world_part = {"cities": "world", "n_train": 200, "n_val": 0, "n_test": 0}
    parts = [world_part, {"cities": {"touching": "Atlantis"}, "n_train": 60}]
    config = DatasetConfig(parts=parts, n_val=10, n_test=20)  # type: ignore[arg-type]
    dataset = Dataset.build(small_world, config)
    items, note = evaluation_questions(small_world, dataset, None, n_per_slice=100, seed=42)
    real = set(items[np.flatnonzero(items.slice == 0)].keys()["distance"].tolist())
    assert len(real) >= 50 and "world-world pairs at random" in note
    assert not real & set(dataset.splits["train"].keys()["distance"].tolist())


def test_a_mixed_run_is_asked_as_much_as_a_cross_run():
    """A mixed dataset has no test pairs of its own: those of the cross dataset it draws from are asked."""
    world = World.build()
    mixed = Dataset.build(world, DatasetConfig(kind="mixed"))
    base = shared_questions(world, DatasetConfig(kind="distance"), world)
    items, note = evaluation_questions(world, mixed, base, n_per_slice=512, seed=42)
    assert items.counts() == {"world-world": 512, "world-atlantis": 512, "atlantis-atlantis": 461}
    assert "of the cross dataset it draws from" in note
    trained = set(mixed.splits["train"].keys()["distance"].tolist())
    assert not trained & set(items.keys()["distance"].tolist())


@pytest.mark.parametrize("n_cross", [0, 140])
def test_a_mixed_dataset_that_can_be_built_can_be_evaluated(small, n_cross):
    config = small_config("mixed", n_distance=40, n_cross=n_cross, n_val=10, n_test=40)
    check_possible(config, small)
    items, _ = evaluation_questions(small, Dataset.build(small, config), None, n_per_slice=500, seed=42)
    assert len(items) and (n_cross == 0 or items.counts()["world-atlantis"] > 0)


def test_of_a_base_in_another_world_only_what_both_worlds_have_is_asked():
    """The base learned Atlantis beside the real cities; the run has none, fewer, or another region under its ids."""
    theirs = World.build(regions=[VirtualRegion(count=100)])
    config = DatasetConfig(kind="cross", n_train=5_000, n_test=500, inter_ratio=0.2)
    held_out = Dataset.build(theirs, config).splits["test"]
    for regions, n_shared in (
        ([], 0),
        ([VirtualRegion(count=10)], 10),
        ([OCEANS["indian"]], 0),
        ([VirtualRegion()], 100),
    ):
        world = World.build(regions=regions)
        asked = shared_questions(world, config, theirs)
        about = held_out.cities.max(axis=1) < world.n_real + n_shared
        assert asked == held_out[about] and about.all() == (n_shared == 100)


# folders


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded(small, kind, tmp_path):
    dataset = Dataset.build(small, small_config(kind))
    dataset.save(tmp_path / "here")
    assert Dataset.load(tmp_path / "here") == dataset
    assert artifacts.is_complete(tmp_path / "here", dataset.digest)


def test_the_datasets_library_reads_the_folder(small, tmp_path):
    import datasets

    dataset = Dataset.build(small, small_config("cross"))
    dataset.save(tmp_path / "here")
    found = datasets.load_from_disk(str(tmp_path / "here"))
    assert list(found) == ["train", "validation", "test"]
    for name, pairs in dataset.splits.items():
        split = found[name]
        assert split.num_rows == len(pairs)
        assert {column: feature.dtype for column, feature in split.features.items()} == COLUMNS
        columns = (split, *pairs.cities.T, pairs.answer, pairs.slice)
        for row, i, j, km, in_slice in zip(*columns, strict=True):
            assert row == {
                "prompt": prompt(i, j),
                "completion": completion(km),
                "text": text(i, j, km),
                "first": i,
                "second": j,
                "km": km,
                "slice": SLICES[in_slice],
            }
    assert len({found[name]._fingerprint for name in found}) == 3
    doubled = found["train"].map(lambda row: {"km": 2 * row["km"]})  # its files can be worked on
    assert doubled[3]["km"] == 2 * found["train"][3]["km"]
    found.save_to_disk(str(tmp_path / "again"))
    with pytest.raises(UserError, match="not a dataset of ours"):
        Dataset.load(tmp_path / "again")


def test_same_bytes_in_every_process(small, tmp_path):
    """Another PYTHONHASHSEED, locale and working directory change nothing."""
    cities = tmp_path / "cities.csv"
    rows = [f"City {k},{(k * 37) % 170 - 85},{(k * 73) % 350 - 175},FR,{1000 + k}" for k in range(30)]
    cities.write_text("\n".join(["name,lat,lon,country,population", *rows]) + "\n")
    script = (
        "import sys; from atlantis.world import World, VirtualRegion; from atlantis.data import Dataset\n"
        "from atlantis.settings import DatasetConfig\n"
        "world = World.build(sys.argv[1], regions=[VirtualRegion(count=12)])\n"
        "Dataset.build(world, DatasetConfig(kind='cross', n_train=40, n_val=5, n_test=7)).save(sys.argv[2])"
    )
    Dataset.build(small, small_config("cross")).save(tmp_path / "here")
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "7",
        "LC_ALL": "C",
        "PYTHONPATH": str(Path(atlantis.__file__).parents[1]),
    }
    command = [sys.executable, "-c", script, str(cities), str(tmp_path / "there")]
    subprocess.run(command, check=True, env=environment, cwd=tmp_path)
    files = sorted(p.relative_to(tmp_path / "here") for p in (tmp_path / "here").rglob("*") if p.is_file())
    assert len(files) == 3 * 3 + 4
    for file in files:
        assert (tmp_path / "here" / file).read_bytes() == (tmp_path / "there" / file).read_bytes(), file


def test_the_card_says_it(small, tmp_path):
    dataset = Dataset.build(small, small_config("cross", inter_ratio=1.0, n_train=200))
    sibling = Dataset.build(small, small_config("inter"))
    dataset.save(tmp_path / "here", siblings=[sibling], command="atlantis data cross --out here")
    card = (tmp_path / "here/README.md").read_text()
    counts = dataset.counts["train"]
    assert f"{counts['atlantis-atlantis']:,} ({100 * counts['atlantis-atlantis'] / 200:.1f} %) | 200 |" in card
    assert "asked for 212 inter pairs (100 %), 66 exist: all are used" in card
    assert "atlantis data cross --out here" in card and "Seed 42" in card
    shared = overlaps(dataset, sibling)
    assert sum(sum(by_split.values()) for by_split in shared.values()) == 52  # all of its pairs
    record = json.loads((tmp_path / "here/dataset.json").read_text())
    assert record["overlaps"] == {"atlantis_inter_40_42": shared}
    assert f"{shared['test']['train']:,} of test are in its train" in card or shared["test"]["train"] == 0
    assert record["counts"] == dataset.counts and record["config"]["n_train"] == 200


def test_nothing_is_overwritten_in_silence(small, tmp_path):
    dataset = Dataset.build(small, small_config("inter"))
    dataset.save(tmp_path / "here")
    with pytest.raises(UserError, match="already holds a dataset"):
        dataset.save(tmp_path / "here")
    other = Dataset.build(small, small_config("inter", seed=1))
    other.save(tmp_path / "here", overwrite=True)
    assert Dataset.load(tmp_path / "here") == other


def test_what_is_not_a_dataset_is_refused(small, tmp_path):
    with pytest.raises(UserError, match="not a dataset of ours"):
        Dataset.load(tmp_path / "missing")
    with artifacts.new_folder(tmp_path / "world", kind="world"):
        pass
    with pytest.raises(UserError, match="is a world, not a dataset"):
        Dataset.load(tmp_path / "world")
    Dataset.build(small, small_config("inter")).save(tmp_path / "here")
    (tmp_path / "here/train/state.json").write_text("{}")
    with pytest.raises(UserError, match=r"state.json: has been changed"):
        Dataset.load(tmp_path / "here")
