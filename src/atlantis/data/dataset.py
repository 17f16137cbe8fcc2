"""A dataset: splits of pairs with the config that made them, in memory and in a folder.

    dataset = Dataset.build(world, DatasetConfig(kind="cross"))        # arrays only, a second for a million pairs
    dataset.save("outputs/datasets/atlantis_cross_100k_42")            # also loads with datasets.load_from_disk
    Dataset.load("outputs/datasets/atlantis_cross_100k_42") == dataset

One row of the folder, as `datasets` (and TRL's SFTTrainer) sees it:

    prompt      <bos>dist(c_12,c_5101)=        first   12                 km      4821
    completion  4821<eos>                      second  5101               slice   world-atlantis
    text        dist(c_12,c_5101)=4821

The folder's Arrow and JSON files are written here directly, in the layout of `DatasetDict.save_to_disk`: importing
`datasets` takes seconds, and its fingerprints differ from one writing to the next.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from atlantis import artifacts
from atlantis.config import checked
from atlantis.data import card
from atlantis.data.draw import Pairs
from atlantis.data.mixture import SPLITS, resolved, sample_splits
from atlantis.errors import UserError
from atlantis.names import SLICES
from atlantis.reading import read_json
from atlantis.settings import DatasetConfig
from atlantis.tasks import distance

if TYPE_CHECKING:
    from atlantis.world import World

FORMAT = 2
ROWS_PER_BATCH = 1 << 15
ARROW_FILE = "data-00000-of-00001.arrow"
COLUMNS = {"prompt": "string", "completion": "string", "text": "string"} | {
    "first": "int32",
    "second": "int32",
    "km": "int32",
    "slice": "string",
}


@dataclass(frozen=True)
class Dataset:
    """Disjoint splits of unordered pairs; a split without rows is left out."""

    splits: dict[str, Pairs]
    config: DatasetConfig
    """Resolved: every number and the name are filled in."""
    world_digest: str
    real_cities_digest: str
    """Of the world's real cities: a model that learned other ones cannot be asked these pairs."""
    notes: list[str] = field(default_factory=list)
    """What must be said with its numbers, such as an inter share that could not be had."""

    @classmethod
    def build(cls, world: World, config: DatasetConfig) -> Dataset:
        """Draw the pairs that `config` asks for. Raises UserError naming the maximum of each number if too many."""
        config = resolved(config, world)
        splits, notes = sample_splits(world, config)
        filled = {name: splits[name] for name in SPLITS if len(splits[name])}
        return cls(filled, config, world.digest, world.real_cities_digest, notes)

    @property
    def name(self) -> str:
        return self.config.name or self.config.kind

    @property
    def kind(self) -> str:
        return self.config.kind

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Rows per split and slice."""
        return {name: pairs.counts() for name, pairs in self.splits.items()}

    @property
    def digest(self) -> str:
        """12 hexadecimal digits of all that determines the rows; the name does not."""
        return dataset_digest(self.config, self.world_digest)

    def save(
        self,
        folder: Path | str,
        *,
        siblings: Sequence[Dataset] = (),
        command: str = "",
        overwrite: bool = False,
    ) -> None:
        """Write a folder that is complete or absent; the same dataset gives the same bytes.

        Pairs shared with `siblings` (datasets of the same world, or of one that it extends) are counted in the card
        and in dataset.json. `command` is shown in the card. Raises UserError if something is there already (with
        `overwrite`: something else than a dataset).
        """
        config = self.config.model_dump(mode="json")
        if self.config.order == "fair":
            del config["order"]  # a dataset of the default order has the bytes that it had before there was another
        record = {
            "format": FORMAT,
            "name": self.name,
            "kind": self.kind,
            "config": config,
            "world_digest": self.world_digest,
            "real_cities_digest": self.real_cities_digest,
            "counts": self.counts,
            "notes": self.notes,
            "overlaps": {sibling.name: overlaps(self, sibling) for sibling in siblings},
        }
        with artifacts.new_folder(Path(folder), kind="dataset", digest=self.digest, overwrite=overwrite) as new:
            for name, pairs in self.splits.items():
                _write_split(new / name, name, pairs)
            _write_json(new / "dataset_dict.json", {"splits": list(self.splits)})
            _write_json(new / "dataset.json", record)
            (new / "README.md").write_text(card.readme(record, command), encoding="utf-8", newline="\n")

    @classmethod
    def load(cls, folder: Path | str) -> Dataset:
        """The dataset that `save` wrote. Raises UserError if there is none, or if a file is missing or changed."""
        folder = Path(folder)
        found = artifacts.manifest(folder)
        if found is None:
            raise UserError(f"{folder}: not a dataset of ours (no valid manifest.json); build one with `atlantis data`")
        if found["kind"] != "dataset":
            raise UserError(f"{folder}: is a {found['kind']}, not a dataset; build one with `atlantis data`")
        artifacts.verify(folder)
        record = read_record(folder)
        splits = {name: _read_split(folder / name / ARROW_FILE) for name in record["counts"]}
        if {name: pairs.counts() for name, pairs in splits.items()} != record["counts"]:
            raise UserError(f"{folder}: its splits are not those that dataset.json counts; build it again")
        config = checked(DatasetConfig, record["config"], f"{folder / 'dataset.json'}: config")
        return cls(splits, config, record["world_digest"], record["real_cities_digest"], record["notes"])


def read_record(folder: Path) -> dict[str, Any]:
    """`dataset.json` of a dataset's folder. Raises UserError if it is not as `save` wrote it."""
    file = folder / "dataset.json"
    try:
        record = read_json(file)
    except FileNotFoundError:
        raise UserError(f"{file}: is missing; build the dataset again") from None
    if record.get("format") != FORMAT:
        raise UserError(f"{file}: not the record of a dataset of format {FORMAT}; build the dataset again")
    kinds = dict.fromkeys(("config", "counts", "overlaps"), dict) | {"notes": list}
    kinds |= dict.fromkeys(("name", "kind", "world_digest", "real_cities_digest"), str)
    for key, kind in kinds.items():
        if not isinstance(record.get(key), kind):
            raise UserError(f"{file}: {key!r} is missing or not of type {kind.__name__}; build the dataset again")
    tables = [record["counts"], *(by_split for by_split in record["overlaps"].values())]
    rows = [row for table in tables if isinstance(table, dict) for row in table.values()]
    known = "train" in record["counts"] and record["counts"].keys() <= set(SPLITS)
    if not known or not all(map(_is_counts, rows)) or not all(isinstance(table, dict) for table in tables):
        raise UserError(f"{file}: 'counts' or 'overlaps' is not as it was written; build the dataset again")
    return record


def _is_counts(row: Any) -> bool:
    return isinstance(row, dict) and all(type(n) is int and n >= 0 for n in row.values())


def dataset_digest(config: DatasetConfig, world_digest: str) -> str:
    """12 hexadecimal digits of all that determines a dataset's rows, known before it is built."""
    asked = {"kind": config.kind, "sizes": config.sizes, "seed": config.seed}
    if config.kind != "distance":
        asked["offset"] = config.offset
    if config.kind in ("cross", "mixed"):
        asked["inter_ratio"] = config.inter_ratio
    if config.order != "fair":
        asked["order"] = config.order
    if config.kind == "mixed":
        asked |= {"n_distance": config.n_distance, "n_cross": config.n_cross}
    return artifacts.digest_of({"format": FORMAT, "config": asked, "world": world_digest})


def overlaps(a: Dataset, b: Dataset) -> dict[str, dict[str, int]]:
    """Unordered pairs that a split of `a` shares with a split of `b`: `overlaps(a, b)["test"]["train"]`.

    City ids must mean the same in both: their worlds are equal, or one extends the other.
    """
    keys = [{name: pairs.keys() for name, pairs in dataset.splits.items()} for dataset in (a, b)]
    return {
        one: {other: len(np.intersect1d(mine, theirs, assume_unique=True)) for other, theirs in keys[1].items()}
        for one, mine in keys[0].items()
    }


# the folder's files


def _features() -> dict[str, Any]:
    return {name: {"dtype": dtype, "_type": "Value"} for name, dtype in COLUMNS.items()}


def _schema() -> pa.Schema:
    types = {"string": pa.string(), "int32": pa.int32()}
    metadata = {"huggingface": json.dumps({"info": {"features": _features()}})}
    return pa.schema([(name, types[dtype]) for name, dtype in COLUMNS.items()], metadata=metadata)


def _write_split(folder: Path, name: str, pairs: Pairs) -> None:
    """One split as `Dataset.save_to_disk` lays it out: an Arrow stream, dataset_info.json, state.json."""
    folder.mkdir()
    with pa.OSFile(str(folder / ARROW_FILE), "wb") as sink, pa.ipc.new_stream(sink, _schema()) as writer:
        for batch in _batches(pairs):
            writer.write_batch(batch)
    info = {"citation": "", "description": "", "features": _features(), "homepage": "", "license": ""}
    _write_json(folder / "dataset_info.json", info)
    state = {
        "_data_files": [{"filename": ARROW_FILE}],
        "_fingerprint": _fingerprint(pairs),
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": name,
    }
    _write_json(folder / "state.json", state)


def _batches(pairs: Pairs) -> Iterator[pa.RecordBatch]:
    names = pa.array(SLICES)
    for start in range(0, len(pairs), ROWS_PER_BATCH):
        rows = pairs[start : start + ROWS_PER_BATCH]
        numbers = {"first": rows.first, "second": rows.second, "km": rows.km}
        columns = {
            **distance.text_columns(rows.first, rows.second, rows.km),
            **{key: pa.array(values) for key, values in numbers.items()},
            "slice": names.take(pa.array(rows.slice)),
        }
        yield pa.record_batch([columns[key] for key in COLUMNS], schema=_schema())


def _fingerprint(pairs: Pairs) -> str:
    """16 hexadecimal digits by which `datasets` names cached results, from the rows alone."""
    digest = hashlib.sha256(f"atlantis {FORMAT}".encode())
    for column in (pairs.first, pairs.second, pairs.km):
        digest.update(np.ascontiguousarray(column, dtype="<i4").tobytes())
    return digest.hexdigest()[:16]


def _read_split(path: Path) -> Pairs:
    try:
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_stream(source).read_all()
            table.validate(full=True)
            if table.schema.names != list(COLUMNS) or table.schema.types != _schema().types:
                raise pa.ArrowInvalid("it has other columns")
            slices = pc.index_in(table["slice"], value_set=pa.array(SLICES))  # type: ignore[attr-defined]
            if slices.null_count or any(table[key].null_count for key in COLUMNS):
                raise pa.ArrowInvalid("a value is missing")
            first, second, km = (table[key].to_numpy().astype(np.int32) for key in ("first", "second", "km"))
            return Pairs(first, second, km, slices.to_numpy().astype(np.uint8))
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: cannot be read as Arrow ({reason}); build the dataset again") from None


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8", newline="\n")
