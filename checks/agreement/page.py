"""docs/agreement.md from `agreement.md` (the prose) and `records/` (every figure): `python -m checks.agreement.page`.

In the prose `{{name}}` stands for a table below, and `{{suite:path|format}}` for one number of that suite's newest
record.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from atlantis import markdown
from checks.agreement.__main__ import RECORDS
from checks.pages import Records, write
from checks.records import ROOT, read_files

TEMPLATE = Path(__file__).with_name("agreement.md")
PAGE = ROOT / "docs" / "agreement.md"

REPLAY, EWC = "Chaudhry et al. 2019, algorithm 1", "Kirkpatrick et al. 2017, eq. 3"
AGEM, GPM = "Chaudhry et al. 2019, eq. 11", "Saha, Garg and Roy 2021, section 5"
CASES = {
    "loop_naive": ("no method", "", "logits after ten steps of AdamW"),
    "replay": ("`replay`", REPLAY, "gradient of a step on new and old rows"),
    "replay_share": ("`replay`", REPLAY, "share of old rows over ten batches"),
    "ewc_fisher": ("`ewc`", EWC, "diagonal of the true Fisher information"),
    "ewc_step": ("`ewc`", EWC, "gradient of a step, penalty included"),
    "loop_ewc": ("`ewc`", EWC, "logits after ten steps of AdamW"),
    "lwf": ("`lwf`", "Li and Hoiem 2016, section 3", "gradient of a step, distillation included"),
    "agem_conflict": ("`agem`", AGEM, "projected gradient, where old and new conflict"),
    "agem_peace": ("`agem`", AGEM, "gradient, where they do not"),
    "der": ("`der`", "Buzzega et al. 2020, eq. 6", "gradient of a step, both memory terms included"),
    "gpm_projection": ("`gpm`", GPM, "projection of every linear layer"),
    "gpm_step": ("`gpm`", GPM, "projected gradient of every linear layer"),
}
METHODS = {"naive": "plain fine-tuning", "replay": "`replay`", "ewc": "`ewc`"}
PAIRS = {"old": "old", "new": "new"}
PEERS = {"avalanche": "avalanche minus ours", "again": "ours again minus ours"}


def read_records(folder: Path = RECORDS) -> Records:
    """The newest record of each suite, but those of `--quick`."""
    return {content["suite"]: content for content in read_files(folder).values()}


def about(record: dict[str, Any]) -> str:
    """Where and when a record comes from, in one line below its table."""
    versions = {**record["peers"], "torch": record["versions"]["torch"]}
    packages = ", ".join(f"{name} {number}" for name, number in versions.items())
    return f"<sub>{record['date'][:10]}, commit {record['commit']}; {packages}; {record['machine']['cpu']}.</sub>"


def section(suite: str) -> Callable[[Callable[[dict[str, Any]], str]], Callable[[Records], str]]:
    """A table of a suite's record, with where it comes from; a line where there is none."""

    def decorate(make: Callable[[dict[str, Any]], str]) -> Callable[[Records], str]:
        def block(records: Records) -> str:
            if suite not in records:
                return f"*Not measured yet: there is no record of `{suite}`.*"
            return f"{make(records[suite]['results'])}\n\n{about(records[suite])}"

        return block

    return decorate


@section("planted")
def planted(results: dict[str, Any]) -> str:
    rows = [
        (*labels, f"{case['numbers']:,}", _small(case["paper"]), _small(case.get("avalanche")))
        for name, labels in CASES.items()
        for case in [results["cases"][name]]
    ]
    header = ("method", "paper", "what is compared", "numbers", "from the paper", "from avalanche")
    return markdown.table(header, rows, "lllrrr")


def _small(value: float | None) -> str:
    if value is None:
        return "has none"
    return "0" if value == 0 else f"{value:.0e}"


@section("runs")
def runs(results: dict[str, Any]) -> str:
    rows = [
        (
            f"{label}, {pairs} pairs",
            f"{row['ours']:,.0f}",
            f"{row['avalanche']:,.0f}",
            f"{row['spread']:,.0f}",
            *(_difference(row[f"{who}_differs"]) for who in PEERS),
        )
        for method, label in METHODS.items()
        for name, pairs in PAIRS.items()
        for row in [results["table"][method][name]]
    ]
    header = ("mean error, km", "ours", "avalanche", "spread over seeds", *PEERS.values())
    return markdown.table(header, rows, "lrrrrr")


def _difference(found: dict[str, Any]) -> str:
    if found["low"] is None:
        return f"{found['mean']:+,.0f}"
    return f"{found['mean']:+,.0f} ({found['low']:+,.0f} to {found['high']:+,.0f})"


def steps(records: Records) -> str:
    """Of a whole run."""
    if "runs" not in records:
        return "(not measured)"
    sizes = records["runs"]["results"]["sizes"]
    return f"{sizes['epochs'] * sizes['new_rows'] // sizes['batch']:,}"


def verdict(records: Records) -> str:
    """Whether the differences of whole runs are within the spread of seeds, in words."""
    if "runs" not in records:
        return "*Not measured yet: there is no record of `runs`.*"
    table = records["runs"]["results"]["table"]
    rows = {(METHODS[method], PAIRS[name]): table[method][name] for method in METHODS for name in PAIRS}
    wide = [what for what, row in rows.items() if abs(row["avalanche_differs"]["mean"]) >= row["spread"]]
    sure, chance = (
        [what for what, row in rows.items() if not holds_zero(row[f"{who}_differs"])] for who in ("avalanche", "again")
    )
    return " ".join(
        (
            _count("The mean difference is smaller than the spread over seeds", len(rows), wide),
            _count("Its interval holds zero", len(rows), sure),
            _count("So does the interval of our own second run", len(rows), chance),
        )
    )


def holds_zero(found: dict[str, Any]) -> bool:
    """Whether the interval of a difference does; one of equal values is none."""
    return found["low"] is None or found["low"] <= 0 <= found["high"]


def _count(what: str, n: int, exceptions: list[tuple[str, str]]) -> str:
    if not exceptions:
        return f"{what} in all {n} rows."
    named = ", ".join(f"{method} on {pairs} pairs" for method, pairs in exceptions)
    return f"{what} in {n - len(exceptions)} of {n} rows, but not for {named}."


@section("planted")
def factors(results: dict[str, Any]) -> str:
    found = results["factors"]
    rows = [
        (
            "`replay`",
            "a share of the batch",
            "avalanche: a number of rows, by default as many as new ones",
            f"{found['replay_default_share']:.2f} of a batch is old",
        ),
        (
            "`replay`",
            "every batch is full",
            "avalanche: the last batch of each pass through the memory is short",
            f"{found['replay_short_share']:.2f} old, where {found['replay_asked_share']:.2f} was asked for",
        ),
        ("`ewc`", "weight / 2, as in the paper", "avalanche: no half", f"{found['ewc_half']:.2f} times ours"),
        (
            "`ewc`",
            "true Fisher information, a gradient per row, summed over its answer",
            "avalanche: the empirical one, a gradient per batch, a mean over answers' tokens",
            "see below",
        ),
        (
            "`lwf`",
            "times T² (Hinton et al. 2015)",
            "paper and avalanche: no T²",
            f"{found['lwf_no_t2']:.2f} times ours, at T = 2",
        ),
        (
            "`lwf`",
            "all symbols",
            "avalanche: those that old answers have",
            f"{found['lwf_seen_symbols'] / found['lwf_no_t2']:.2f} times ours, T² aside",
        ),
        ("`agem`", "as the paper; `project: update` is ours", "the same", "none"),
        (
            "`der`",
            "mean over symbols, as in the authors' code",
            "paper: their sum; avalanche: mean",
            f"the paper's is {found['der_sum']:.0f} times ours",
        ),
        ("`der`", "a draw of rows for each term, as the paper", "avalanche: one draw for both", "the noise alone"),
        (
            "`gpm`",
            "AdamW's step is projected too; norms, biases and old tokens' embeddings stay",
            "paper: the gradient, for SGD",
            "more that moves",
        ),
    ]
    return markdown.table(("method", "ours", "elsewhere", "so a peer has"), rows)


TABLES: dict[str, Callable[[Records], str]] = {
    "planted": planted,
    "factors": factors,
    "runs": runs,
    "steps": steps,
    "verdict": verdict,
}


if __name__ == "__main__":
    write(PAGE, TEMPLATE, read_records(), TABLES, "python -m checks.agreement")
