"""What Hugging Face's Hub reads of a shipped checkpoint's card: its head in YAML, and how to ask the model.

The head is made from the tables of the card itself, so that no number on it is typed by hand, or stands there twice.
"""

from __future__ import annotations

import re
from typing import Any

from atlantis import yaml12

HEAD = re.compile(r"\A---\n.*?\n---\n\n?", re.DOTALL)
ASK = "## How to ask it"
ASKED = re.compile(rf"^{ASK}\n.*?(?=^## )", re.DOTALL | re.MULTILINE)
TASK = {"type": "text-generation", "name": "Distance between two cities"}
HELD_OUT = {"type": "atlantis-distances", "name": "held-out pairs of real cities"}
CITIES = {"type": "atlantis-cities", "name": "real cities that the probe was not fitted on"}
METRICS = {
    "task, mean km": (HELD_OUT, "mean_km", "mean error of the answers, km"),
    "task, median km": (HELD_OUT, "median_km", "median error of the answers, km"),
    "lon R2": (CITIES, "r2", "longitude, linear probe, R2"),
    "lat R2": (CITIES, "r2", "latitude, linear probe, R2"),
    "probe, mean km": (CITIES, "mean_km", "linear probe, mean km"),
    "probe, median km": (CITIES, "median_km", "linear probe, median km"),
}
"""Columns of the card's curve: the data that each is measured on, the metric's type, and its name."""


def completed(card: str, name: str) -> str:
    """A card with its head, and with how to ask the model, in place of earlier ones."""
    body = ASKED.sub("", HEAD.sub("", card))
    body = body.replace("\n## The last run\n", f"\n{asking(name)}\n## The last run\n", 1)
    return f"---\n{yaml12.dump(head(body, name))}---\n\n{body}"


def head(body: str, name: str) -> dict[str, Any]:
    """The metadata of a card: licence, tags, and the numbers of the last row of its curve."""
    return {
        "license": "mit",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["atlantis-lab", "geography", "interpretability", "world-model", "qwen2"],
        "metrics": ["mean_km", "median_km", "r2"],
        "model-index": [{"name": name, "results": results(body)}],
    }


def results(body: str) -> list[dict[str, Any]]:
    """The last row of a card's curve, by the data that it is measured on."""
    titles, *rows = (_cells(line) for line in re.findall(r"^\| (?:step|\d+) \|.*$", body, re.MULTILINE))
    last = dict(zip(titles, (cell.replace(",", "") for cell in rows[-1]), strict=True))
    found = []
    for dataset in (HELD_OUT, CITIES):
        metrics = [
            {"type": kind, "value": float(last[column]) if "." in last[column] else int(last[column]), "name": title}
            for column, (of, kind, title) in METRICS.items()
            if of is dataset
        ]
        found.append({"task": TASK, "dataset": dataset, "metrics": metrics})
    return found


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def asking(name: str) -> str:
    return f"""{ASK}

```python
from transformers import pipeline

ask = pipeline("text-generation", model="{name}")  # the path of this folder
ask("dist(c_12,c_345)=", return_full_text=False)  # the kilometres between city 12 and city 345
```

The tokenizer adds `<bos>`: do not write it, or give `add_special_tokens=False`. An answer is greedy and ends by itself.
A pipeline of transformers before 5.16 draws it at random: add `do_sample=False` to the call.
Which city has which id is in `cities.csv` of the world that `atlantis world build` makes.
"""
