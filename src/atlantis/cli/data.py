"""`atlantis data`: one command, and a kind of dataset as its argument."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from atlantis.cli.folders import all_at_home, at_home
from atlantis.cli.output import command_line, show_folder
from atlantis.errors import UserError

if TYPE_CHECKING:
    from atlantis.settings import DatasetConfig
    from atlantis.world import World

KINDS = ("distance", "inter", "cross", "mixed")
KINDS_WITH = {"--inter-ratio": ("cross", "mixed"), "--offset": ("inter", "cross", "mixed")}
KINDS_WITH |= dict.fromkeys(("--n-distance", "--n-cross"), ("mixed",))


def data(
    context: typer.Context,
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help="distance, inter, cross or mixed; or a config's name or file.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder to make.", callback=at_home)],
    n_train: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Training pairs.  [default: as above]")
    ] = None,
    n_val: Annotated[int, typer.Option(metavar="N", min=0, help="Validation pairs.")] = 128,
    n_test: Annotated[int | None, typer.Option(metavar="N", min=0, help="Test pairs.  [default: as above]")] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of the draw; independent of the world's.")] = 42,
    order: Annotated[
        Literal["fair", "smaller_first"],
        typer.Option(help="Which city is first: a coin decides, or the smaller id (real and virtual: a coin)."),
    ] = "fair",
    inter_ratio: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE", min=0, max=1, help="cross, mixed: share of pairs with both cities virtual.  [default: 0.1]"
        ),
    ] = None,
    n_distance: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="mixed: old training pairs, both cities real.  [default: 20000]"),
    ] = None,
    n_cross: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="mixed: new training pairs.  [default: 100000]")
    ] = None,
    offset: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="All but distance: first virtual id.  [default: found from the world]"),
    ] = None,
    world: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Saved world.  [default: shipped cities and Atlantis]", callback=at_home),
    ] = None,
    sibling: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR", help="Dataset of the same world: shared pairs are counted; repeatable.", callback=all_at_home
        ),
    ] = None,
) -> None:
    """Draw a dataset: pairs of cities and their distances.

    \b
    KIND        the pairs                                                 --n-train  --n-test
    distance    both cities real                                            1000000     10000
    inter       both cities in Atlantis (in virtual regions)                   4000       500
    cross       at least one city in Atlantis; a share of --inter-ratio      100000     10000
                has both there, or all such pairs if fewer exist
    mixed       old and new: distance and cross pairs together, shared       120000         0
                1 : 5 as in the study, or by --n-distance and --n-cross
    CONFIG      the dataset of a run's config, in its world: any tasks and
                numbers (options: --out and --sibling)

    Writes into --out a folder that datasets.load_from_disk reads (prompt, completion, text, first, second, km, slice),
    with a card (README.md) and the counts per split and slice (dataset.json). Pairs are unordered, drawn without
    replacement, none in two splits. The same request gives the same bytes. Asking for more pairs than exist is
    refused, naming the maximum, before anything is written.

    \b
    Examples:
      atlantis data distance --n-train 100000 --out outputs/datasets/dist_100k
      atlantis data inter --out outputs/datasets/inter
      atlantis data cross --world outputs/worlds/two --inter-ratio 0.05 --out outputs/datasets/cross
      atlantis data mixed --n-distance 50000 --n-cross 50000 --out outputs/datasets/half_and_half
      atlantis data my_tasks.yaml --out outputs/datasets/tests_of_all_tasks
    """
    if kind not in KINDS:
        return _of_config(kind, out, sibling or [], context)
    sizes: dict[str, Any] = {"n_train": n_train, "n_val": n_val, "n_test": n_test}
    parts = {"inter_ratio": inter_ratio, "n_distance": n_distance, "n_cross": n_cross, "offset": offset}
    for key, value in parts.items():
        option = "--" + key.replace("_", "-")
        if value is not None and kind not in KINDS_WITH[option]:
            raise UserError(f"{option}: is for {' and '.join(KINDS_WITH[option])}, not for {kind}")
    if kind == "mixed" and n_train is not None:
        if n_distance is not None or n_cross is not None:
            raise UserError("--n-train: give it, or --n-distance and --n-cross, not both")
        old = round(n_train / 6)
        parts |= {"n_distance": old, "n_cross": n_train - old}
        del sizes["n_train"]
    settings = {key: value for key, value in (sizes | parts).items() if value is not None}
    _build_kind(kind, out, world, sibling or [], **settings, seed=seed, order=order)


def _of_config(name: str, out: Path, siblings: list[Path], context: typer.Context) -> None:
    """The dataset that a config names, in its world."""
    from atlantis import config as configs
    from atlantis.data.mixture import check_possible
    from atlantis.world import World

    if not (Path(name).is_file() or name.endswith((".yaml", ".yml")) or name in configs.known_configs()):
        raise UserError(
            f"{name}: is no kind of dataset; the kinds are {', '.join(KINDS)}, or give a config; see "
            "`atlantis data --help`"
        )
    for option in context.params.keys() - {"kind", "out", "sibling"}:
        source = context.get_parameter_source(option)
        if source is not None and source.name not in ("DEFAULT", "DEFAULT_MAP"):
            raise UserError(f"--{option.replace('_', '-')}: {name} says what is drawn; set it there, or leave it out")
    config = configs.load(name)
    world = World.from_config(config.world)
    check_possible(config.dataset, world)
    _build(config.dataset, out, world, siblings)


def _build_kind(kind: str, out: Path, world: Path | None, siblings: list[Path], **settings: Any) -> None:
    from atlantis.config import checked
    from atlantis.settings import MOST_BYTES, DatasetConfig
    from atlantis.world import World

    folder = os.path.basename(os.path.realpath(out)) or "dataset"
    name = re.sub(r"[^\w.+=-]", "_", folder)[:120].encode()[:MOST_BYTES].decode(errors="ignore")
    config = checked(DatasetConfig, {"kind": kind, "name": name, **settings})
    _build(config, out, World.load(world) if world else World.build(), siblings)


def _build(config: DatasetConfig, out: Path, world: World, siblings: list[Path]) -> None:
    from atlantis.artifacts import clear_leftovers, is_complete, verify
    from atlantis.data.dataset import Dataset
    from atlantis.reading import read_json

    dataset = Dataset.build(world, config)
    others = [Dataset.load(folder) for folder in siblings]
    for folder, other in zip(siblings, others, strict=True):
        if other.world_digest != dataset.world_digest:
            raise UserError(f"--sibling {folder}: is a dataset of another world; its cities have other ids")
    clear_leftovers(out.parent, out.name)
    if is_complete(out, dataset.digest):
        verify(out)
        counted = read_json(out / "dataset.json").get("overlaps", {})
        for folder, other in zip(siblings, others, strict=True):
            if other.name not in counted:
                raise UserError(f"{out}: was made without --sibling {folder}; remove it, or give another --out")
        print(f"{out}: this dataset is already there; nothing to do")
    else:
        try:
            dataset.save(out, siblings=others, command=command_line())
        except UserError:
            if not is_complete(out, dataset.digest):  # else another process has just made the same
                raise
    show_folder(out)
