"""A world on disk: `cities.csv` is the world, `world.json` says how it was made, the rest is for people.

A command reads one that `--world` names; what looks at a run reads the one that was saved with it (`of_run`).
"""

from __future__ import annotations

import io
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from atlantis.artifacts import new_folder, write_bytes, write_json, write_text
from atlantis.errors import UserError
from atlantis.reading import read_bytes, read_json
from atlantis.world import card
from atlantis.world.canonical import COLUMNS, table_digest
from atlantis.world.containers import read_table
from atlantis.world.virtual import VirtualRegion, rounded

if TYPE_CHECKING:
    from atlantis.world.world import World

FORMAT = 1


def write_world(world: World, folder: Path, overwrite: bool) -> None:
    """See `World.save`."""
    record = {
        "format": FORMAT,
        "digest": world.digest,
        "n": len(world),
        "n_real": world.n_real,
        "n_virtual": world.n_virtual,
        "seed": world.seed,
        "source": world.source,
        "given_ids": world.given_ids,
        "regions": [asdict(region) for region in world.virtual_regions],
    }
    with new_folder(folder, kind="world", digest=world.digest, overwrite=overwrite) as made:
        write_bytes(made / "cities.csv", world.csv_bytes)
        write_json(made / "world.json", record)
        write_text(made / "README.md", card.readme(world))
        card.draw(world, made / "map.png")


def read_world(folder: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The table and the record of a saved world, checked against each other; see `World.load`.

    The record comes with `regions` as VirtualRegion objects. Raises UserError.
    """
    record = _read_record(folder / "world.json", folder)
    table = _read_unchanged(folder / "cities.csv", record["digest"])
    if table is None:
        table = _read_table(folder / "cities.csv")
    _check_ids(folder / "cities.csv", table, record)
    return table, record


def _read_record(path: Path, folder: Path) -> dict[str, Any]:
    try:
        record = read_json(path)
    except FileNotFoundError as error:
        raise UserError(
            f"{folder}: no saved world there ({path.name}: {error.strerror}); `atlantis world build --out` makes one"
        ) from None
    except UserError as error:
        raise UserError(f"{error}; build the world again") from None
    kinds = {"n": int, "n_real": int, "seed": int, "digest": str, "source": str, "given_ids": bool, "regions": list}
    if record.get("format") != FORMAT:
        raise UserError(f"{path}: not the record of a world of format {FORMAT}; build the world again")
    for key, kind in kinds.items():
        if not isinstance(record.get(key), kind):
            raise UserError(f"{path}: {key!r} is missing or not of type {kind.__name__}; build the world again")
    try:
        regions = [VirtualRegion(**spec) for spec in record["regions"]]
    except (TypeError, UserError) as error:
        raise UserError(f"{path}: 'regions' does not describe virtual regions ({error})") from error
    return record | {"regions": regions}


def _read_unchanged(path: Path, digest: str) -> pd.DataFrame | None:
    """The table at `path`, if its bytes are those that were saved: then it need not be checked line by line."""
    try:
        data = read_bytes(path)
    except FileNotFoundError:
        return None
    if table_digest(data) != digest:
        return None
    kinds: Any = dict.fromkeys(COLUMNS, str) | {"id": int, "population": int, "lon": float, "lat": float}
    kinds["is_virtual"] = bool
    table = pd.read_csv(io.BytesIO(data), dtype=kinds, na_filter=False)
    return table.assign(lon=rounded(table["lon"].to_numpy()), lat=rounded(table["lat"].to_numpy()))


def _read_table(path: Path) -> pd.DataFrame:
    """The table at `path`, which somebody has changed since it was saved. Raises UserError for the first mistake."""
    file = read_table(path)
    if tuple(file.header) != COLUMNS:
        raise UserError(f"{path}, line 1: the columns of a world are {','.join(COLUMNS)}, not {','.join(file.header)}")
    text = {name: file.column(k) for k, name in enumerate(COLUMNS)}
    index = {name: k for k, name in enumerate(COLUMNS)}
    table: dict[str, Any] = dict(text)
    for name, kind in (("id", np.int64), ("lon", np.float64), ("lat", np.float64), ("population", np.int64)):
        try:
            table[name] = np.array(text[name]).astype(kind)
        except (ValueError, OverflowError) as error:
            raise UserError(f"{path}, column {name!r}: {error}; build the world again") from error
    for name, limit in (("lon", 180.0), ("lat", 90.0)):
        outside = np.flatnonzero(~(np.abs(table[name]) <= limit))  # NaN is outside too
        file.refuse_rows(index[name], outside, f"is outside -{limit:g} to {limit:g} degrees")
        table[name] = rounded(table[name])
    file.require(index["is_virtual"], text["is_virtual"], ("True", "False").__contains__, "is not True or False")
    table["is_virtual"] = np.array(text["is_virtual"]) == "True"
    return pd.DataFrame(table)


def _check_ids(path: Path, table: pd.DataFrame, record: dict[str, Any]) -> None:
    """UserError unless ids are positions, real cities come first, and regions have the cities that they should."""
    wrong = np.flatnonzero(table["id"].to_numpy() != np.arange(len(table)))
    if len(wrong):
        k = int(wrong[0])
        raise UserError(f"{path}, line {k + 2}: id {table['id'].iloc[k]} where {k} should be; build the world again")
    if len(table) != record["n"]:
        raise UserError(f"{path}: {len(table)} cities where world.json has {record['n']}; build the world again")
    virtual = table["is_virtual"].to_numpy()
    names = np.array([region.name for region in record["regions"]], dtype=object)
    expected = np.repeat(names, [region.count for region in record["regions"]])
    late = np.flatnonzero(virtual[:-1] & ~virtual[1:])
    if len(late):
        raise UserError(f"{path}, line {late[0] + 3}: a real city after a virtual one; build the world again")
    if (
        int((~virtual).sum()) != record["n_real"]
        or table.loc[virtual, "region"].tolist() != expected.tolist()
        or table.loc[~virtual, "region"].isin(names).any()
    ):
        raise UserError(f"{path}: its virtual cities are not those of the regions in world.json; build the world again")
