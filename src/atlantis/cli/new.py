"""`atlantis new`: a config to start from."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from atlantis.cli import complete
from atlantis.errors import UserError

FOLDER = Path("configs")
SETTINGS = ("dataset.kind", "dataset.n_train", "training.max_steps", "training.batch_size", "training.learning_rate")
SETTINGS += ("training.seed", "evaluation.steps", "probe.measures")
"""What is often changed; the new config shows the values of the one that it extends."""


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the config, and of the run that it describes.")],
    extends: Annotated[
        str,
        typer.Option(
            metavar="CONFIG",
            help="What to start from: a file, or a name of `atlantis list configs`.",
            autocompletion=complete.parent_names,
        ),
    ] = "demo",
) -> None:
    """Write configs/NAME.yaml: a config of your own, with the settings that are changed most, each explained.

    It does what CONFIG does until you change it. A file that is there is never written over.

    \b
    Examples:
      atlantis new mine
      atlantis new wider --extends study_2025/cross
      atlantis train mine
    """
    from atlantis import artifacts
    from atlantis.config import find, load

    if not re.fullmatch(r"\w[\w.+=-]{0,119}", name):
        raise UserError(f"{name!r}: is no name for a config; use letters, digits and _ . + = - (no spaces, no folders)")
    parent, file = find(extends), FOLDER / f"{name.removesuffix('.yaml')}.yaml"
    is_name = parent != Path(extends) or parent.is_absolute()
    spelled = Path(f"{extends.removesuffix('.yaml')}.yaml")
    if is_name and os.path.abspath(file) in (os.path.abspath(spelled), os.path.abspath(FOLDER / spelled)):
        raise UserError(f"{name}: would extend itself; give another name, or another --extends")
    if file.exists():
        raise UserError(f"{file}: is there already, and is not written over; give another name, or edit it")
    artifacts.make_folders(FOLDER)
    named = extends if is_name else str(Path("..") / extends)  # files are named relative to the new config
    artifacts.write_text(file, text_of(file.stem, named, load(parent, own_code=False)))
    print(f"{file}\nchange it, then: atlantis train {file.stem}")


def text_of(name: str, extends: str, config: Any) -> str:
    """The new config. Lines that begin with `#` and no space are settings, with the values that hold without them."""
    from atlantis import yaml12

    lines: list[str] = []
    for key in SETTINGS:
        section, _, setting = key.partition(".")
        group = getattr(config, section)
        if f"#{section}:" not in lines:
            lines.append(f"#{section}:")
        value = yaml12.dump({setting: group.model_dump(mode="json")[setting]}).rstrip()
        explained = f"{value:<24}  # {type(group).model_fields[setting].description}"
        lines += [f"#  {line}" for line in explained.split("\n")]
    settings = "\n".join(lines)
    return f"""\
# A run of your own. It says only how it differs from {extends}, which it extends.
#
#     atlantis train {name}                       carry it out
#     atlantis train {name} training.seed=1 name={name}_seed1     the same with another seed
#     atlantis show configs/{name}.yaml            every setting, as it is then
#
# A run has one config from its beginning to its end: after a change, give the run another name.
{yaml12.dump({"extends": extends}).rstrip()}
description: What {name} is to show, in one line

# Settings that are often changed. To change one, remove the # before it and before its section.
{settings}

# Keep old knowledge while the new is learned (`atlantis list strategies`, docs/strategies.md).
#strategy:
#  name: replay
#  share: 0.2

# Cities of your own: a file with a name, a latitude and a longitude for each (docs/cities.md). The model to start from
# must have learned them: name it with base:, or write base: null to begin with random weights.
#world:
#  cities: ../my_cities.csv
"""
