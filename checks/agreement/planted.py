"""The suite of planted cases: what each of the three says, and how far the others are from ours."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from checks.agreement import cases
from checks.agreement.cases import Case, difference, norm
from checks.agreement.factors import factors

CASES: dict[str, Callable[[ModuleType | None], Case]] = {
    "loop_naive": cases.loop_naive,
    "loop_ewc": cases.loop_ewc,
    "replay": cases.replay,
    "replay_share": cases.replay_share,
    "ewc_fisher": cases.ewc_fisher,
    "ewc_step": cases.ewc_step,
    "lwf": cases.lwf,
    "agem_conflict": cases.agem_conflict,
    "agem_peace": cases.agem_peace,
    "der": cases.der,
    "gpm_projection": cases.gpm_projection,
    "gpm_step": cases.gpm_step,
}


def measured(case: Case) -> dict[str, Any]:
    """What the record has of a case: our side's size, and the differences."""
    peers = {"paper": case.paper} | ({} if case.avalanche is None else {"avalanche": case.avalanche})
    return {
        "ours": norm(case.ours),
        "numbers": sum(value.numel() for value in case.ours.values()),
        **{name: difference(case.ours, values) for name, values in peers.items()},
    }


def run(peer: ModuleType, options: Any) -> dict[str, Any]:
    """Every case and every factor."""
    return {"cases": {name: measured(case(peer)) for name, case in CASES.items()}, "factors": factors(peer)}
