"""A dataset: splits of questions with the config that made them, in memory and in a folder.

    dataset = Dataset.build(world, DatasetConfig(kind="cross"))        # arrays only, a second for a million pairs
    dataset.save("outputs/datasets/atlantis_cross_100k_42")            # also loads with datasets.load_from_disk
    Dataset.load("outputs/datasets/atlantis_cross_100k_42") == dataset

One row of the folder, as `datasets` (and TRL's SFTTrainer) sees it, where all questions are about distances:

    prompt      <bos>dist(c_12,c_5101)=        first   12                 km      4821
    completion  4821<eos>                      second  5101               slice   world-atlantis
    text        dist(c_12,c_5101)=4821

Other tasks have the columns cities (a list of ids), answer (a whole number; of words, the place in the task's list),
slice and task in place of these last four.

The folder's Arrow and JSON files are written here directly, in the layout of `DatasetDict.save_to_disk`: importing
`datasets` takes seconds, and its fingerprints differ from one writing to the next.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from atlantis import artifacts
from atlantis.config import checked
from atlantis.data import card
from atlantis.data.mixture import SPLITS, draw_splits, resolved, tasks_of
from atlantis.errors import UserError
from atlantis.names import SLICES
from atlantis.reading import read_json
from atlantis.settings import STUDY_SIZES, DatasetConfig, PartConfig
from atlantis.tasks import Questions, Task, are_distances, task_digest, task_of
from atlantis.tasks.form import ABSENT
from atlantis.tasks.questions import Keys

if TYPE_CHECKING:
    from atlantis.world import World

FORMAT = 2
ROWS_PER_BATCH = 1 << 15
ARROW_FILE = "data-00000-of-00001.arrow"
TEXTS = {"prompt": "string", "completion": "string", "text": "string"}
COLUMNS = TEXTS | {"first": "int32", "second": "int32", "km": "int32", "slice": "string"}
"""Of questions about distances alone."""
TASK_COLUMNS = TEXTS | {"cities": "list", "answer": "int32", "slice": "string", "task": "string"}
"""Of all others."""
_TYPES = {"string": pa.string(), "int32": pa.int32(), "list": pa.list_(pa.int32())}


@dataclass(frozen=True)
class Dataset:
    """Disjoint splits of different questions; a split without rows is left out."""

    splits: dict[str, Questions]
    config: DatasetConfig
    """Resolved: every number and the name are filled in."""
    world_digest: str
    real_cities_digest: str
    """Of the world's real cities: a model that learned other ones cannot be asked these questions."""
    notes: list[str] = field(default_factory=list)
    """What must be said with its numbers, such as an inter share that could not be had."""

    @classmethod
    def build(cls, world: World, config: DatasetConfig) -> Dataset:
        """Draw the questions that `config` asks for. Raises UserError naming the maximum of each number if too many."""
        config = resolved(config, world)
        splits, notes = draw_splits(world, config)
        filled = {name: splits[name] for name in SPLITS if len(splits[name])}
        return cls(filled, config, world.digest, world.real_cities_digest, notes)

    @property
    def name(self) -> str:
        return self.config.name or self.config.kind

    @property
    def kind(self) -> str:
        return self.config.kind

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks of the training split, in the order of the config's parts."""
        return self.splits["train"].tasks

    @property
    def held_out(self) -> Questions:
        """The test split; the validation split where there is none. Raises UserError if there is neither."""
        for name in ("test", "validation"):
            if name in self.splits:
                return self.splits[name]
        raise UserError(f"dataset {self.name}: it has neither test nor validation pairs; set n_test")

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Rows per split and slice."""
        return {name: questions.counts() for name, questions in self.splits.items()}

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

        Questions shared with `siblings` (datasets of the same world, or of one that it extends) are counted in the card
        and in dataset.json. `command` is shown in the card. Raises UserError if something is there already (with
        `overwrite`: something else than a dataset).
        """
        names = [sibling.name for sibling in siblings]
        if len(set(names)) < len(names):
            raise UserError(f"siblings: {', '.join(names)}; give each another name, by which what is shared is listed")
        record = {
            "format": FORMAT,
            "name": self.name,
            "kind": self.kind,
            "config": _config_record(self.config),
            "world_digest": self.world_digest,
            "real_cities_digest": self.real_cities_digest,
            "counts": self.counts,
            "notes": self.notes,
            "overlaps": {sibling.name: overlaps(self, sibling) for sibling in siblings},
        }
        with artifacts.new_folder(Path(folder), kind="dataset", digest=self.digest, overwrite=overwrite) as new:
            for name, questions in self.splits.items():
                _write_split(new / name, name, questions)
            artifacts.dump_json(new / "dataset_dict.json", {"splits": list(self.splits)})
            artifacts.dump_json(new / "dataset.json", record)
            (new / "README.md").write_text(card.readme(record, self.tasks, command), encoding="utf-8", newline="\n")

    @classmethod
    def load(cls, folder: Path | str) -> Dataset:
        """The dataset that `save` wrote. Raises UserError if there is none, or if a file is missing or changed."""
        folder = Path(folder)
        stored = artifacts.manifest(folder)
        if stored is None:
            raise UserError(f"{folder}: not a dataset of ours (no valid manifest.json); build one with `atlantis data`")
        if stored["kind"] != "dataset":
            raise UserError(f"{folder}: is a {stored['kind']}, not a dataset; build one with `atlantis data`")
        artifacts.verify(folder)
        record = read_record(folder)
        config = checked(DatasetConfig, record["config"], f"{folder / 'dataset.json'}: config")
        tasks = tuple(tasks_of(config))
        splits = {name: _read_split(folder / name / ARROW_FILE, tasks) for name in record["counts"]}
        if {name: questions.counts() for name, questions in splits.items()} != record["counts"]:
            raise UserError(f"{folder}: its splits are not those that dataset.json counts; build it again")
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
    has_splits = "train" in record["counts"] and record["counts"].keys() <= set(SPLITS)
    if not has_splits or not all(map(_is_counts, rows)) or not all(isinstance(table, dict) for table in tables):
        raise UserError(f"{file}: 'counts' or 'overlaps' is not as it was written; build the dataset again")
    return record


def _is_counts(row: Any) -> bool:
    return isinstance(row, dict) and all(type(n) is int and n >= 0 for n in row.values())


def dataset_digest(config: DatasetConfig, world_digest: str) -> str:
    """12 hexadecimal digits of all that determines a dataset's rows, known before it is built."""
    # A setting is in the digest only where it can matter: so what was made before it existed keeps its digest.
    request = {"kind": config.kind, "sizes": config.sizes, "seed": config.seed}
    if config.kind != "distance":
        request["offset"] = config.first_virtual
    if config.kind in ("cross", "mixed", "parts"):
        # Since 2026-11-29 a part of a dataset has this share where it can; before, where the study's dataset could.
        whole_study = config.kind == "mixed" and config.n_cross >= STUDY_SIZES["cross"][0]
        dated = config.kind != "cross" and not whole_study
        request["inter_ratio"] = f"{config.inter_ratio} 2026-11-29" if dated else config.inter_ratio
    if config.order != "fair":
        # Since 2026-11-29 beside a real region, and of a task whose order counts, the smaller id is first as well.
        request["order"] = config.order if config.parts is None else f"{config.order} 2026-11-29"
    if config.kind == "mixed":
        request |= {"n_distance": config.n_distance, "n_cross": config.n_cross}
    if config.parts is not None:
        request["parts"] = [_part_request(part) for part in config.parts]
    return artifacts.digest_of({"format": FORMAT, "config": request, "world": world_digest})


def _part_request(part: PartConfig) -> dict[str, Any]:
    """What a part adds to a dataset's digest."""
    request = part.model_dump(mode="json") | {"task": task_digest(part.task)}
    if not isinstance(part.cities, str) and part.cities.touching and task_of(part.task).form.seats > 2:
        request["touching"] = "2026-11-30"  # before, a row with k cities of the region was drawn k times as often
    return request


def overlaps(a: Dataset, b: Dataset) -> dict[str, dict[str, int]]:
    """Questions that a split of `a` shares with a split of `b`: `overlaps(a, b)["test"]["train"]`.

    City ids must mean the same in both: their worlds are equal, or one extends the other.
    """
    keys = [{name: questions.keys() for name, questions in dataset.splits.items()} for dataset in (a, b)]
    return {
        split: {other: _n_shared(mine, theirs) for other, theirs in keys[1].items()} for split, mine in keys[0].items()
    }


def _n_shared(mine: Mapping[str, Keys], theirs: Mapping[str, Keys]) -> int:
    return sum(int(np.isin(mine[task], theirs[task]).sum()) for task in mine.keys() & theirs.keys())


# the folder's files


def _config_record(config: DatasetConfig) -> dict[str, Any]:
    """The config as dataset.json has it: a dataset that could be made before has the bytes that it had then."""
    content = {
        "offset" if key == "first_virtual" else key: value for key, value in config.model_dump(mode="json").items()
    }
    if config.order == "fair":
        del content["order"]
    if config.parts is None:
        del content["parts"]
    return content


def _columns(tasks: Sequence[Task]) -> dict[str, str]:
    return COLUMNS if are_distances(tasks) else TASK_COLUMNS


def _features(columns: Mapping[str, str]) -> dict[str, Any]:
    number = {"dtype": "int32", "_type": "Value"}
    lists = {"feature": number, "_type": "List"}
    return {name: lists if dtype == "list" else {"dtype": dtype, "_type": "Value"} for name, dtype in columns.items()}


def _schema(columns: Mapping[str, str]) -> pa.Schema:
    metadata = {"huggingface": json.dumps({"info": {"features": _features(columns)}})}
    return pa.schema([(name, _TYPES[dtype]) for name, dtype in columns.items()], metadata=metadata)


def _write_split(folder: Path, name: str, questions: Questions) -> None:
    """One split as `Dataset.save_to_disk` lays it out: an Arrow stream, dataset_info.json, state.json."""
    folder.mkdir()
    columns = _columns(questions.tasks)
    with pa.OSFile(str(folder / ARROW_FILE), "wb") as sink, pa.ipc.new_stream(sink, _schema(columns)) as writer:
        for batch in _batches(questions):
            writer.write_batch(batch)
    info = {"citation": "", "description": "", "features": _features(columns), "homepage": "", "license": ""}
    artifacts.dump_json(folder / "dataset_info.json", info)
    state = {
        "_data_files": [{"filename": ARROW_FILE}],
        "_fingerprint": _fingerprint(questions),
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": name,
    }
    artifacts.dump_json(folder / "state.json", state)


def _batches(questions: Questions) -> Iterator[pa.RecordBatch]:
    names, columns = pa.array(SLICES), _columns(questions.tasks)
    for start in range(0, len(questions), ROWS_PER_BATCH):
        rows = questions[start : start + ROWS_PER_BATCH]
        arrays = _texts(rows) | {"slice": names.take(pa.array(rows.slice))}
        if are_distances(questions.tasks):
            cities = np.ascontiguousarray(rows.cities.T)
            arrays |= {"first": pa.array(cities[0]), "second": pa.array(cities[1]), "km": pa.array(rows.answer)}
        else:
            present = rows.cities != ABSENT
            ends = np.concatenate([[0], present.sum(axis=1).cumsum()]).astype(np.int32)
            arrays["cities"] = pa.ListArray.from_arrays(pa.array(ends), pa.array(rows.cities[present]))
            tasks = pa.array([task.name for task in rows.tasks])
            arrays |= {"answer": pa.array(rows.answer), "task": tasks.take(pa.array(rows.task))}
        yield pa.record_batch([arrays[key] for key in columns], schema=_schema(columns))


def _texts(questions: Questions) -> dict[str, pa.Array]:
    """Columns `prompt`, `completion` and `text`, whatever task each row is of."""
    parts = [_columns_of(task, questions[rows]) for task, rows in questions.by_task()]
    if len(parts) == 1:
        return parts[0]
    order = np.argsort(np.argsort(questions.task, kind="stable"))  # of each row among the parts, one after the other
    return {key: pa.concat_arrays([part[key] for part in parts]).take(pa.array(order)) for key in TEXTS}


def _columns_of(task: Task, questions: Questions) -> dict[str, pa.Array]:
    return task.form.text_columns(questions.cities[:, : task.form.seats], questions.answer)


def _fingerprint(questions: Questions) -> str:
    """16 hexadecimal digits by which `datasets` names cached results, from the rows alone."""
    digest = hashlib.sha256(f"atlantis {FORMAT}".encode())
    if not are_distances(questions.tasks):
        digest.update(questions.task.tobytes() + repr([task.name for task in questions.tasks]).encode())
    for column in (*questions.cities.T, questions.answer):
        digest.update(np.ascontiguousarray(column, dtype="<i4").tobytes())
    return digest.hexdigest()[:16]


def _read_split(path: Path, tasks: tuple[Task, ...]) -> Questions:
    columns = _columns(tasks)
    try:
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_stream(source).read_all()
            table.validate(full=True)
            if table.schema.names != list(columns) or table.schema.types != _schema(columns).types:
                raise pa.ArrowInvalid("it has other columns")
            slices = _index_in(table["slice"], SLICES)
            if slices.null_count or any(table[key].null_count for key in columns):
                raise pa.ArrowInvalid("a value is missing")
            part = slices.to_numpy().astype(np.uint8)
            if are_distances(tasks):
                cities = np.empty((len(table), 2), np.int32)
                cities[:, 0], cities[:, 1] = table["first"].to_numpy(), table["second"].to_numpy()
                return Questions.of(tasks[0], cities, table["km"].to_numpy(), part)
            names = _index_in(table["task"], [task.name for task in tasks])
            if names.null_count:
                raise pa.ArrowInvalid("a task is not one of dataset.json's")
            lists = table["cities"].combine_chunks()
            ends, flat = np.diff(lists.offsets.to_numpy()), lists.flatten().to_numpy()
            seats = max(task.form.seats for task in tasks)
            if (ends > seats).any():
                raise pa.ArrowInvalid("a row has more cities than its task asks about")
            cities = np.full((len(table), seats), ABSENT, np.int32)
            cities[np.arange(seats) < ends[:, None]] = flat
            number = names.to_numpy().astype(np.uint8)
            return Questions(tasks, number, _seated(tasks, number, cities), table["answer"].to_numpy(), part)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: cannot be read as Arrow ({reason}); build the dataset again") from None


def _index_in(column: pa.ChunkedArray, values: Sequence[str]) -> pa.ChunkedArray:
    return pc.index_in(column, value_set=pa.array(values))  # type: ignore[attr-defined]


def _seated(tasks: Sequence[Task], number: NDArray[np.uint8], cities: NDArray[np.int32]) -> NDArray[np.int32]:
    """Cities (n, k) that stand on the left, in the seats that their task's form gives them."""
    seated, counts = np.full_like(cities, ABSENT), (cities != ABSENT).sum(axis=1)
    for i, task in enumerate(tasks):
        for count in np.unique(counts[number == i]):
            if not task.form.least_cities <= count <= task.form.seats:
                raise pa.ArrowInvalid(f"{count} cities in a row of {task.name}")
            rows = np.flatnonzero((number == i) & (counts == count))
            seated[rows[:, None], task.form.seated(int(count))] = cities[rows, :count]
    return seated
