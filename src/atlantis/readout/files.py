"""The tables of a folder of `analysis/`, written and read: by file name, the ending says how."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from atlantis.names import OLD_PROTOCOLS

Tables = dict[str, pd.DataFrame]
"""By file name. Those of a run have a column `step`."""

TEXTS = ("name", "region", "group", "split", "variant")
"""Columns that hold what users call their cities and regions, and so may hold anything."""


def analysis_folder(run: Path, name: str) -> Path:
    """Where a run has, or will have, the results of a protocol or of `map`.

    An older run keeps its folder, which has the protocol's old name, unless it has one of the new name too.
    """
    analysis = run / "analysis"
    older = [analysis / old for old, new in OLD_PROTOCOLS.items() if new == name]
    return next((folder for folder in older if folder.is_dir() and not (analysis / name).exists()), analysis / name)


def write_tables(tables: Tables, folder: Path) -> None:
    """Write every table to `folder`, made if missing: `.parquet` in full, `.csv` with six significant digits."""
    folder.mkdir(exist_ok=True)
    for file, table in tables.items():
        if file.endswith(".parquet"):
            table.to_parquet(folder / file, index=False)
        else:
            table.to_csv(folder / file, index=False, float_format="%.6g")


def read_table(file: Path, no_number: Sequence[str] = ("",)) -> pd.DataFrame:
    """One of them. `no_number` is what stands in a CSV for a missing number; a region may be called "nan", or "01"."""
    if file.suffix == ".parquet":
        return pd.read_parquet(file)
    columns = pd.read_csv(file, nrows=0).columns
    missing = {str(column): [*no_number] for column in columns if column not in TEXTS}
    return pd.read_csv(file, keep_default_na=False, na_values=missing, dtype=dict.fromkeys(TEXTS, str))


def rows_where(table: pd.DataFrame, mask: ArrayLike) -> pd.DataFrame:
    """The rows for which the mask is true (`table[mask]`, of which a type checker cannot tell that it is a table)."""
    return cast(pd.DataFrame, table.loc[np.asarray(mask, dtype=bool)])
