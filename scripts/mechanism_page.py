"""Write docs/mechanism.md: what a fine-tuning breaks. The prose of mechanism.md beside this script, and its tables.

    python -m scripts.mechanism_page

The numbers come from the tables of experiments/2026-11-28_mechanism. The same tables give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from atlantis.artifacts import write_text
from atlantis.markdown import table as table_of
from atlantis.names import SLICES
from atlantis.readout.interventions import TOKENS
from atlantis.scales import IDENTITY, LOG, Scale
from atlantis.statistics import seed_interval
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


def mean(values: pd.Series, scale: Scale, digits: int) -> str:
    """The mean of values, one of each seed or base, with its interval where there is one."""
    over = seed_interval(values, scale)
    centre = f"{values.mean():,.{digits}f}"
    return f"{centre} ({over.low:,.{digits}f} to {over.high:,.{digits}f})" if over.exists else centre


class Numbers:
    """All tables of the experiment, and the numbers that the prose asks for."""

    def __init__(self) -> None:
        self.bases = pd.read_csv(EXPERIMENT / "bases.csv")
        stitched, parts, tuned = (of_seeds(f"{name}.csv") for name in ("stitched", "parts", "interventions"))
        self.stitched = stitched[stitched["slice"] == SLICES[0]]
        self.parts = parts[parts["slice"] == SLICES[0]]
        self.tuned = tuned[tuned["step"] == LAST]
        controls = pd.read_csv(EXPERIMENT / "controls" / "stitched.csv")
        self.controls = controls[controls["slice"] == SLICES[0]]

    @property
    def n_bases(self) -> int:
        return self.bases["base"].nunique()

    def way(self, rows: pd.DataFrame, unit: str, **chosen: object) -> pd.Series:
        """Slopes of one change, one value for each of `unit` (base or seed)."""
        for column, value in ({"metric": "own_slope", "seat": "first"} | chosen).items():
            rows = rows[rows[column] == value]
        return rows.groupby(unit)["value"].mean()

    def base(self, seat: str, cut: str, tokens: str, change: str) -> str:
        return mean(self.way(self.bases, "base", seat=seat, cut=int(cut), tokens=tokens, change=change), IDENTITY, 2)

    def one(self, base: str, cut: str, tokens: str, change: str) -> str:
        """The same in one base, with the interval over its questions."""
        table = self.bases
        chosen = (table["base"] == base) & (table["cut"] == int(cut)) & (table["tokens"] == tokens)
        chosen &= (table["change"] == change) & (table["seat"] == "first") & (table["metric"] == "own_slope")
        (row,) = table[chosen].itertuples()
        return f"{row.value:.2f} ({row.low:.2f} to {row.high:.2f})"

    def after(self, group: str, seat: str, cut: str, tokens: str, change: str) -> str:
        chosen = {"group": group, "seat": seat, "cut": int(cut), "tokens": tokens, "change": change}
        return mean(self.way(self.tuned, "seed", **chosen), IDENTITY, 2)

    def stitch(self, lower: str, cut: str, between: str) -> str:
        table = self.stitched
        chosen = (table["lower"] == lower) & (table["cut"] == int(cut)) & (table["between"] == between)
        rows = table[chosen & (table["step"] == LAST)]
        return mean(rows.groupby("seed")["mean"].mean(), LOG, 0)

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
        rows = self.parts[(self.parts["part"] == name) & (self.parts["mode"] == mode)]
        return mean(rows.groupby("seed")["mean"].mean(), LOG, 0)


def tokens_table(numbers: Numbers) -> str:
    """The interchange in the bases, by block and tokens: where the answer comes from."""
    rows = []
    cuts = sorted(numbers.bases["cut"].unique())
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
        for cut in sorted(numbers.bases["cut"].unique())
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
    cuts = sorted(numbers.stitched["cut"].unique())
    rows = []
    for lower, title in (("tuned", "fine-tuned"), ("base", "the base's")):
        of_lower = numbers.stitched[numbers.stitched["lower"] == lower]
        for kind in [kind for kind in BETWEEN if kind in set(of_lower["between"])]:
            rows.append([title, BETWEEN[kind], *(numbers.stitch(lower, str(cut), kind) for cut in cuts)])
    header = ["lower blocks", "between", *(_block(cut) for cut in cuts)]
    return table_of(header, rows, "ll" + "r" * len(cuts))


def controls_table(numbers: Numbers) -> str:
    """The base joined to itself, and an untrained model below the base: one each."""
    table = numbers.controls
    cuts = sorted(table["cut"].unique())
    rows = []
    for lower, title in (("base", "the base's"), ("untrained", "untrained")):
        of_lower = table[table["lower"] == lower]
        for kind in [kind for kind in BETWEEN if kind in set(of_lower["between"])]:
            km = of_lower[of_lower["between"] == kind].set_index("cut")["mean"]
            rows.append([title, BETWEEN[kind], *(f"{km[cut]:,.0f}" for cut in cuts)])
    return table_of(["lower blocks", "between", *(_block(cut) for cut in cuts)], rows, "ll" + "r" * len(cuts))


def parts_table(numbers: Numbers) -> str:
    rows = []
    for name in numbers.parts["part"].unique():
        of_part = numbers.parts[numbers.parts["part"] == name].groupby("seed")
        change, gradient = of_part["change"].first(), of_part["gradient"].first()
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
    numbers = Numbers()
    tables = {
        "tokens": lambda: tokens_table(numbers),
        "bases": lambda: bases_table(numbers),
        "changes": lambda: changes_table(numbers),
        "groups": lambda: groups_table(numbers),
        "stitched": lambda: stitched_table(numbers),
        "parts": lambda: parts_table(numbers),
        "controls": lambda: controls_table(numbers),
    }
    places: Mapping[str, object] = tables | {
        "n_bases": lambda: str(numbers.n_bases),
        "place": numbers.place,
        "best": numbers.best,
        "one": numbers.one,
        "base": numbers.base,
        "after": numbers.after,
        "stitch": numbers.stitch,
        "part": numbers.part,
    }
    return PLACE.sub(lambda match: fill(match, places), prose)  # type: ignore[arg-type]


def main() -> None:
    write_text(PAGE, page(PROSE.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
