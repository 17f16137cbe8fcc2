"""Where the forgetting sits: the lower blocks of one model, joined to the upper blocks of another (stitching).

If the lower blocks of a fine-tuned model, joined to the base's upper blocks, still answer old questions, then what the
answers need is still computed below the cut, and what was lost lies above it. Two models need not write the same thing
in the same coordinates, so between them may stand

    nothing   the states as they are
    shift     a constant vector, for each position of the row
    affine    an affine map, for each position of the row (ridge, penalty by leave-one-out error)

The maps are fitted on rows about real cities that no evaluated question names. *permuted* is an affine map that was
fitted on rows in the wrong order: what a map does that knows nothing of the city. Methods: Lenc and Vedaldi 2015;
Bansal, Nakkiran and Barak 2021.

A second reading needs no map: one part of a fine-tuned model is put back to the base's weights, or alone keeps what
the fine-tuning made of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from atlantis.data.draw import Order
from atlantis.data.encoding import encode, encode_questions, prefix, read_answers
from atlantis.data.rows import Batch
from atlantis.errors import UserError
from atlantis.model import Transformer
from atlantis.model.fast.cache import Cache, extend, go_on
from atlantis.model.transformer import answer_logits, completion_loss
from atlantis.names import SLICES
from atlantis.readout.generate import answers, same_length
from atlantis.readout.ridge import fit_ridge
from atlantis.scales import LOG
from atlantis.statistics import mean_over_cities
from atlantis.tasks import Questions
from atlantis.tasks.checking import errors_of
from atlantis.vocabulary import EOS, PAD, Vocabulary
from atlantis.world import World

Between = Literal["nothing", "shift", "affine", "permuted"]
KINDS: tuple[Between, ...] = ("nothing", "shift", "affine")
ALPHAS = tuple(float(alpha) for alpha in np.logspace(-2, 4, 7))
FEWEST_ROWS = 100
"""Rows that a map must be fitted on, at least."""
DRAWN_AT_ONCE = 1_000_000
"""Random numbers, when rows are drawn."""


class Maps(NamedTuple):
    """x (D,) at position t becomes x @ weights[t] + offsets[t]."""

    weights: Float[Tensor, "T D D"]
    offsets: Float[Tensor, "T D"]


@dataclass(frozen=True)
class Stitched:
    """Blocks 0 to `cut` of `lower` (-1: the embedding alone), a map for each position, then the rest of `upper`."""

    lower: Transformer
    upper: Transformer
    cut: int
    maps: Maps | None = None

    def below(
        self, tokens: Int[Tensor, "B T"], cache: Cache | None = None, start: int = 0
    ) -> tuple[Float[Tensor, "B T D"], Cache]:
        """What enters the upper blocks, and the lower blocks' cache, for rows that go on from position `start`."""
        (x,), cache = extend(self.lower, tokens, [self.cut], cache)
        if self.maps is not None:
            places = slice(start, start + tokens.shape[1])
            x = torch.einsum("btd,tde->bte", x, self.maps.weights[places]) + self.maps.offsets[places]
        return x, cache

    def above(self, x: Float[Tensor, "B T D"], cache: Cache | None = None) -> tuple[Float[Tensor, "B T D"], Cache]:
        """The last block's output for states that enter the upper blocks, and the upper blocks' cache."""
        last = len(self.upper.blocks) - 1
        outputs, cache = go_on(self.upper, x, range(self.cut + 1, last + 1), cache)
        return outputs[last], cache


@torch.no_grad()
def stitched_answers(model: Stitched, vocabulary: Vocabulary, questions: Questions) -> Int[np.ndarray, " n"]:
    """Greedy answers of a stitched model, int64 (n,); -1 where the answer cannot be read."""
    values = np.full(len(questions), -1, np.int64)
    for task, rows in questions.by_task():
        form, start = task.form, prefix(task.form, vocabulary)
        asked = questions[rows]
        encoded = encode(form, vocabulary, asked.cities[:, : form.seats], asked.answer)
        tokens = np.full((len(asked), form.answer_length), PAD, np.int64)
        for group, length in same_length(encoded.prompt_length, len(asked)):
            whole = np.concatenate([np.tile(start, (len(group), 1)), encoded.tokens[group, :length]], axis=1)
            tokens[group] = decode(model, torch.as_tensor(whole).long(), form.answer_length).numpy()
        values[rows] = read_answers(form, tokens)
    return values


@torch.no_grad()
def decode(
    model: Stitched, prompts: Int[Tensor, "B T"], n_tokens: int, added: Float[Tensor, "k B S D"] | None = None
) -> Int[Tensor, "rows n_tokens"]:
    """Greedy completions of prompts of equal length, `<pad>` after `<eos>`.

    `added`, where it is given, is k things to add to the states at the cut, at the last S tokens; then there are k
    completions of each prompt, (k * B, n_tokens). What these share is computed once.
    """
    x, below = model.below(prompts)
    length = x.shape[1]
    if added is None:
        return _completions(model, *model.above(x), below, length, n_tokens)
    start = length - added.shape[2]
    _, above = model.above(x[:, :start])
    changed = (model.above(x[:, start:] + delta, above) for delta in added)
    return torch.cat([_completions(model, last, cache, below, length, n_tokens) for last, cache in changed])


def _completions(
    model: Stitched, x: Float[Tensor, "B T D"], above: Cache, below: Cache, length: int, n_tokens: int
) -> Int[Tensor, "B n_tokens"]:
    """Of prompts of `length` tokens, whose last outputs are x, and the keys and values of both models' blocks."""
    answer = torch.full((len(x), n_tokens), PAD)
    open_rows = torch.ones(len(x), dtype=torch.bool)
    for i in range(n_tokens):
        token = model.upper.logits(x[:, -1]).argmax(-1)
        answer[:, i] = torch.where(open_rows, token, PAD)
        open_rows &= token != EOS
        if i == n_tokens - 1 or not open_rows.any():
            break
        x, below = model.below(token[:, None], below, length + i)
        x, above = model.above(x, above)
    return answer


# --- the maps between


@dataclass(frozen=True)
class FitRows:
    """Rows that the maps are fitted on: tokens (n, T), padded on the right, and the length of each (n,)."""

    tokens: Int[Tensor, "n T"]
    lengths: Int[np.ndarray, " n"]

    @torch.no_grad()
    def states(self, model: Transformer) -> list[Float[np.ndarray, "n T D"]]:
        """Outputs of the embedding and of each block but the last, which no block reads."""
        layers = range(-1, len(model.blocks) - 1)
        return [state.double().numpy() for state in model.hidden_states(self.tokens, layers)]


def fit_rows(
    world: World, vocabulary: Vocabulary, questions: Questions, n: int, seed: int, order: Order = "fair"
) -> FitRows:
    """About `n` rows of the questions' tasks, answered, about real cities that no question names.

    `order` is that of the models' training: where the smaller id of real cities came first, it comes first here.
    Raises UserError if that leaves too few cities for `FEWEST_ROWS` rows.
    """
    free = np.setdiff1d(np.arange(world.n_real), questions.cities.ravel())
    n = min(n, len(free) * (len(free) - 1) // 2)
    if n < FEWEST_ROWS:
        raise UserError(
            f"stitch: the evaluated questions name all but {len(free)} of {world.n_real:,} real cities: too few to fit "
            f"maps on {FEWEST_ROWS} rows about others; evaluate fewer questions (--items)"
        )
    rng = np.random.Generator(np.random.PCG64(seed))
    asked = []
    for task in questions.tasks:
        cities = free[_draw_rows(rng, n // len(questions.tasks), len(free), task.form.seats)]
        asked.append(Questions.ask(task, world, np.sort(cities, axis=1) if order == "smaller_first" else cities))
    start, rows = encode_questions(Questions.concatenate(asked), vocabulary)
    tokens = np.concatenate([np.tile(start, (len(rows.tokens), 1)), rows.tokens], axis=1)
    return FitRows(torch.as_tensor(tokens).long(), rows.length + len(start))


def _draw_rows(rng: np.random.Generator, n: int, n_cities: int, size: int) -> Int[np.ndarray, "n size"]:
    """n rows of `size` different numbers below `n_cities`: the places of the least of as many random numbers.

    Some rows at a time, since all of them take 16 bytes for every row and city.
    """
    at_once = max(1, DRAWN_AT_ONCE // n_cities)
    blocks = [min(at_once, n - start) for start in range(0, n, at_once)]
    return np.concatenate([np.argsort(rng.random((rows, n_cities)), axis=1)[:, :size].copy() for rows in blocks])


def fit_maps(kind: Between, x: Float[np.ndarray, "n T D"], y: Float[np.ndarray, "n T D"], rows: FitRows) -> Maps | None:
    """Maps of states x (n, T, D) to states y (n, T, D), one for each position. None for `nothing`.

    A position that no row has keeps its states.
    """
    if kind == "nothing":
        return None
    n_positions, width = x.shape[1:]
    weights, offsets = np.tile(np.eye(width), (n_positions, 1, 1)), np.zeros((n_positions, width))
    order = np.random.Generator(np.random.PCG64(0))
    for t in range(n_positions):
        here = np.flatnonzero(rows.lengths > t)
        if len(here) < 2:
            continue
        if kind == "shift":
            offsets[t] = (y[here, t] - x[here, t]).mean(0)
            continue
        target = y[order.permutation(here) if kind == "permuted" else here, t]
        ridge = fit_ridge(x[here, t], target, ALPHAS)
        weights[t], offsets[t] = ridge.coefficients, ridge.intercept
    return Maps(torch.as_tensor(weights).float(), torch.as_tensor(offsets).float())


# --- tables


def stitch_table(
    base: Transformer,
    tuned: Transformer,
    vocabulary: Vocabulary,
    questions: Questions,
    rows: FitRows,
    kinds: Sequence[Between] = KINDS,
    cuts: Sequence[int] | None = None,
    untrained: Transformer | None = None,
) -> pd.DataFrame:
    """Errors of both stitchings of two models: a row for each model below, cut, map and slice.

    `untrained` is a control: its lower blocks, an affine map and the base's upper blocks. Columns: lower ("tuned",
    "base" or "untrained"), cut (the last block of the lower model, -1 its embedding), between, and those of
    `errors_table`. Raises UserError for models of different shape, and for a cut that does not exist.
    """
    check_alike(base, tuned)
    cuts = range(-1, len(base.blocks) - 1) if cuts is None else cuts
    if wrong := [cut for cut in cuts if not -1 <= cut < len(base.blocks) - 1]:
        raise UserError(
            f"stitch: no cut after block {wrong[0]}; there are -1 (the embedding) to {len(base.blocks) - 2}"
        )
    models = {"tuned": tuned, "base": base} | ({} if untrained is None else {"untrained": untrained})
    states = {name: rows.states(model) for name, model in models.items()}
    tables = []
    for name, lower in models.items():
        above = "tuned" if name == "base" else "base"
        for cut in cuts:
            for kind in kinds if name != "untrained" else ("affine",):
                maps = fit_maps(kind, states[name][cut + 1], states[above][cut + 1], rows)
                values = stitched_answers(Stitched(lower, models[above], cut, maps), vocabulary, questions)
                tables.append(errors_table(questions, values).assign(lower=name, cut=cut, between=kind))
    return pd.concat(tables, ignore_index=True)


def errors_table(questions: Questions, values: Int[np.ndarray, " n"]) -> pd.DataFrame:
    """Errors of answers (n,): a row for each task and slice.

    Columns: task, slice, unit, mean with its interval over the questions (low, high), median, readable (a share), n.
    """
    table = []
    for task, rows in questions.by_task():
        mine, given = questions[rows], values[rows]
        errors = errors_of(task, given, mine.answer)
        for k in np.unique(mine.slice):
            here = mine.slice == k
            low, high, n, _ = mean_over_cities(errors[here], LOG)
            table.append(
                {"task": task.name, "slice": SLICES[k], "unit": task.unit, "mean": errors[here].mean(), "low": low}
                | {"high": high, "median": np.median(errors[here]), "readable": (given[here] >= 0).mean(), "n": n}
            )
    return pd.DataFrame(table)


def check_alike(base: Transformer, tuned: Transformer) -> None:
    """UserError for models whose blocks do not fit together, or whose tokens differ in number."""
    for what, one, other in (
        ("blocks", len(base.blocks), len(tuned.blocks)),
        ("width", base.width, tuned.width),
        ("attention heads", base.n_heads, tuned.n_heads),
        ("MLP neurons", base.mlp_width, tuned.mlp_width),
        ("tokens", base.embedding.num_embeddings, tuned.embedding.num_embeddings),
    ):
        if one != other:
            raise UserError(f"stitch: the base has {one} {what} and the other model {other}; only equal ones fit")


# --- parts put back


def parts_of(model: Transformer) -> dict[str, list[str]]:
    """A model's parts, and the names of each one's weights in the state dict.

    embedding; block 0 and, of it, block 0 attention and block 0 mlp, each with the norm before it; block 1, ...;
    output, which is the last norm and the output layer; all.
    """
    parts: dict[str, list[str]] = {}
    for key in model.state_dict():
        for part in _parts_with(key):
            parts.setdefault(part, []).append(key)
    order = ["embedding", *sorted(part for part in parts if part.startswith("block ")), "output", "all"]
    return {part: parts[part] for part in order}


def _parts_with(key: str) -> Iterator[str]:
    yield "all"
    if not key.startswith("blocks."):
        yield "embedding" if key.startswith("embedding.") else "output"
        return
    _, block, layer, _ = key.split(".")
    yield f"block {block}"
    yield f"block {block} {'attention' if layer in ('norm1', 'qkv', 'out') else 'mlp'}"


def mixed_model(base: Transformer, tuned: Transformer, of_tuned: Collection[str]) -> Transformer:
    """A model with the weights of these names from the fine-tuned one, and all others from the base."""
    model = deepcopy(base)
    model.load_state_dict({key: value for key, value in tuned.state_dict().items() if key in of_tuned}, strict=False)
    return model.eval()


def parts_table(
    base: Transformer, tuned: Transformer, vocabulary: Vocabulary, questions: Questions, new: Batch | None = None
) -> pd.DataFrame:
    """Errors with one part put back to the base's weights, and with one part alone fine-tuned.

    A row for each part, mode ("put back" or "alone") and slice. `change`: the norm of what the fine-tuning added to
    the part's weights, over the norm of the base's. `gradient`: the part's share of the squared norm of the loss's
    gradient, at the base, on the questions `new` that it is fine-tuned on.
    """
    check_alike(base, tuned)
    parts = parts_of(base)
    gradient = {} if new is None else gradient_squares(base, new)
    tables = []
    for part, keys in parts.items():
        change = _change(base, tuned, keys)
        share = sum(gradient.get(key, 0.0) for key in keys) / sum(gradient.values()) if gradient else np.nan
        for mode, kept in (("put back", set(parts["all"]) - set(keys)), ("alone", set(keys))):
            values = answers(mixed_model(base, tuned, kept), vocabulary, questions)
            rows = errors_table(questions, values)
            tables.append(rows.assign(part=part, mode=mode, change=change, gradient=share))
    return pd.concat(tables, ignore_index=True)


def gradient_squares(model: Transformer, batch: Batch) -> dict[str, float]:
    """For each weight, the squared norm of the gradient of a batch's mean loss."""
    copy = deepcopy(model).requires_grad_(True)
    total, n = completion_loss(answer_logits(copy, batch), batch.targets)
    (total / n).backward()
    return {name: float(p.grad.double().square().sum()) for name, p in copy.named_parameters() if p.grad is not None}


def _change(base: Transformer, tuned: Transformer, keys: Collection[str]) -> float:
    """Relative size of the fine-tuning's step in some weights (Frobenius norm)."""
    before, after = base.state_dict(), tuned.state_dict()
    moved = sum(float((after[key] - before[key]).double().square().sum()) for key in keys)
    size = sum(float(before[key].double().square().sum()) for key in keys)
    return (moved / size) ** 0.5
