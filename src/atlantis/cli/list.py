"""`atlantis list`: what can be named in a command or a config."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import typer

from atlantis.cli.output import console
from atlantis.errors import UserError


def list_names(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="[KIND]",
            help="configs, bases, strategies, tasks, regions or metrics.  [default: all]",
            autocompletion=lambda: list(KINDS),
        ),
    ] = None,
) -> None:
    """List what there is to choose from, with a line about each.

    \b
    KIND         where its names stand
    configs      atlantis train NAME
    bases        base=NAME, to start a run from; atlantis show NAME
    strategies   strategy.name=NAME
    tasks        dataset.parts, as the task of a part
    regions      atlantis world build --region NAME
    metrics      tables, files and the page of a run; docs/metrics.md defines them

    \b
    Examples:
      atlantis list
      atlantis list strategies
    """
    from rich.table import Table
    from rich.text import Text

    from atlantis.fields import did_you_mean

    if kind is not None and kind not in KINDS:
        nearest = did_you_mean(kind, list(KINDS)) or "."
        raise UserError(f"{kind}: is no kind of thing to list{nearest} There is {', '.join(KINDS)}")
    for name in KINDS if kind is None else [kind]:
        table = Table(box=None, show_header=False, title=name, title_justify="left", pad_edge=False)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for key, line in KINDS[name]():
            table.add_row(Text(key), Text(line))
        console().print(table)


Lines = Iterable[tuple[str, str]]


def _configs() -> Lines:
    from atlantis.config import find, known_configs

    return [(name, _description(find(name))) for name in known_configs()]


def _bases() -> Lines:
    from atlantis.lookup import APART, base_folder, known_bases

    names = known_bases()
    for name in sorted({*names, *APART}):
        folder = base_folder(name)
        yield name, "not here; `pip install ./pretrained` in a clone" if folder is None else _of_base(folder)


def _of_base(folder: Path) -> str:
    from atlantis.vocabulary import Vocabulary

    try:
        kind = {"characters": "ids as digits", "city": "a token for each city"}[Vocabulary.load(folder).kind]
    except UserError as error:  # another tool's model
        return f"cannot be read: {error}"
    file = folder / "config.yaml"
    return f"{_description(file)} ({kind})" if file.is_file() else kind


def _strategies() -> Lines:
    import atlantis.strategies
    from atlantis.strategies.registry import known

    return _files(atlantis.strategies.__path__[0], known())


def _tasks() -> Lines:
    import atlantis.tasks

    return _files(atlantis.tasks.__path__[0], atlantis.tasks.known())


def _regions() -> Lines:
    from atlantis.world import OCEANS

    return [
        (
            name,
            f"{region.name}: {region.count} cities around {_degrees(region.lat, 'NS')}, {_degrees(region.lon, 'EW')}",
        )
        for name, region in OCEANS.items()
    ]


def _metrics() -> Lines:
    from atlantis.readout.catalogue import METRICS

    for name, metric in METRICS.items():
        facts = [metric.unit, "" if metric.better is None else f"{metric.better}er is better"]
        remark = ", ".join(fact for fact in facts if fact)
        line = (metric.what or metric.title).replace("`", "")
        yield name, f"{line} ({remark})" if remark else line


KINDS: dict[str, Callable[[], Lines]] = {
    "configs": _configs,
    "bases": _bases,
    "strategies": _strategies,
    "tasks": _tasks,
    "regions": _regions,
    "metrics": _metrics,
}


def _description(config: Path) -> str:
    """What a config says about itself; not loaded, for a user's may need a module that is not here."""
    from atlantis import yaml12
    from atlantis.reading import read_text

    try:
        data, _ = yaml12.parse(read_text(config), str(config))
    except UserError as error:
        return f"cannot be read: {error}"
    return str(data.get("description") or "") if isinstance(data, dict) else ""


def _files(folder: str, names: Iterable[str]) -> Lines:
    """Each file's first sentence, read without importing it: that may take PyTorch."""
    for name in names:
        text = ast.get_docstring(ast.parse((Path(folder) / f"{name}.py").read_text(encoding="utf-8"))) or ""
        yield name, " ".join(text.partition("\n\n")[0].split())


def _degrees(value: float, sides: str) -> str:
    return f"{abs(value):g}° {sides[value < 0]}"
