"""Write docs/settings.md, and the settings of each strategy in docs/strategies.md, from the classes that check them.

    python -m scripts.settings_page

The prose is settings.md beside this script. The strategies' table stands between two comments in docs/strategies.md,
which name this script. A test compares both pages with the code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from atlantis import settings, yaml12
from atlantis.artifacts import write_text
from atlantis.data.mixture import PRESETS
from atlantis.fields import MAX_COUNT
from atlantis.markdown import table
from atlantis.settings import STUDY_SIZES
from atlantis.strategies.registry import find, known
from scripts.places import PLACE, with_part

ROOT = Path(__file__).parents[1]
PROSE = Path(__file__).with_name("settings.md")
PAGE, STRATEGIES = ROOT / "docs" / "settings.md", ROOT / "docs" / "strategies.md"
BEGIN, END = "<!-- written by scripts/settings_page.py -->\n", "<!-- end -->"

KINDS = {int: "whole number", float: "number", str: "text", bool: "`true`, `false`"}
SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
QUESTIONS = {
    "distance": "pairs of real cities",
    "inter": "pairs of two invented cities",
    "cross": "pairs with at least one invented city",
    "mixed": "`n_distance` pairs of real cities and `n_cross` cross pairs",
}


def allowed(annotation: Any, metadata: tuple[Any, ...] = ()) -> str:
    """What a value may be, in words: a kind with its limits, the choices, or a list."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        of_type = [limit for part in inner[1:] for limit in (part.metadata if isinstance(part, FieldInfo) else [part])]
        return allowed(inner[0], (*of_type, *metadata))
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in inner)
    if origin is Union or type(annotation).__name__ == "UnionType":
        kinds = [allowed(kind, metadata) for kind in inner if kind is not type(None)]
        return " or ".join([*kinds, *(["`null`"] if type(None) in inner else [])])
    if origin in (list, tuple):
        return f"list: {allowed(inner[0])}" if origin is list else f"{len(inner)} numbers: {allowed(inner[0])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "see below"
    return " ".join([KINDS[annotation], ", ".join(_limits(metadata))]).strip()


def _limits(metadata: tuple[Any, ...]) -> Iterator[str]:
    """The closest limit of each kind; none that only keeps a number within what a computer counts."""
    bounds = {name: [value for part in metadata if (value := getattr(part, name, None)) is not None] for name in SIGNS}
    for name, values in bounds.items():
        limit = (max if name.startswith("g") else min)(values, default=None)
        if limit is not None and limit < MAX_COUNT:
            yield f"{SIGNS[name]} {limit:,}"


def default(field: FieldInfo) -> str:
    """The default as a config would have it."""
    if field.is_required():
        return ""
    value = field.default
    if isinstance(value, list) and any(isinstance(item, BaseModel) for item in value):
        return "one, with the defaults below" if len(value) == 1 else f"{len(value)}, see below"
    if isinstance(value, BaseModel):
        return "see below"
    text = yaml12.dump({"x": list(value) if isinstance(value, tuple) else value})
    return f"`{' '.join(text.removeprefix('x:').split())}`"


def rows(model: type[BaseModel]) -> Iterator[list[str]]:
    """Name, default, what is allowed, and description of each setting that is no section of its own."""
    for name, field in model.model_fields.items():
        if not isinstance(field.default, BaseModel) and name != "strategy":
            kinds = allowed(field.annotation, tuple(field.metadata))
            yield [f"`{name}`", default(field), kinds, field.description or ""]


def settings_table(model: type[BaseModel]) -> str:
    return table(["setting", "default", "allowed", "what it is"], rows(model), narrow=True)


def sizes_table() -> str:
    """The study's numbers of questions, by kind: rows of a table."""
    assert set(QUESTIONS) == set(STUDY_SIZES) and set(PRESETS.values()) < set(QUESTIONS)
    return "\n".join(
        f"| `{kind}` | {QUESTIONS[kind]} | {' / '.join(f'{n:,}' for n in STUDY_SIZES[kind])} |" for kind in STUDY_SIZES
    )


def page() -> str:
    def of_place(match: re.Match[str]) -> str:
        kind, _, name = match[1].partition(":")
        return sizes_table() if kind == "sizes" else settings_table(getattr(settings, name))

    return PLACE.sub(of_place, PROSE.read_text(encoding="utf-8"))


def strategies_table() -> str:
    """A row for each setting of each strategy that has any."""
    own = [[f"`{name}`", *row] for name in known() for row in rows(find(name).Settings) if row[0] != "`name`"]
    return table(["strategy", "setting", "default", "allowed", "what it is"], own, narrow=True)


def strategies_page() -> str:
    text = STRATEGIES.read_text(encoding="utf-8")
    return with_part(text, BEGIN, END, f"\n{strategies_table()}\n\n")


def main() -> None:
    write_text(PAGE, page())
    write_text(STRATEGIES, strategies_page())
    print(f"wrote {PAGE} and {STRATEGIES}")


if __name__ == "__main__":
    main()
