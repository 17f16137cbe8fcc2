"""Pages of docs/ that are made of a text and of records: prose with `{{...}}` in it, where the figures go."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from atlantis import markdown
from checks.records import ROOT

Records = dict[str, dict[str, Any]]
"""Records by the name of their suite, or by another that a page gives them."""
Tables = Mapping[str, Callable[[Records], str]]


def render(prose: str, records: Records, tables: Tables) -> str:
    """The page: `{{name}}` is one of the tables, `{{suite:path|format}}` a `figure`. Raises KeyError for another."""

    def filled(match: re.Match[str]) -> str:
        return figure(match[1], records) if ":" in match[1] else tables[match[1]](records)

    return re.sub(r"\{\{(.+?)\}\}", filled, prose)


def figure(reference: str, records: Records) -> str:
    """One number of a record, as `suite:path|format` names it."""
    where, _, spec = reference.partition("|")
    name, _, path = where.partition(":")
    if name not in records:
        return "(not measured)"
    value: Any = records[name]["results"]
    for key in path.split("."):
        value = value[key]
    return format(value, spec)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown; the first column is text, the others are numbers."""
    return markdown.table(header, rows, align="l" + "r" * (len(header) - 1))


def write(page: Path, template: Path, records: Records, tables: Tables, how: str) -> None:
    """Write the page and print its path; SystemExit saying `how` to make records where there are none."""
    if not records:
        raise SystemExit(f"no records yet: run `{how}` first")
    page.write_text(render(template.read_text(encoding="utf-8"), records, tables), encoding="utf-8")
    print(page.relative_to(ROOT))
