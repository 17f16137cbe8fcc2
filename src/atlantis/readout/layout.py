"""The one layout of tables of analysis: a number a row, with its interval, where it was read and of how many.

The files of `analysis/` are wide where people read them: a column for each metric, and beside some their `_low` and
`_high`. `tidy` makes a row of each number. What more a table tells apart (the variant of a probe, the position in the
prompt, an alpha) stands in columns before the others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

LAYOUT = ("step", "layer", "group", "metric", "value", "low", "high", "n")
"""low, high: NaN where there is no interval."""


def tidy(table: pd.DataFrame, keys: Sequence[str] = (), unused: Sequence[str] = (), **given: object) -> pd.DataFrame:
    """A wide table in `keys` and `LAYOUT`, without rows of what is no number.

    `given`: columns that it does not have, such as step or layer, with the one value of all rows. `unused`: columns
    that are neither a metric nor kept. Rows keep their order; those of one row are together, in the metrics' order.
    """
    table = table.assign(**given)
    about = [*keys, *(name for name in LAYOUT if name in ("step", "layer", "group", "n"))]
    bounds = {f"{name}_{end}" for name in table for end in ("low", "high")} & set(table)
    metrics = [name for name in table if name not in {*about, *bounds, *unused}]
    parts = []
    for place, metric in enumerate(metrics):
        ends = {end: table.get(f"{metric}_{end}", np.nan) for end in ("low", "high")}
        part = table[about].assign(metric=metric, value=table[metric], **ends, row=range(len(table)), place=place)
        parts.append(part[part["value"].notna()])
    if not parts:
        return pd.DataFrame(columns=[*keys, *LAYOUT])
    together = pd.concat(parts, ignore_index=True).sort_values(["row", "place"], ignore_index=True)
    return pd.DataFrame(together, columns=[*keys, *LAYOUT])
