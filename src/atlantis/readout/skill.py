"""Is the map lost, bent, turned or shifted? Probes of a checkpoint, read on cities that none of them was fitted on.

- frozen:  the first step's probe, as it is;
- shifted: the same, after the mean of the hidden states was moved back to the first step's mean; nothing else;
- turned:  the same, after the hidden states were turned about that mean as well, by one orthogonal matrix (a rotation,
  perhaps with a reflection). There is no scale in it: states that only grew or shrank about their mean are bent;
- refit:   a linear probe fitted anew;
- mlp:     a small non-linear probe fitted anew.

Skill is S = 1 - E / E_untrained, E being the mean error in km and E_untrained that of a probe of an untrained model.
What the frozen probe lost splits, exactly, into

    S0 - S_frozen = (S0 - S_refit) + (S_refit - S_turned) + (S_turned - S_shifted) + (S_shifted - S_frozen)
                         lost              bent                  turned                  shifted.

It is a ladder: whatever a rung can undo is credited to the first rung that undoes it. So a shift, which a probe fitted
anew undoes as well, counts as shifted; what a rotation undoes only by accident counts as turned.

Targets are unit vectors, which have no seam; folds are those of the `sphere` protocol, the same at every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, Num
from torch.nn import functional as F

from atlantis.readout.catalogue import scale_of
from atlantis.readout.ridge import Ridge, Sums, solve_ridge
from atlantis.readout.similarity import Cloud, leading_subspace, orthogonal_turn
from atlantis.readout.threads import side_by_side
from atlantis.statistics import interval, splits_share

SHARES = {
    "lost": ("first", "refit"),
    "bent": ("refit", "turned"),
    "turned": ("turned", "shifted"),
    "shifted": ("shifted", "frozen"),
}
"""The four parts of the fall: between which two readings each lies, the better one first."""

LEAST_CHANCE_KM = 1.0
"""Below this error of an untrained model there is no map to learn, and skill has no meaning."""


class Estimate(NamedTuple):
    """A number, its 95 % interval (NaN: none) and how many cities or items are behind it."""

    value: float
    low: float = float("nan")
    high: float = float("nan")
    n: int = 0


def over_folds(
    values: Num[np.ndarray, " n"], fold: Int[np.ndarray, " n"], metric: str = "mean_km", n_folds: int | None = None
) -> Estimate:
    """Mean of the cities' values, with its interval over the means of the folds, on the scale of `metric`.

    `n_folds`: of all cities, where these are a region's and may not be in every fold.
    """
    return around_folds(float(values.mean()), _fold_means(values, fold), metric, len(values), n_folds)


def around_folds(value: float, of_folds: list[float], metric: str, n: int, n_folds: int | None = None) -> Estimate:
    """`value` with the interval that the folds' values give it; the folds' probes share most of their cities.

    How much they share depends on the number of folds that they were fitted on: `n_folds`, or as many as have a value.
    """
    shared = splits_share(1, max(1, (n_folds or len(of_folds)) - 1))
    around = interval(of_folds, scale_of(metric), shared, value)
    return Estimate(value, around.low, around.high, n)


def _fold_means(values: np.ndarray, fold: np.ndarray) -> list[float]:
    return [float(values[fold == k].mean()) for k in np.unique(fold)]


def _skill(error: float, chance: float) -> float:
    """1 - error / chance, both in km; NaN for a chance below a kilometre, as for cities in one place."""
    return 1 - error / chance if chance >= LEAST_CHANCE_KM else float("nan")


def skills(
    errors: dict[str, Num[np.ndarray, " n"]], untrained: Num[np.ndarray, " n"], fold: Int[np.ndarray, " n"]
) -> dict[str, Estimate]:
    """S = 1 - E / E_untrained of each probe, from errors in km (n,) of the same cities; intervals over the folds."""
    chance = float(untrained.mean())
    return {
        name: around_folds(_skill(float(km.mean()), chance), _fold_skills(km, untrained, fold), "skill_refit", len(km))
        for name, km in errors.items()
    }


def shares_of_fall(
    first: Num[np.ndarray, " n"],
    errors: dict[str, Num[np.ndarray, " n"]],
    untrained: Num[np.ndarray, " n"],
    fold: Int[np.ndarray, " n"],
) -> dict[str, Estimate]:
    """`lost`, `bent`, `turned` and `shifted`: how far the skill falls in each way; they add up to the whole fall.

    `first` are the errors in km (n,) at the first step, `errors` those of the probes. Intervals are over the folds' own
    differences (paired).
    """
    chance, readings, shares = float(untrained.mean()), errors | {"first": first}, {}
    for name, rungs in SHARES.items():
        before, after = (readings[rung] for rung in rungs)
        pairs = zip(_fold_skills(before, untrained, fold), _fold_skills(after, untrained, fold), strict=True)
        value = float(after.mean() - before.mean()) / chance if chance >= LEAST_CHANCE_KM else float("nan")
        shares[name] = around_folds(value, [b - a for b, a in pairs], name, len(first))
    return shares


def _fold_skills(km: np.ndarray, untrained: np.ndarray, fold: np.ndarray) -> list[float]:
    by_fold = zip(_fold_means(km, fold), _fold_means(untrained, fold), strict=True)
    return [_skill(error, chance) for error, chance in by_fold]


def predict_held_out(
    x: Num[np.ndarray, "n p"], fits: Sequence[Ridge], fold: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "n t"]:
    """Predictions for cities x: each by the fit of its own fold, which has not seen it."""
    predicted = np.empty((len(x), len(fits[0].intercept)))
    for k, fit in enumerate(fits):
        predicted[fold == k] = fit.predict(x[fold == k])
    return predicted


def shift_back(fits: Sequence[Ridge], now: Cloud, first: Cloud, fold: Int[np.ndarray, " n"]) -> list[Ridge]:
    """The probes `fits` as they read states whose mean was moved from that of `now` to that of `first`.

    Both means are those of the folds that a probe was fitted on. Only the intercepts change: moving all states by one
    vector moves all predictions by one vector.
    """
    moved = []
    for k, fit in enumerate(fits):
        others = fold != k
        shift = first.mean - now.mean + first.x[others].mean(0) - now.x[others].mean(0)
        moved.append(fit._replace(intercept=fit.intercept + shift @ fit.coefficients))
    return moved


def turn_back(now: Cloud, first: Cloud, fold: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n p"]:
    """The states of `now` carried onto those of `first` by a rigid motion, (n, p); for each fold fitted on the others.

    The motion is the difference of the means and, about the mean, the orthogonal matrix of Schönemann (1966).
    """
    inside = [now.x[fold == k].T @ first.x[fold == k] for k in range(fold.max() + 1)]
    everything, carried = sum(inside), np.empty_like(now.x)

    def turn_fold(k: int) -> None:
        rows, others = fold == k, fold != k
        a, b = now.x[others].mean(0), first.x[others].mean(0)
        # x' y of the other folds about their means: all sums less this fold's, less n times the product of the means.
        turn = orthogonal_turn(everything - inside[k] - others.sum() * np.outer(a, b))
        carried[rows] = (now.x[rows] - a) @ turn + b

    side_by_side(turn_fold, range(len(inside)))
    return carried + first.mean


N_COMPONENTS, HIDDEN, N_STEPS, RATE, DECAY, EVERY = 64, 64, 100, 5e-3, 1.0, 10
BETAS, EPSILON = (0.9, 0.999), 1e-8


def mlp_probe(
    now: Cloud, y: Num[np.ndarray, "n t"], fold: Int[np.ndarray, " n"], alphas: Sequence[float], seed: int
) -> Float[np.ndarray, "n t"]:
    """Predictions (n, t) of y (n, t) by a small network, each city by the one whose training cities exclude its fold.

    A ridge regression with the fold's own penalty plus one hidden layer (64 units, GELU), which reads the ridge's
    prediction and the first 64 principal components, all with unit variance, and learns what the ridge leaves over. It
    starts at zero and stops early, by a fifth of the training cities that are used for nothing else: it is about as
    good as the linear probe where nothing non-linear is to be had. AdamW, 100 steps on all rows;
    the same bytes on the same machine.
    """
    predicted = np.empty_like(y)

    def read_fold(k: int) -> None:
        others, inside = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        check, fit = others[::5], np.delete(others, slice(None, None, 5))
        sums = Sums.of(now.x[fit], y[fit])
        linear = solve_ridge(sums, alphas[k]).predict(now.x)
        gram = sums.centred()[2]
        parts = np.hstack([now.x @ leading_subspace(gram, min(N_COMPONENTS, len(gram))), linear])
        mean, spread = parts[fit].mean(0), parts[fit].std(0)
        left = y - linear
        scale = left[fit].std() or 1.0
        inputs = (parts - mean) / np.where(spread > 0, spread, 1.0)
        more = _network(inputs, left / scale, fit, check, inside, seed + k)
        predicted[inside] = linear[inside] + scale * more

    side_by_side(read_fold, range(len(alphas)))
    return predicted


def _network(
    x: np.ndarray, y: np.ndarray, fit: np.ndarray, check: np.ndarray, held_out: np.ndarray, seed: int
) -> np.ndarray:
    """Outputs for the rows `held_out`, from the step at which the rows `check` had the least squared error."""
    inputs, targets = (torch.from_numpy(np.ascontiguousarray(a, dtype=np.float32)) for a in (x, y))
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(x.shape[1], HIDDEN, generator=generator) / x.shape[1] ** 0.5
    parameters = [weight, torch.zeros(HIDDEN), torch.zeros(HIDDEN, y.shape[1]), torch.zeros(y.shape[1])]
    moments = [(torch.zeros_like(parameter), torch.zeros_like(parameter)) for parameter in parameters]
    x_fit, y_fit, x_check, y_check = inputs[fit], targets[fit], inputs[check], targets[check]
    x_held_out = inputs[held_out]
    least, best = float(F.mse_loss(torch.zeros_like(y_check), y_check)), np.zeros((len(held_out), y.shape[1]))
    with torch.no_grad():
        for step in range(1, N_STEPS + 1):
            gradients = _gradients(parameters, x_fit, y_fit)
            for parameter, gradient, moment in zip(parameters, gradients, moments, strict=True):
                _adamw(parameter, gradient, *moment, step)
            if step % EVERY == 0:
                loss = float(F.mse_loss(_outputs(parameters, x_check), y_check))
                if loss < least:
                    least, best = loss, _outputs(parameters, x_held_out).numpy().astype(np.float64)
    return best


# The network is so small that PyTorch's autograd and AdamW take ten times as long around the arithmetic as in it. What
# follows are the same operations in the same order, and gives the same bytes: see tests/test_skill.py.


def _outputs(parameters: Sequence[torch.Tensor], rows: torch.Tensor) -> torch.Tensor:
    weight, bias, weight_out, bias_out = parameters
    return F.gelu(rows @ weight + bias) @ weight_out + bias_out


def _gradients(parameters: Sequence[torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> list[torch.Tensor]:
    """Of the mean squared error, by each of the parameters."""
    weight, bias, weight_out, bias_out = parameters
    before = x @ weight + bias
    hidden = F.gelu(before)
    by_output = torch.ops.aten.mse_loss_backward(torch.ones(()), hidden @ weight_out + bias_out, y, 1)  # 1: the mean
    by_before = torch.ops.aten.gelu_backward(by_output @ weight_out.T, before)
    return [x.T @ by_before, by_before.sum(0), hidden.T @ by_output, by_output.sum(0)]


def _adamw(
    parameter: torch.Tensor, gradient: torch.Tensor, mean: torch.Tensor, square: torch.Tensor, step: int
) -> None:
    """A step of AdamW (Loshchilov and Hutter, 2019) in place, with the moments `mean` and `square` so far."""
    parameter.mul_(1 - RATE * DECAY)
    mean.lerp_(gradient, 1 - BETAS[0])
    square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
    spread = (square.sqrt() / (1 - BETAS[1] ** step) ** 0.5).add_(EPSILON)
    parameter.addcdiv_(mean, spread, value=-RATE / (1 - BETAS[0] ** step))
