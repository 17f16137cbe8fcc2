"""The update rules of six papers, written down from their pseudo-code, in double precision and without any of ours.

- Experience replay: Chaudhry et al. (2019), "On Tiny Episodic Memories in Continual Learning", Algorithm 1.
- EWC: Kirkpatrick et al. (2017), equation 3; F is the diagonal of the Fisher information.
- LwF: Li and Hoiem (2016), the knowledge distillation loss of section 3.
- A-GEM: Chaudhry et al. (2019), "Efficient Lifelong Learning with A-GEM", equation 11.
- DER++: Buzzega et al. (2020), equation 6. Its two terms have a batch of memory each, as in Algorithm 2.
- GPM: Saha, Garg and Roy (2021), section 5 and Algorithm 1.

A model is a function of its weights here: `logits(weights, rows)`. Rows are padded on the right, and a target of PAD is
none. Shapes: N rows, L tokens, C targets, O symbols.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

PAD = 0
Weights = dict[str, Tensor]


class Rows(NamedTuple):
    """tokens (N, L), the columns `at` (N, C) that predict, and what they should predict, `targets` (N, C)."""

    tokens: Tensor
    at: Tensor
    targets: Tensor


Logits = Callable[[Weights, Rows], Tensor]
"""Logits (N, C, O) of rows under weights."""


def log_likelihoods(logits: Tensor, targets: Tensor) -> Tensor:
    """log p of each target (N, C); 0 where there is none."""
    chosen = logits.log_softmax(-1).gather(-1, targets[..., None])[..., 0]
    return torch.where(targets != PAD, chosen, torch.zeros_like(chosen))


def mean_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """The task's loss: over all targets."""
    return -log_likelihoods(logits, targets).sum() / (targets != PAD).sum()


def gradient(loss: Callable[[Weights], Tensor], weights: Mapping[str, Tensor]) -> Weights:
    """Of a loss, by weight."""
    held = {name: value.detach().clone().requires_grad_() for name, value in weights.items()}
    return dict(zip(held, torch.autograd.grad(loss(held), list(held.values())), strict=True))


# replay


def together(new: Rows, memory: Rows) -> Rows:
    """The batch of experience replay: new rows and memory's in one, each counting the same."""
    return Rows(*(torch.cat(pair) for pair in zip(new, memory, strict=True)))


# EWC


def fisher_diagonal(logits: Logits, weights: Weights, rows: Rows) -> Weights:
    """Mean over rows of (d log p(row's answer) / d weight)^2: one gradient a row, of the sum over its answer's tokens.

    It is the true Fisher information if the answers are draws of the model, the empirical one if they are the data's.
    """

    squares = {name: torch.zeros_like(value) for name, value in weights.items()}
    for i in range(len(rows.tokens)):
        row = Rows(*(column[i : i + 1] for column in rows))
        for name, g in gradient(lambda w, row=row: log_likelihoods(logits(w, row), row.targets).sum(), weights).items():
            squares[name] += g**2
    return {name: total / len(rows.tokens) for name, total in squares.items()}


def ewc_penalty(weights: Weights, old: Weights, fisher: Weights, strength: float) -> Tensor:
    """sum of strength / 2 * F_i (theta_i - theta*_i)^2."""
    return sum(((strength / 2) * fisher[name] * (weights[name] - old[name]) ** 2).sum() for name in old)  # type: ignore[return-value]


# LwF


def lwf_loss(old: Tensor, new: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Mean over targets of - sum y'_old log y'_new, where y' is y^(1/T), scaled to a sum of 1; no factor T^2."""

    def softened(logits: Tensor) -> Tensor:
        powers = logits.softmax(-1) ** (1 / temperature)
        return powers / powers.sum(-1, keepdim=True)

    terms = -(softened(old) * softened(new).log()).sum(-1)
    return terms[targets != PAD].mean()


# A-GEM


def agem(g: Tensor, g_ref: Tensor) -> Tensor:
    """The gradient (n,) that is nearest to g and does not raise the memory's loss, whose gradient is g_ref (n,)."""
    if g @ g_ref >= 0:
        return g
    return g - (g @ g_ref) / (g_ref @ g_ref) * g_ref


# DER++


def squared_distance(stored: Tensor, logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over targets of ||z - h||^2, which is a sum over the O symbols; the authors' code has their mean."""
    return (stored - logits).square().sum(-1)[targets != PAD].mean()


# GPM


def gpm_basis(representation: Tensor, energy: float) -> Tensor:
    """M (d, k): the left singular vectors of R (d, n), no more than it takes for ||R_k||^2 >= energy * ||R||^2."""
    u, s, _ = torch.linalg.svd(representation, full_matrices=False)
    total, held, k = s.square().sum(), 0.0, 0
    while held < energy * total:
        held, k = held + s[k] ** 2, k + 1
    return u[:, :k]


def gpm_gradient(g: Tensor, m: Tensor) -> Tensor:
    """g (out, in) without what acts on the space of M (in, k)."""
    return g - (g @ m) @ m.T
