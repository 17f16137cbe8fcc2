"""Generated inputs: hypothesis bends sound CSV, YAML and JSON files, and the command must refuse or do as asked."""

# ruff: noqa: E501
from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from checks.faults.sandbox import EITHER, Case, Verdict
from checks.faults.scene import CONFIG, RUN, checkpoint_of, csv_text, dataset_of, resealed, world_of

NASTY = st.sampled_from(
    ["", " ", "0", "-1", "1e999", "nan", ".nan", ".inf", "NO", "~", "012", "1_000", "0x1F", "9" * 40, "=1+1", "../x", "\x1b[2J",
     "\u202ex", "'", '"', "{", "[", "]", "- ", ": ", "#", "&a", "*a", "!!python/name:os.system", "|", ">", "%", "@", "`", "\t",
     "\r", "\n", "\0", "\ufeff", "é", "🏝", "x" * 300, "null", "true", "c_12", "<pad>"]
)  # fmt: skip
WORDS = NASTY | st.text(max_size=12) | st.integers().map(str) | st.floats().map(str)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=8,
)
BYTES = st.binary(max_size=40)


@st.composite
def bent_text(draw: st.DrawFn, text: str) -> bytes:
    """A sound text in which a few places have been replaced, removed, doubled or cut."""
    data = text.encode()
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        stop = min(len(data), start + draw(st.integers(0, 30)))
        piece = draw(WORDS.map(lambda s: s.encode("utf-8", "surrogatepass")) | BYTES | st.just(data[start:stop] * 2))
        data = data[:start] + piece + data[stop:]
    return data


@st.composite
def table(draw: st.DrawFn) -> bytes:
    """A CSV of cities from scratch: any header, any separator, any values, mostly near to what is right."""
    known = ["name", "lat", "lon", "country", "population", "id", "region", "is_virtual", "Coordinates", "City", "lng"]
    header = draw(st.lists(st.sampled_from(known) | WORDS, min_size=1, max_size=7))
    if draw(st.booleans()):
        header = ["name", "lat", "lon", *header[3:]]
    cell = st.floats(-200, 200).map(lambda x: f"{x:.4f}") | st.integers(0, 5).map(str) | WORDS
    rows = draw(st.lists(st.lists(cell, min_size=len(header), max_size=len(header)), max_size=5))
    separator, quote = draw(st.sampled_from([",", ";", "\t", "|"])), draw(st.booleans())
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))

    def spelled(text: str) -> str:
        return '"' + text.replace('"', '""') + '"' if quote or separator in text else text

    lines = [separator.join(map(spelled, row)) for row in (header, *rows)]
    codec = draw(st.sampled_from(["utf-8"] * 6 + ["utf-16", "latin-1", "utf-8-sig"]))
    return end.join([*lines, ""]).encode(codec, "replace")


@st.composite
def bent_json(draw: st.DrawFn, found: Any) -> Any:
    """A sound JSON value in which one to three values, somewhere, are others; or are gone, or new."""
    found = json.loads(json.dumps(found))
    for _ in range(draw(st.integers(1, 3))):
        here = found
        while True:
            keys = list(here) if isinstance(here, dict) else list(range(len(here)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(here[key], dict | list) and here[key] and draw(st.integers(0, 3)):
                here = here[key]
                continue
            if isinstance(here, dict) and not draw(st.integers(0, 4)):
                here.pop(key)
            elif isinstance(here, dict) and not draw(st.integers(0, 4)):
                here[draw(WORDS)] = draw(VALUES)
            else:
                here[key] = draw(VALUES)
            break
    return found


def _csv(name: str, data: bytes) -> Case:
    def prepare(scene: Path) -> list[str]:
        (scene / "work" / "mine.csv").write_bytes(data)
        return ["world", "build", "--cities", "mine.csv", "--out", "w"]

    return Case(name, prepare, EITHER)


def _yaml(name: str, data: bytes) -> Case:
    def prepare(scene: Path) -> list[str]:
        (scene / "work" / "mine.yaml").write_bytes(data)
        return ["show", "mine.yaml"]

    return Case(name, prepare, EITHER)


def evaluating(scene: Path) -> list[str]:
    return ["evaluate", str(RUN.relative_to("work")), str(dataset_of(scene))]


JSON: dict[str, tuple[Callable[[Path], Path], str, Callable[[Path], list[str]]]] = {
    "config.json": (checkpoint_of, "config.json", evaluating),
    "vocabulary.json": (checkpoint_of, "vocabulary.json", evaluating),
    "atlantis.json": (checkpoint_of, "atlantis.json", evaluating),
    "manifest.json": (checkpoint_of, "manifest.json", evaluating),
    "dataset.json": (dataset_of, "dataset.json", evaluating),
    "dataset.json, shown": (dataset_of, "dataset.json", lambda scene: ["show", str(dataset_of(scene))]),
    "world.json": (world_of, "world.json", lambda scene: ["show", str(world_of(scene))]),
    "run.json": (lambda scene: scene / RUN, "run.json", lambda scene: ["show", str(RUN.relative_to("work"))]),
    "config.json, shown": (checkpoint_of, "config.json", lambda scene: ["show", str(checkpoint_of(scene))]),
}


touched: list[Path] = []
"""Files of the scene that the last case changed."""


def _json(name: str, place: str, data: bytes, template: Path) -> Case:
    folder, file, command = JSON[place]

    def prepare(scene: Path) -> list[str]:
        for path in touched:
            shutil.copy2(template / path.relative_to(scene), path)
        touched[:] = [folder(scene) / file]
        if file != "run.json":
            touched.append(folder(scene) / "manifest.json")
        (folder(scene) / file).write_bytes(data)
        if file not in ("manifest.json", "run.json"):
            resealed(folder(scene))
        return command(scene)

    return Case(name, prepare, EITHER)


def _spelled(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "replace")


def drawn(kind: str, scene: Path) -> st.SearchStrategy[Case]:
    """Cases of one kind: "csv", "yaml" or "json"."""
    if kind == "csv":
        return (table() | bent_text(csv_text(4)) | BYTES).map(lambda data: _csv("a generated CSV", data))
    if kind == "yaml":
        import yaml

        plain = yaml.safe_load(CONFIG)
        values = bent_json(plain).map(_spelled) | st.dictionaries(WORDS, VALUES, max_size=4).map(_spelled)
        return (bent_text(CONFIG) | values | BYTES).map(lambda data: _yaml("a generated YAML file", data))
    sound = {place: (folder(scene) / file).read_text() for place, (folder, file, _) in JSON.items()}

    def of(place: str) -> st.SearchStrategy[Case]:
        text = sound[place]
        return (bent_json(json.loads(text)).map(_spelled) | bent_text(text)).map(
            lambda data: _json(f"a generated {place}", place, data, scene)
        )

    return st.sampled_from(sorted(JSON)).flatmap(of)


def batch(kind: str, n: int, number: int, template: Path) -> Any:
    """A batch for `sandbox.in_child`: n cases of a kind, the same for the same `number`."""

    def run(judge: Callable[[Case], Verdict], report: Callable[[Verdict], None]) -> None:
        @seed(number)
        @settings(
            max_examples=n,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
        )
        @given(drawn(kind, template))
        def each(case: Case) -> None:
            report(judge(case))

        each()

    return run
