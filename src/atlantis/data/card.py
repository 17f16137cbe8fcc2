"""What a saved dataset says about itself: the text of its README."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from atlantis import yaml12
from atlantis.markdown import table
from atlantis.names import SLICES
from atlantis.tasks import Task, are_distances
from atlantis.tasks.form import ABSENT

WHAT = {
    "distance": "Pairs of real cities.",
    "inter": "Pairs of cities that are both in Atlantis.",
    "cross": "Pairs of cities of which at least one is in Atlantis.",
    "mixed": "Pairs of real cities (old data) together with pairs of which at least one is in Atlantis.",
}

FIRST_CITY = {
    "fair": "a fair coin decides which city comes first",
    "smaller_first": "the smaller id comes first, and a fair coin decides between a real and a virtual city",
}


SHIPPED_CITIES = "48912543760b"
"""The digest of the shipped table's cities, which are GeoNames' (CC BY 4.0), in the order of their usual seed."""
SIZES = {
    1_000: "n<1K",
    10_000: "1K<n<10K",
    100_000: "10K<n<100K",
    1_000_000: "100K<n<1M",
    10_000_000: "1M<n<10M",
    100_000_000: "10M<n<100M",
    10**15: "n>100M",
}
"""The Hub's words for a number of rows below each."""
MARKERS = """`prompt` and `completion` have their markers written out: a trainer
whose tokenizer is a checkpoint's must not add a second `<bos>`. Open it as
`AutoTokenizer.from_pretrained(folder, add_bos_token=False)`."""

DISTANCES = "`first` and `second` (city ids), `km`, `slice`"
OF_TASKS = """`cities` (a list of ids), `answer` (a whole
number; of words, the place in the task's list), `slice`, `task`"""


def readme(record: Mapping[str, Any], tasks: Sequence[Task], command: str = "") -> str:
    """The card, as Markdown after a head for Hugging Face's Hub, from dataset.json and the dataset's tasks."""
    text = _readme_of_parts(record, tasks) if record["kind"] == "parts" else _readme_of_pairs(record, command)
    return f"---\n{yaml12.dump(hub_head(record))}---\n\n{text}"


def hub_head(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the Hub reads: tags, size, and which files are which split. The licence only where it is known."""
    rows = sum(sum(by_slice.values()) for by_slice in record["counts"].values())
    splits = [{"split": split, "path": f"{split}/*.arrow"} for split in record["counts"]]
    is_shipped = record["real_cities_digest"] == SHIPPED_CITIES
    return {
        **({"license": "cc-by-4.0"} if is_shipped else {}),
        "pretty_name": record["name"],
        "tags": ["atlantis-lab", "geography", "synthetic"],
        "task_categories": ["text-generation"],
        "size_categories": [next(name for most, name in SIZES.items() if rows < most)],
        "configs": [{"config_name": "default", "data_files": splits}],
    }


def _readme_of_pairs(record: Mapping[str, Any], command: str) -> str:
    config = record["config"]
    notes = _notes(record)
    return f"""# {record["name"]}

{WHAT[record["kind"]]} "Atlantis" stands for all virtual cities. World: digest `{record["world_digest"]}`.

{_counts_table(record["counts"])}

## To know

{notes}

## How it was made

Unordered pairs drawn without replacement, none in two splits; {FIRST_CITY[config.get("order", "fair")]}. Distances
are great-circle kilometres on a sphere of radius 6371 km, rounded. Seed {config["seed"]}, with separate streams for
which pairs, which split and which order.

```
{command or default_command(config)}
```

## Files and columns

`datasets.load_from_disk` reads this folder. Columns: `prompt` and `completion` (with markers, for TRL's SFTTrainer),
`text` (without), {DISTANCES}. `dataset.json` holds the settings and the counts
above, `manifest.json` the SHA-256 of every file.

{MARKERS}
"""


def _notes(record: Mapping[str, Any]) -> str:
    notes = [*record["notes"], *_overlap_notes(record["overlaps"])]
    return "\n".join(f"- {note}" for note in notes) or "- Nothing out of the ordinary."


def _readme_of_parts(record: Mapping[str, Any], tasks: Sequence[Task]) -> str:
    config = record["config"]
    rows = [[part["task"], _cities(part["cities"]), f"{part['n_train']:,}"] for part in config["parts"]]
    about = "\n".join(_about(task) for task in tasks)
    columns = DISTANCES if are_distances(tasks) else OF_TASKS
    return f"""# {record["name"]}

Questions of {len(tasks)} {"task" if len(tasks) == 1 else "tasks"}. World: digest `{record["world_digest"]}`.

{table(["task", "cities", "training questions"], rows, align="llr", narrow=True)}

{about}

{_counts_table(record["counts"])}

## To know

{_notes(record)}

## How it was made

Different questions, none in two splits; {FIRST_CITY[config.get("order", "fair")]}. Seed {config["seed"]}, with separate
streams for which cities, which split and which order. The settings are in `dataset.json`.

## Files and columns

`datasets.load_from_disk` reads this folder. Columns: `prompt` and `completion` (with markers, for TRL's SFTTrainer),
`text` (without), {columns}. `dataset.json` holds the settings and the counts above, `manifest.json` the SHA-256
of every file.

{MARKERS}
"""


def _cities(cities: Any) -> str:
    if not isinstance(cities, Mapping):
        return "real ones"
    return next(f"{how} {region}" for how, region in cities.items() if region is not None)


def _about(task: Task) -> str:
    """The first line of a task's docstring, and a prompt as its template has it."""
    form, lines = task.form, (type(task).__doc__ or task.name).strip().splitlines()
    cities = np.full((1, form.seats), ABSENT)
    cities[0, form.seated(form.least_cities)] = 12 + np.arange(form.least_cities)
    example = form.text_columns(cities, np.zeros(1, np.int64))["prompt"][0].as_py().removeprefix("<bos>")
    return f"- **{task.name}**: {lines[0]} A prompt looks like `{example}`; errors are in {task.unit}."


def default_command(config: Mapping[str, Any]) -> str:
    """The command line that asks for these pairs, where the world is the default one."""
    sizes = {"--n-train": config["n_train"], "--n-val": config["n_val"], "--n-test": config["n_test"]}
    if config["kind"] == "mixed":
        del sizes["--n-train"]  # the sum of these two
        sizes = {"--n-distance": config["n_distance"], "--n-cross": config["n_cross"], **sizes}
    options = {**sizes, "--seed": config["seed"]}
    if config["kind"] in ("cross", "mixed"):
        options["--inter-ratio"] = config["inter_ratio"]
    if "order" in config:
        options["--order"] = config["order"]
    if config["offset"] is not None:
        options["--offset"] = config["offset"]
    words = [f"{option} {value}" for option, value in options.items()]
    return " ".join(["atlantis data", config["kind"], *words, "--out", config["name"]])


def _counts_table(counts: Mapping[str, Mapping[str, int]]) -> str:
    rows = []
    for split, by_slice in counts.items():
        total = sum(by_slice.values())
        shares = [f"{by_slice[name]:,} ({100 * by_slice[name] / total:.1f} %)" for name in SLICES]
        rows.append([split, *shares, f"{total:,}"])
    return table(["split", *SLICES, "all"], rows, align="l" + "r" * (len(SLICES) + 1), narrow=True)


def _overlap_notes(overlaps: Mapping[str, Mapping[str, Mapping[str, int]]]) -> list[str]:
    notes = []
    for name, by_split in overlaps.items():
        shared = [
            f"{count:,} of {mine} are in its {theirs}"
            for mine, others in by_split.items()
            for theirs, count in others.items()
            if count
        ]
        notes.append(f"Pairs shared with {name}: {'; '.join(shared) or 'none'}.")
    return notes
