"""Planted cases of six methods: ours, the paper's formula, and avalanche's plugin, from the same weights and rows.

What is compared is what a method gives the optimizer: the gradient of a step, and what the method has gathered before
(Fisher information, a basis). Two cases compare what the model says after ten steps. Ours and avalanche compute in
single precision, the papers' formulas in double.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from atlantis.data.rows import Batch
from atlantis.vocabulary import PAD, ZERO
from checks.agreement import papers
from checks.agreement.ours import N_NEW, N_OLD, SHARE, OurSide, double_base, logits, old_rows, plain, scene, weights_of

Values = dict[str, Tensor]


@dataclass(frozen=True)
class Case:
    """What the three say, by name; None where avalanche has no such method, or is not installed."""

    ours: Values
    paper: Values
    avalanche: Values | None = None


def norm(values: Values) -> float:
    """Of all values together, as one vector."""
    return sum(value.square().sum().item() for value in values.values()) ** 0.5


def difference(a: Values, b: Values) -> float:
    """The largest difference, as a share of the largest value of b."""
    assert a.keys() == b.keys(), a.keys() ^ b.keys()
    largest = max(value.abs().max().item() for value in b.values())
    return max((a[name] - b[name]).abs().max().item() for name in b) / largest


def doubled(values: Values) -> Values:
    return {name: value.double() for name, value in values.items()}


def task_loss(weights: papers.Weights, rows: papers.Rows) -> Tensor:
    return papers.mean_cross_entropy(logits(weights, rows), rows.targets)


# ten steps

LOOP_STEPS, RATE = 10, 1e-3


def loop_naive(peer: ModuleType | None) -> Case:
    """Logits after ten steps of AdamW, the same rows in the same order, without a method."""
    return _loop(peer, OurSide("naive"))


def loop_ewc(peer: ModuleType | None) -> Case:
    """The same with EWC."""
    return _loop(peer, OurSide("ewc", **EWC))


def _loop(peer: ModuleType | None, ours: OurSide) -> Case:
    """Weights would not do: the loss does not depend on the keys' biases, and AdamW makes steps of their rounding."""
    start, rows = copy.deepcopy(ours.model), plain(ours.rows.batch(torch.arange(LOOP_STEPS * N_NEW)))
    drawn, held = None, None
    if ours.strategy is not None:
        drawn = plain(*ours.strategy.sampled_rows())
        fisher = papers.fisher_diagonal(logits, ours.base, drawn)
        held = functools.partial(papers.ewc_penalty, old=ours.base, fisher=fisher, strength=EWC["weight"])
    weights = {name: value.requires_grad_() for name, value in ours.weights.items()}
    optimizer = torch.optim.AdamW(list(weights.values()), lr=RATE, weight_decay=0.0)
    for step in range(LOOP_STEPS):
        batch = papers.Rows(*(column[step * N_NEW : (step + 1) * N_NEW] for column in rows))
        optimizer.zero_grad()
        (task_loss(weights, batch) + (0.0 if held is None else held(weights))).backward()
        optimizer.step()
    theirs = None
    if peer is not None:
        plugins = [] if drawn is None else [peer.EWCPlugin(ewc_lambda=EWC["weight"] / 2)]
        old = rows if drawn is None else drawn
        side = peer.Peer(scene().base, old, plugins, old_batch=1, old_loss=peer.summed_loss)
        side.model.model.load_state_dict(start.state_dict())
        adamw = torch.optim.AdamW(side.model.parameters(), lr=RATE, weight_decay=0.0)
        side.train(rows, N_NEW, optimizer=adamw, shuffle=False)
        theirs = {"logits": logits(weights_of(side.model.model), rows)}
    ends = ours.after(LOOP_STEPS, RATE), {name: value.detach() for name, value in weights.items()}
    mine, paper = ({"logits": logits(end, rows)} for end in ends)
    return Case(mine, paper, theirs)


# replay


def replay(peer: ModuleType | None) -> Case:
    """The gradient of a step of new and old rows."""
    ours = OurSide("replay", share=SHARE, buffer=N_OLD)
    new, old = plain(ours.new), plain(old_rows(ours))
    paper = papers.gradient(lambda w: task_loss(w, papers.together(new, old)), ours.weights)
    theirs = None
    if peer is not None:
        plugin = peer.ReplayPlugin(mem_size=N_OLD, batch_size=N_NEW, batch_size_mem=N_OLD)
        theirs = peer.Peer(scene().base, old, [plugin]).gradient(ours.model, new)
    return Case(ours.gradient(), paper, theirs)


BATCH, STEPS = 64, 10
"""Of the case that counts rows."""


def replay_share(peer: ModuleType | None) -> Case:
    """The share of old rows over ten batches of 64 new ones, where a tenth is asked for."""
    ours = OurSide("replay", n_new=BATCH, share=0.1, buffer=100)
    counts = []
    for step in range(STEPS):
        ours.composed.at(step)
        rows = torch.arange(step * BATCH, (step + 1) * BATCH)
        batch = ours.composed.batch(ours.rows.batch(rows), rows)
        real = (batch.targets != PAD).any(dim=1)
        counts.append((int(real[BATCH:].sum()), int(real.sum())))
    asked = round(BATCH * 0.1 / (1 - 0.1)) / (BATCH + round(BATCH * 0.1 / (1 - 0.1)))
    theirs = None
    if peer is not None:
        theirs = {"share": avalanche_share(peer, ours, counts[0][0])}
    return Case({"share": _share(counts)}, {"share": torch.tensor(asked, dtype=torch.float64)}, theirs)


def avalanche_share(peer: ModuleType, ours: OurSide, n_old: int | None) -> Tensor:
    """The share of old rows with a memory batch of n_old; None: avalanche's default."""
    old, new = plain(old_rows(ours)), plain(ours.rows.batch(torch.arange(STEPS * BATCH)))
    plugin = peer.ReplayPlugin(mem_size=len(old.tokens), batch_size_mem=n_old)
    side = peer.Peer(scene().base, old, [plugin], among=old)
    side.train(new, BATCH)
    return _share(side.watch.counts)


def _share(counts: list[tuple[int, int]]) -> Tensor:
    n_old, n_all = (sum(column) for column in zip(*counts, strict=True))
    return torch.tensor(n_old / n_all, dtype=torch.float64)


# EWC

EWC: dict[str, Any] = {"weight": 2.0, "samples": 12}


def ewc_fisher(peer: ModuleType | None) -> Case:
    """The diagonal of the true Fisher information, from the same draws of answers."""
    ours = OurSide("ewc", **EWC)
    drawn = plain(*ours.strategy.sampled_rows())
    theirs = None
    if peer is not None:
        plugin = peer.EWCPlugin(ewc_lambda=1.0)
        peer.Peer(scene().base, drawn, [plugin], old_batch=1, old_loss=peer.summed_loss)
        theirs = peer.importances(plugin)
    return Case(doubled(ours.strategy.memory), papers.fisher_diagonal(logits, ours.base, drawn), theirs)


def ewc_step(peer: ModuleType | None) -> Case:
    """The gradient of a step: the task's loss and the penalty."""
    ours = OurSide("ewc", **EWC)
    drawn, new = plain(*ours.strategy.sampled_rows()), plain(ours.new)
    fisher = papers.fisher_diagonal(logits, ours.base, drawn)
    paper = papers.gradient(
        lambda w: task_loss(w, new) + papers.ewc_penalty(w, ours.base, fisher, EWC["weight"]), ours.weights
    )
    theirs = None
    if peer is not None:
        plugin = peer.EWCPlugin(ewc_lambda=EWC["weight"] / 2)
        side = peer.Peer(scene().base, drawn, [plugin], old_batch=1, old_loss=peer.summed_loss)
        theirs = side.gradient(ours.model, new)
    return Case(ours.gradient(), paper, theirs)


# LwF

LWF: dict[str, Any] = {"weight": 0.7, "temperature": 2.0}


def lwf(peer: ModuleType | None) -> Case:
    """The gradient of a step. The papers' term has no T^2, so its weight is 4 times ours; avalanche's too."""
    ours = OurSide("lwf", **LWF)
    new, factor = plain(ours.new), LWF["weight"] * LWF["temperature"] ** 2
    before = logits(ours.base, new)

    def loss(w: papers.Weights) -> Tensor:
        after = logits(w, new)
        held = papers.lwf_loss(before, after, new.targets, LWF["temperature"])
        return papers.mean_cross_entropy(after, new.targets) + factor * held

    theirs = None
    if peer is not None:
        rows = peer.by_target(new)
        plugin = peer.LwFPlugin(alpha=factor, temperature=LWF["temperature"])
        side = peer.Peer(scene().base, rows, [plugin])
        plugin.lwf.prev_classes_by_task[0] = set(range(before.shape[-1]))  # else those alone that were targets
        theirs = side.gradient(ours.model, rows)
    return Case(ours.gradient(), papers.gradient(loss, ours.weights), theirs)


# A-GEM


def agem_conflict(peer: ModuleType | None) -> Case:
    """The gradient of a step that asks for other answers to the very rows in memory."""
    return _agem(peer, lambda old: old._replace(targets=_other_digits(old.targets)), projected=True)


def agem_peace(peer: ModuleType | None) -> Case:
    """The gradient of a step on the very rows in memory, which is left as it is."""
    return _agem(peer, lambda old: old, projected=False)


def _other_digits(targets: Tensor) -> Tensor:
    """Each digit d as (d + 5) mod 10."""
    return torch.where(targets >= ZERO, (targets - ZERO + 5) % 10 + ZERO, targets)


def _agem(peer: ModuleType | None, new_of: Callable[[Batch], Batch], projected: bool) -> Case:
    ours = OurSide("agem", n_new=N_OLD, rows=N_OLD, buffer=N_OLD)
    old = old_rows(ours)
    new = new_of(old)
    memory, rows = plain(old), plain(new)
    g, g_ref = (papers.gradient(lambda w, r=r: task_loss(w, r), ours.weights) for r in (rows, memory))
    flat = papers.agem(_flat(g), _flat(g_ref))
    assert torch.equal(flat, _flat(g)) != projected, "the planted case is not the one it is meant to be"
    theirs = None
    if peer is not None:
        plugin = peer.AGEMPlugin(patterns_per_experience=N_OLD, sample_size=N_OLD)
        theirs = peer.Peer(scene().base, memory, [plugin]).gradient(ours.model, rows)
    return Case(ours.gradient(new), _unflat(flat, g), theirs)


def _flat(values: Values) -> Tensor:
    return torch.cat([value.flatten() for value in values.values()])


def _unflat(flat: Tensor, like: Values) -> Values:
    parts = flat.split([value.numel() for value in like.values()])
    return {name: part.view_as(value) for part, (name, value) in zip(parts, like.items(), strict=True)}


# DER++

DER: dict[str, Any] = {"alpha": 0.5, "beta": 0.25}


def der(peer: ModuleType | None) -> Case:
    """The gradient of a step. Both terms have all rows of the buffer, so that two draws are the same as one."""
    ours = OurSide("der", share=SHARE, buffer=N_OLD, **DER)
    new, old = plain(ours.new), plain(old_rows(ours))
    stored = logits(ours.base, old)

    def loss(w: papers.Weights) -> Tensor:
        now = logits(w, old)
        distance = papers.squared_distance(stored, now, old.targets) / stored.shape[-1]
        answers = papers.mean_cross_entropy(now, old.targets)
        return task_loss(w, new) + DER["alpha"] * distance + DER["beta"] * answers

    theirs = None
    if peer is not None:
        memory = peer.by_target(old)
        side = peer.Peer(scene().base, memory, **peer.darker(memory, **DER))
        theirs = side.gradient(ours.model, peer.by_target(new))
    return Case(ours.gradient(), papers.gradient(loss, ours.weights), theirs)


# GPM

GPM: dict[str, Any] = {"rows": 40, "energy": 0.95}


def gpm_projection(peer: ModuleType | None) -> Case:
    """M M' of every linear layer."""
    ours = OurSide("gpm", **GPM)
    bases = _gpm_bases(ours)
    found = {name: doubled(ours.strategy.memory)[name] for name in bases}
    return Case({name: m @ m.T for name, m in found.items()}, {name: m @ m.T for name, m in bases.items()})


def gpm_step(peer: ModuleType | None) -> Case:
    """The gradient of every linear layer's weights."""
    ours = OurSide("gpm", **GPM)
    bases, new = _gpm_bases(ours), plain(ours.new)
    g = papers.gradient(lambda w: task_loss(w, new), ours.weights)
    paper = {name: papers.gpm_gradient(g[name], m) for name, m in bases.items()}
    found = ours.gradient()
    return Case({name: found[name] for name in bases}, paper)


def _gpm_bases(ours: OurSide) -> Values:
    """By the paper: singular vectors of what each layer reads in the base, at every token of the old rows."""
    from atlantis.strategies.common.old import answered, old_prompts

    settings: Any = ours.strategy.settings
    prompts = old_prompts(ours.context, settings.rows, settings.seed)
    rows = plain(answered(ours.context, prompts, settings.seed))
    read = (rows.tokens != PAD).flatten()
    double, inputs = double_base(), {}
    hooks = [
        module.register_forward_pre_hook(lambda _, x, name=name: inputs.__setitem__(name, x[0].flatten(0, 1)[read].T))
        for name, module in double.named_modules()
        if isinstance(module, nn.Linear)
    ]
    with torch.no_grad():
        double(rows.tokens)
    for hook in hooks:
        hook.remove()
    return {f"{name}.weight": papers.gpm_basis(x, GPM["energy"]) for name, x in inputs.items()}
