"""The table that a world is: its columns, the ids of its cities, and its bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from atlantis.world.regions import OTHER, region_of_country
from atlantis.world.virtual import DECIMALS, VirtualRegion

COLUMNS = ("id", "name", "lon", "lat", "country", "region", "population", "is_virtual")


def canonical_csv(table: pd.DataFrame) -> bytes:
    """A world's table as UTF-8 with `\\n` and 5 decimals; the same table gives the same bytes anywhere."""
    fields = [_fields(pa.array(table[name])) for name in COLUMNS]
    rows = pc.binary_join_element_wise(*fields, ",")  # type: ignore[attr-defined]
    return "\n".join([",".join(COLUMNS), *rows.to_pylist(), ""]).encode("utf-8")


def _fields(column: pa.Array) -> pa.Array:
    """A column as text fields of a CSV file; a text that needs quotes has them."""
    if pa.types.is_boolean(column.type):
        return pc.if_else(column, "True", "False")  # type: ignore[attr-defined]
    if pa.types.is_floating(column.type):
        # As decimals: floats would be written with as many digits as they need, each with another number of them.
        column = pc.cast(column, pa.decimal128(3 + DECIMALS, DECIMALS))
    text = pc.cast(column, pa.string())
    special = pc.match_substring_regex(text, '[",\r\n]')  # type: ignore[attr-defined]
    if not pc.any(special).as_py():  # type: ignore[attr-defined]
        return text
    doubled = pc.replace_substring(text, '"', '""')  # type: ignore[attr-defined]
    return pc.if_else(special, pc.binary_join_element_wise('"', doubled, '"', ""), text)  # type: ignore[attr-defined]


def table_digest(data: bytes) -> str:
    """12 hexadecimal digits of the SHA-256 of a world's table."""
    return hashlib.sha256(data).hexdigest()[:12]


def with_ids(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Rows of real cities in the order of their ids, with every column of `COLUMNS`."""
    if ids_are_positions(table):
        order = np.argsort(table["id"].to_numpy())
    else:
        # Not Generator.permutation: NumPy keeps the bit stream fixed between versions, and that algorithm not.
        order = np.argsort(np.random.PCG64(seed).random_raw(len(table)), kind="stable")
    real = table.iloc[order].reset_index(drop=True)
    by_country = real["country"].str.upper().map(region_of_country).fillna(OTHER)
    region = real["region"].where(real["region"] != "", by_country) if "region" in real else by_country
    return real.assign(id=np.arange(len(real)), region=region, is_virtual=False)[list(COLUMNS)]


def ids_are_positions(table: pd.DataFrame) -> bool:
    """Whether the file gives ids 0..n-1. Others, such as a geographic database's, cannot name cities here."""
    return "id" in table and np.array_equal(np.sort(table["id"].to_numpy()), np.arange(len(table)))


def virtual_rows(regions: Sequence[VirtualRegion], offset: int) -> list[pd.DataFrame]:
    """A table for each region, with the ids from `offset` on."""
    rows = []
    for region in regions:
        lon, lat = region.sample()
        columns = {
            "id": np.arange(offset, offset + region.count),
            "name": region.city_names(),
            "lon": lon,
            "lat": lat,
            "country": region.code,
            "region": region.name,
            "population": 0,
            "is_virtual": True,
        }
        rows.append(pd.DataFrame(columns))
        offset += region.count
    return rows
