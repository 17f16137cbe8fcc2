"""Write docs/mechanism.md: what a fine-tuning breaks. The prose of mechanism.md beside this script, and its tables.

    python -m scripts.mechanism_page

The numbers come from the tables of experiments/2026-11-28_mechanism and the records of experiments/2026-11-28_repair.
The same tables give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from atlantis.artifacts import write_text
from atlantis.markdown import table as table_of
from atlantis.names import SLICES
from atlantis.readout.files import rows_where
from atlantis.readout.interventions import TOKENS
from atlantis.scales import IDENTITY, LOG, Scale
from atlantis.statistics import seed_interval
from scripts.method_numbers import REPAIR, Methods
from scripts.places import PLACE, fill

ROOT = Path(__file__).parents[1]
PROSE = Path(__file__).with_name("mechanism.md")
PAGE = ROOT / "docs" / "mechanism.md"
EXPERIMENT = ROOT / "experiments" / "2026-11-28_mechanism"
SEEDS = (1, 2, 3)
LAST = 200
PROBED = (3, 4)
"""Blocks that the study's probe reads, at the tokens behind the first city's name."""
BETWEEN = {"nothing": "nothing", "shift": "a shift", "affine": "an affine map", "permuted": "a permuted map"}


def of_seeds(file: str) -> pd.DataFrame:
    """One of the tables of the three fine-tunings, with a column `seed`."""
    return pd.concat(
        [pd.read_csv(EXPERIMENT / f"seed{seed}" / file).assign(seed=seed) for seed in SEEDS], ignore_index=True
    )


def only(table: pd.DataFrame, **values: object) -> pd.DataFrame:
    """The rows with these values, by column."""
    chosen = np.full(len(table), True)
    for column, value in values.items():
        chosen &= np.asarray(table[column] == value)
    return rows_where(table, chosen)


def mean_of(table: pd.DataFrame, column: str, by: str) -> pd.Series:
    """The mean of a column for each value of another."""
    return pd.Series(table.groupby(by)[column].mean())


def shown(values: pd.Series, scale: Scale, digits: int) -> str:
    """The mean of values, one of each seed or base, with its interval where there is one."""
    over = seed_interval(values, scale)
    centre = f"{values.mean():,.{digits}f}"
    return f"{centre} ({over.low:,.{digits}f} to {over.high:,.{digits}f})" if over.exists else centre


class Numbers:
    """All tables of the experiment, and the numbers that the prose asks for."""

    def __init__(self) -> None:
        self.bases = pd.read_csv(EXPERIMENT / "bases.csv")
        self.stitched = only(of_seeds("stitched.csv"), slice=SLICES[0], step=LAST)
        self.parts = only(of_seeds("parts.csv"), slice=SLICES[0])
        self.tuned = only(of_seeds("interventions.csv"), step=LAST)
        self.controls = only(pd.read_csv(EXPERIMENT / "controls" / "stitched.csv"), slice=SLICES[0])

    @property
    def n_bases(self) -> int:
        return len(set(self.bases["base"]))

    def way(self, rows: pd.DataFrame, unit: str, **chosen: object) -> pd.Series:
        """Slopes of one change, one value for each of `unit` (base, seed or cut)."""
        return mean_of(only(rows, **({"metric": "own_slope", "seat": "first"} | chosen)), "value", unit)

    def base(self, seat: str, cut: str, tokens: str, change: str) -> str:
        return shown(self.way(self.bases, "base", seat=seat, cut=int(cut), tokens=tokens, change=change), IDENTITY, 2)

    def one(self, base: str, cut: str, tokens: str, change: str) -> str:
        """The same in one base, with the interval over its questions."""
        chosen = {"base": base, "cut": int(cut), "tokens": tokens, "change": change}
        (row,) = only(self.bases, metric="own_slope", seat="first", **chosen).to_dict("records")
        return f"{row['value']:.2f} ({row['low']:.2f} to {row['high']:.2f})"

    def after(self, group: str, seat: str, cut: str, tokens: str, change: str) -> str:
        chosen = {"group": group, "seat": seat, "cut": int(cut), "tokens": tokens, "change": change}
        return shown(self.way(self.tuned, "seed", **chosen), IDENTITY, 2)

    def stitch(self, lower: str, cut: str, between: str) -> str:
        rows = only(self.stitched, lower=lower, cut=int(cut), between=between)
        return shown(mean_of(rows, "mean", "seed"), LOG, 0)

    def place(self) -> str:
        """The most that an interchange at the study's place moves an answer, in any base and probed block."""
        behind = [self.way(self.bases, "base", cut=cut, tokens="behind", change="interchange") for cut in PROBED]
        return f"{pd.concat(behind).max():.2f}"

    def best(self) -> str:
        """How far the encoding moves the answer at each base's best block: the least and the most of the bases."""
        by_block = [
            self.way(table, "cut", tokens="all", change="encoding").max() for _, table in self.bases.groupby("base")
        ]
        return f"{min(by_block):.2f} to {max(by_block):.2f}"

    def part(self, name: str, mode: str) -> str:
        return shown(mean_of(only(self.parts, part=name, mode=mode), "mean", "seed"), LOG, 0)


def tokens_table(numbers: Numbers) -> str:
    """The interchange in the bases, by block and tokens: where the answer comes from."""
    rows = []
    cuts = sorted(set(numbers.bases["cut"]))
    for seat in ("first", "second"):
        for cut in cuts:
            cells = [numbers.base(seat, str(cut), tokens, "interchange") for tokens in TOKENS[1:]]
            rows.append([seat, _block(cut), *cells])
    header = ["city", "behind block", "the name's tokens but the last", "the name's last token", "the tokens behind it"]
    return table_of(header, rows, "lrrrr")


def bases_table(numbers: Numbers) -> str:
    """For each base: where the encoding moves the answer most, and what the study's place does."""
    rows = []
    for base, table in numbers.bases.groupby("base"):
        encoding = numbers.way(table, "cut", tokens="all", change="encoding")
        cut = encoding.idxmax()
        random = numbers.way(table, "cut", tokens="all", change="random")[cut]
        place = numbers.way(table, "cut", tokens="behind", change="interchange")[list(PROBED)].max()
        rows.append([str(base), _block(int(str(cut))), f"{encoding[cut]:.2f}", f"{random:.2f}", f"{place:.2f}"])
    header = ["base", "best block", "along the encoding", "at random", "the study's place, blocks 3 and 4"]
    return table_of(header, rows, "lrrrr")


def changes_table(numbers: Numbers) -> str:
    """All changes of all tokens of the first city, in the bases."""
    changes = ("interchange", "encoding", "probe", "beside", "random")
    rows = [
        [_block(cut), *(numbers.base("first", str(cut), "all", change) for change in changes)]
        for cut in sorted(set(numbers.bases["cut"]))
    ]
    header = ["behind block", "B's states", "along the encoding", "along the probe", "beside the probe", "at random"]
    return table_of(header, rows, "rrrrrr")


def groups_table(numbers: Numbers) -> str:
    """After the fine-tuning: the interchange and the encoding, for real and new cities."""
    titles = {"real": "real to real", "virtual": "new to new", "outwards": "new to real"}
    rows = []
    for group, title in titles.items():
        for cut in (2, 3):
            cells = [
                numbers.after(group, "first", str(cut), "all", change)
                for change in ("interchange", "encoding", "random")
            ]
            rows.append([title, _block(cut), *cells])
    return table_of(["cities", "behind block", "B's states", "along the encoding", "at random"], rows, "lrrrr")


def stitched_table(numbers: Numbers) -> str:
    cuts = sorted(set(numbers.stitched["cut"]))
    rows = []
    for lower, title in (("tuned", "fine-tuned"), ("base", "the base's")):
        of_lower = only(numbers.stitched, lower=lower)
        for kind in [kind for kind in BETWEEN if kind in set(of_lower["between"])]:
            rows.append([title, BETWEEN[kind], *(numbers.stitch(lower, str(cut), kind) for cut in cuts)])
    header = ["lower blocks", "between", *(_block(cut) for cut in cuts)]
    return table_of(header, rows, "ll" + "r" * len(cuts))


def controls_table(numbers: Numbers) -> str:
    """The base joined to itself, and an untrained model below the base: one each."""
    table = numbers.controls
    cuts = sorted(set(table["cut"]))
    rows = []
    for lower, title in (("base", "the base's"), ("untrained", "untrained")):
        of_lower = only(table, lower=lower)
        for kind in [kind for kind in BETWEEN if kind in set(of_lower["between"])]:
            km = mean_of(only(of_lower, between=kind), "mean", "cut")
            rows.append([title, BETWEEN[kind], *(f"{km[cut]:,.0f}" for cut in cuts)])
    return table_of(["lower blocks", "between", *(_block(cut) for cut in cuts)], rows, "ll" + "r" * len(cuts))


def parts_table(numbers: Numbers) -> str:
    rows = []
    for name in dict.fromkeys(numbers.parts["part"]):
        of_part = only(numbers.parts, part=name)
        change, gradient = (mean_of(of_part, column, "seed") for column in ("change", "gradient"))
        cells = [numbers.part(name, mode) for mode in ("alone", "put back")]
        rows.append(
            [
                "all parts" if name == "all" else name,
                f"{100 * change.mean():.1f} %",
                f"{100 * gradient.mean():.1f} %",
                *cells,
            ]
        )
    return table_of(["part", "change", "gradient", "it alone fine-tuned, km", "it alone put back, km"], rows, "lrrrr")


def _block(cut: int) -> str:
    return "embedding" if cut < 0 else str(cut)


def page(prose: str) -> str:
    """The prose with its places filled."""
    numbers, repair = Numbers(), Methods(REPAIR)
    tables = {
        "tokens": lambda: tokens_table(numbers),
        "bases": lambda: bases_table(numbers),
        "changes": lambda: changes_table(numbers),
        "groups": lambda: groups_table(numbers),
        "stitched": lambda: stitched_table(numbers),
        "parts": lambda: parts_table(numbers),
        "controls": lambda: controls_table(numbers),
        "repairs": lambda: repair.table,
    }
    places: Mapping[str, Callable[..., str]] = tables | {
        "n_bases": lambda: str(numbers.n_bases),
        "place": numbers.place,
        "best": numbers.best,
        "one": numbers.one,
        "base": numbers.base,
        "after": numbers.after,
        "stitch": numbers.stitch,
        "part": numbers.part,
        "repair": repair.value,
        "repair_less": repair.less,
        "repair_seeds": lambda: repair.seeds,
    }
    return PLACE.sub(lambda match: fill(match, places), prose)


def main() -> None:
    write_text(PAGE, page(PROSE.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
