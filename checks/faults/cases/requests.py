"""Impossible requests by hand: what is asked of a sound world, and what the message must name."""

# ruff: noqa: E501
from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from checks.faults.sandbox import REFUSED, Case
from checks.faults.scene import RUN, checkpoint_of, csv_text, dataset_of, resealed, world_of

TRAIN: list[tuple[str, list[str], str]] = [
    ("more pairs than exist", ["dataset.n_train=1000"], "at most 66 are possible"),
    ("10**12 pairs", ["dataset.n_train=1000000000000"], "at most 66 are possible"),
    ("a test split that does not fit", ["dataset.n_test=60"], "n_test at most 18"),
    ("nothing to measure on", ["dataset.n_val=0", "dataset.n_test=0"], "nothing to measure"),
    ("more inter pairs than exist", ["dataset.kind=inter", "dataset.n_train=7", "dataset.n_val=0"], "at most 6 are possible"),
    ("more cross pairs than exist", ["dataset.kind=cross", "dataset.n_train=100"], "at most"),
    ("a mixed dataset too large", ["dataset={kind: mixed, n_distance: 60, n_cross: 100}"], "at most"),
    ("a mixed dataset of nothing", ["dataset={kind: mixed, n_distance: 0, n_cross: 0, n_test: 5}"], "n_distance and n_cross"),
    ("no virtual region for inter pairs", ["dataset.kind=inter", "world.regions=[]"], "needs a virtual region"),
    ("one virtual city for inter pairs", ["dataset={kind: inter, n_train: 1}", "world.regions.0.count=1"], "at most 0"),
    ("an offset that is no virtual city", ["dataset={kind: inter, n_train: 2, n_val: 1, n_test: 1, offset: 3}"], "offset: 3"),
    ("an offset beyond the world", ["dataset={kind: inter, n_train: 2, n_val: 1, n_test: 1, offset: 99}"], "offset: 99"),
    ("a context too short", ["model.context=8"], "model.context: 8 is too short"),
    ("ids that outgrow the context", ["model.context=22", "world.regions.0.count=200"], "model.context: 22 is too short"),
    ("more cities than a world can have", ["world.regions.0.count=1000000"], "1,000,000 cities"),
    ("a model for no memory", ["model={hidden_size: 100000, n_heads: 4, n_layers: 10000}"], "weights need .* GB"),
    ("a region with a real one's name", ["world.regions.0.name=Africa"], "another region has this name"),
    ("a region with a country's code", ["world.regions.0.code=FR"], "belongs to another region or country"),
    ("a base that is nowhere", ["base=nowhere"], "base: 'nowhere' is no folder"),
    ("a base that is no checkpoint", ["base=outputs"], "neither a run nor a checkpoint"),
    ("a base that is a file", ["base=tiny.yaml"], "base"),
    ("a base with a zero byte", ['base="a\\0b"'], "base"),
    ("a base of 300 characters", [f"base={'x' * 300}"], "base|too long"),
    ("a base of another world", ["base=outputs/experiments/tiny", "world.seed=7"], "another world"),
    ("a base of another vocabulary", ["base=outputs/experiments/tiny", "tokenizer.kind=city"], "tokenizer.kind"),
    ("a base of another size", ["base=outputs/experiments/tiny", "model.mlp_size=16"], "model.mlp_size: 16, the base has 8"),
    ("the shipped base on another world", ["base=dist_100k_1M_20epochs"], "another world"),
    ("another config for the same run", ["name=tiny", "training.max_steps=3"], "another config.*max_steps: 2 -> 3"),
    ("a tracker that is not there", ["trackers=[clearml]"], "clearml"),
    ("a strategy that needs a base", ["strategy={name: l2sp, weight: 1.0}"], "l2sp|base"),
    ("a strategy that cannot be imported", ["strategy={name: 'nowhere:X'}"], "cannot be imported"),
    ("an output root that is a file", ["output_root=tiny.yaml"], "tiny.yaml"),
    ("an output root with a zero byte", ['output_root="a\\0b"'], "null|output_root"),
]  # fmt: skip

COMMANDS: list[tuple[str, list[str], str]] = [
    ("an unknown command", ["trian"], "trian"),
    ("an unknown option", ["train", "tiny.yaml", "--fast"], "--fast"),
    ("a world in a file's place", ["world", "build", "--out", "tiny.yaml"], "is a file"),
    ("a world in a run's place", ["world", "build", "--cities", "cities.csv", "--out", str(RUN.relative_to("work"))], "not ours"),
    ("a world in the current folder", ["world", "build", "--cities", "cities.csv", "--out", "."], "current folder"),
    ("a world in somebody's folder", ["world", "build", "--cities", "cities.csv", "--out", "../outside/kept"], "not ours"),
    ("a world at a name of 300 characters", ["world", "build", "--cities", "cities.csv", "--out", "x" * 300], "long|made"),
    ("a world at a name with a zero byte", ["world", "build", "--cities", "cities.csv", "--out", "a\0b"], "null"),
    ("a region that is no region", ["world", "build", "--region", "x", "--out", "w"], "--region x"),
    ("a region of words", ["world", "build", "--region", "A:XX1:a:b:c:d", "--out", "w"], "4 mistakes"),
    ("a region and none", ["world", "build", "--region", "indian", "--real-only", "--out", "w"], "one or the other"),
    ("a region twice", ["world", "build", "--region", "indian", "--region", "indian", "--out", "w"], "two regions"),
    ("a negative seed", ["world", "build", "--seed", "-1", "--out", "w"], "seed"),
    ("a seed of 30 digits", ["world", "build", "--seed", "9" * 30, "--out", "w"], "seed"),
    ("too many pairs of the shipped world", ["data", "distance", "--n-train", "99999999", "--out", "d"], "at most 12,"),
    ("a sibling that is not there", ["data", "inter", "--n-train", "9", "--sibling", "nowhere", "--out", "d"], "nowhere"),
    ("a world that is not there", ["data", "inter", "--world", "nowhere", "--out", "d"], "no saved world"),
    ("a dataset in place of a world", ["data", "inter", "--world", "cities.csv", "--out", "d"], "cities.csv"),
    ("an evaluation of nothing", ["evaluate", "nowhere", "nowhere"], "nowhere"),
    ("a probe of nothing", ["probe", "nowhere"], "nowhere"),
    ("a probe of a world", ["probe", "outputs"], "config.yaml"),
    ("a report of nothing", ["report", "nowhere"], "nowhere"),
    ("a report of no run", ["report", "outputs"], "metrics.jsonl"),
    ("a look at nothing", ["show", "nowhere"], "nothing there"),
    ("a look at a CSV", ["show", "cities.csv"], "give a config"),
    ("a look at a device", ["show", "/dev/zero"], "/dev/zero"),
    ("a look at a zero byte", ["show", "a\0b"], "null|nothing"),
    ("a study of no run", ["study", "--only", "x"], "--only"),
    ("a study of a word", ["study", "--seeds", "x"], "--seeds"),
    ("a study's own key", ["study", "name=x"], "study sets name"),
]  # fmt: skip


def cases() -> list[Case]:
    found = [
        Case(f"request: {name}", lambda scene, o=o: ["train", "tiny.yaml", "name=other", *o], REFUSED, says)
        for name, o, says in TRAIN
    ]
    found += [Case(f"command: {name}", lambda scene, a=a: list(a), REFUSED, says) for name, a, says in COMMANDS]
    return found + [Case(f"request: {name}", prepare, REFUSED, says) for name, (prepare, says) in MADE.items()]


def _one_city(scene: Path) -> list[str]:
    (scene / "work" / "cities.csv").write_text(csv_text(1))
    return ["train", "tiny.yaml", "name=other"]


def _no_city(scene: Path) -> list[str]:
    (scene / "work" / "cities.csv").write_text(csv_text(0))
    return ["train", "tiny.yaml", "name=other"]


def _other_world(scene: Path) -> list[str]:
    (scene / "work" / "cities.csv").write_text(csv_text(13))
    return ["train", "tiny.yaml", "name=other", "base=outputs/experiments/tiny"]


def _edited(which: Callable[[Path], Path], file: str, **facts: object) -> Callable[[Path], list[str]]:
    """A sound artifact in which somebody has changed facts of a JSON file, and the manifest to go with it."""

    def prepare(scene: Path) -> list[str]:
        path = which(scene) / file
        path.write_text(json.dumps(json.loads(path.read_text()) | facts))
        resealed(which(scene))
        return ["evaluate", "outputs/experiments/tiny", str(dataset_of(scene))]

    return prepare


def _missing(which: Callable[[Path], Path], file: str, arguments: list[str]) -> Callable[[Path], list[str]]:
    def prepare(scene: Path) -> list[str]:
        (which(scene) / file).unlink()
        return arguments or ["evaluate", "outputs/experiments/tiny", str(dataset_of(scene))]

    return prepare


def _changed_table(scene: Path) -> list[str]:
    table = world_of(scene) / "cities.csv"
    table.write_text(table.read_text().replace("City 3", "City X"))
    return ["data", "inter", "--world", str(world_of(scene)), "--out", "d"]


MADE = {
    "one city": (_one_city, "at most 0 are possible"),
    "no city": (_no_city, "no cities"),
    "a base of a smaller world": (_other_world, "another world"),
    "a dataset of another world": (_edited(dataset_of, "dataset.json", real_cities_digest="0" * 12), "another world"),
    "a tokenizer of another vocabulary": (_edited(checkpoint_of, "vocabulary.json", kind="city"), "not this model's"),
    "a tokenizer of fewer cities": (_edited(checkpoint_of, "vocabulary.json", n_cities=3), "no city has id|cities"),
    "a dataset of another format": (_edited(dataset_of, "dataset.json", format=99), "format"),
    "a dataset without its record": (_missing(dataset_of, "dataset.json", []), "dataset.json.*missing"),
    "a checkpoint without weights": (_missing(checkpoint_of, "model.safetensors", []), "model.safetensors.*missing"),
    "a world without a table": (
        _missing(world_of, "cities.csv", ["show", "outputs/worlds"]), "not a run, checkpoint"),
    "a world whose table was changed": (_changed_table, "changed since it was saved"),
}  # fmt: skip
