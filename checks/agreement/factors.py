"""By how much a setting means something else elsewhere, where definitions differ on purpose."""

from __future__ import annotations

from types import ModuleType

import torch

from checks.agreement import papers
from checks.agreement.cases import BATCH, EWC, LWF, avalanche_share, norm, task_loss
from checks.agreement.ours import N_OLD, SHARE, OurSide, logits, old_rows, plain, scene


def factors(peer: ModuleType) -> dict[str, float]:
    """A number for each such setting.

    Those of replay are shares of old rows: avalanche's default, and where 30 beside 64 are asked for and the memory of
    100 rows ends with a batch of 10. The others are the peer's term over ours at the same setting.
    """
    return {
        "replay_default_share": avalanche_share(peer, OurSide("replay", buffer=2 * BATCH), None).item(),
        "replay_asked_share": 30 / (30 + BATCH),
        "replay_short_share": avalanche_share(peer, OurSide("replay", buffer=100), 30).item(),
        "ewc_half": _ewc_half(peer),
        "lwf_no_t2": _lwf_term(peer, all_symbols=True),
        "lwf_seen_symbols": _lwf_term(peer, all_symbols=False),
        "der_sum": _der_sum(),
    }


def _ewc_half(peer: ModuleType) -> float:
    ours = OurSide("ewc", **EWC)
    drawn, new = plain(*ours.strategy.sampled_rows()), plain(ours.new)
    task = papers.gradient(lambda w: task_loss(w, new), ours.weights)
    plugin = peer.EWCPlugin(ewc_lambda=EWC["weight"])
    side = peer.Peer(scene().base, drawn, [plugin], old_batch=1, old_loss=peer.summed_loss)
    theirs, mine = side.gradient(ours.model, new), ours.gradient()
    return norm({k: theirs[k] - task[k] for k in task}) / norm({k: mine[k] - task[k] for k in task})


def _lwf_term(peer: ModuleType, all_symbols: bool) -> float:
    """The peer's term over ours: for all symbols, or as avalanche has it, for those that old answers have."""
    ours = OurSide("lwf", **LWF)
    rows, old = peer.by_target(plain(ours.new)), peer.by_target(plain(old_rows(OurSide("replay", buffer=100))))
    plugin = peer.LwFPlugin(alpha=LWF["weight"], temperature=LWF["temperature"])
    side = peer.Peer(scene().base, old, [plugin])
    if all_symbols:
        plugin.lwf.prev_classes_by_task[0] = set(range(ours.model.unembedding.out_features))
    side.model.model.load_state_dict(ours.model.state_dict())
    samples = torch.cat([rows.tokens, rows.at], dim=1)
    with torch.no_grad():
        theirs = plugin.lwf(samples, side.model(samples), side.model)
        mine = ours.strategy.output_loss(ours.context.logits(ours.new), ours.new)
    return theirs.item() / (mine.item() / len(rows.tokens))


def _der_sum() -> float:
    ours = OurSide("der", share=SHARE, buffer=N_OLD, alpha=1.0, beta=0.0)
    old = plain(old_rows(ours))
    ours.composed.at(0)
    theirs = papers.squared_distance(logits(ours.base, old), logits(ours.weights, old), old.targets)
    return theirs.item() / ours.strategy.penalty().item()
