"""How many operations and bytes a sample needs, counted from the architecture: nothing is timed here.

Everything that counts is a matrix product. One of (m, k) by (k, n) takes 2 m k n floating-point operations and moves
m k + k n + m n numbers. Training adds two products of the same size for each, one for the gradient of either factor.

With width D, H heads, MLP width M, V outputs, and B rows of T tokens, each looking at S keys, a block has

    query, key, value   B T x D x 3 D         gate and up   B T x D x 2 M
    scores              B H times T x D/H x S down          B T x M x D
    mixing              B H times T x S x D/H
    output              B T x D x D           so B (2 T (4 D^2 + 3 D M) + 4 T S D) operations.

What can be saved:
- *shared prefix*: every row begins with the same P tokens (`<bos>dist(c_`). Computed once per batch, as one row of its
  own whose queries see P keys, they leave each row T tokens instead of P + T. The rows' queries see S = P + T keys.
- *last block where asked*: in the last block only keys and values are needed at all positions; the rest, and the
  logits, only at the C positions that are asked for. Training picks those rows by a product (C x T x D, one gradient).
- *tree*: rows that begin alike share what they have in common, not the prefix alone, and nothing is padded: N nodes,
  one per distinct beginning in the batch, instead of B rows of T positions. A node looks at the nodes above it and
  itself. How many there are depends on the rows: they are counted on random pairs of the world.

Attention is counted dense, as the operations of both sides compute it under a mask, but on the tree, where no key is
masked. Not counted: additions,
normalisations, softmax, the loss; AdamW's arithmetic (its traffic is: 7 numbers per parameter and step). Bytes are
those of each product taken alone, so they are an upper bound where results stay in a cache, and no prediction.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch

from atlantis import Dataset, DatasetConfig, ProbeConfig, World
from atlantis.data.encoding import encode, longest_row, probe_prompt
from atlantis.data.encoding import prefix as prefix_of
from atlantis.data.rows import Rows
from atlantis.model.fast.tree import Tree, tree_of
from atlantis.readout.activations import N_POSITIONS
from atlantis.tasks.distance import DISTANCE
from atlantis.vocabulary import SYMBOLS, Vocabulary
from checks.benchmarks.common import Options

BATCH = 512
PEER_BATCH = 64
"""Prompts per batch of the plain way to evaluate and to probe."""
N_TREES = 8
FORM = DISTANCE.form
ASKED = FORM.answer_length
CONTEXT = 32


class Product(NamedTuple):
    """`times` products (m, k) x (k, n), and how many more of this size the backward pass has for each."""

    name: str
    m: int
    k: int
    n: int
    times: int = 1
    gradients: int = 2


@dataclass(frozen=True)
class Sizes:
    """The architecture; the defaults are the study's."""

    width: int = 128
    n_layers: int = 6
    n_heads: int = 4
    mlp_width: int = 512
    n_outputs: int = len(SYMBOLS)

    @property
    def n_parameters(self) -> int:
        block = 4 * self.width**2 + 3 * self.width + 3 * self.width * self.mlp_width + 2 * self.width
        return 2 * self.n_outputs * self.width + self.n_layers * block + self.width


class Need(NamedTuple):
    """Floating-point operations and bytes, per sample."""

    flops: float
    bytes: float


def need(products: Iterable[Product], samples: int, training: bool = False, itemsize: int = 4) -> Need:
    """Sum of the products, with their gradients if `training`, per sample; `itemsize` bytes to a number."""
    flops = moved = 0
    for p in products:
        times = p.times * (1 + p.gradients * training)
        flops += 2 * times * p.m * p.k * p.n
        moved += times * (p.m * p.k + p.k * p.n + p.m * p.n)
    return Need(flops / samples, itemsize * moved / samples)


def attention(s: Sizes, rows: int, queries: int, keys: int) -> list[Product]:
    k, times = s.width // s.n_heads, rows * s.n_heads
    return [Product("scores", queries, k, keys, times), Product("mixing", queries, keys, k, times)]


def after_attention(s: Sizes, positions: int) -> list[Product]:
    return [
        Product("output", positions, s.width, s.width),
        Product("gate and up", positions, s.width, 2 * s.mlp_width),
        Product("down", positions, s.mlp_width, s.width),
    ]


def block(s: Sizes, rows: int, length: int, keys: int) -> list[Product]:
    """A whole block on `rows` rows of `length` tokens, each of which looks at `keys` keys."""
    qkv = Product("query, key, value", rows * length, s.width, 3 * s.width)
    return [qkv, *attention(s, rows, length, keys), *after_attention(s, rows * length)]


def block_where_asked(s: Sizes, rows: int, length: int, prefix: int, asked: int) -> list[Product]:
    """A block of which only `asked` positions of each row go on."""
    kv = [Product("key, value", n, s.width, 2 * s.width) for n in (rows * length, prefix) if n]
    pick = Product("pick", asked, length, s.width, rows, gradients=1)
    query = Product("query", rows * asked, s.width, s.width)
    return [pick, query, *kv, *attention(s, rows, asked, prefix + length), *after_attention(s, rows * asked)]


def forward(
    s: Sizes, rows: int, length: int, prefix: int = 0, asked: int | None = None, logits: int | None = None
) -> list[Product]:
    """All blocks and the logits for `rows` rows of `length` tokens after a prefix that they share (0: none).

    `asked`: positions of each row that the last block computes (None: all of them, as in the other blocks);
    `logits`: positions of each row that have logits (None: those).
    """
    n_whole = s.n_layers if asked is None else s.n_layers - 1
    whole = block(s, rows, length, prefix + length) + (block(s, 1, prefix, prefix) if prefix else [])
    last = [] if asked is None else block_where_asked(s, rows, length, prefix, asked)
    n_read = logits if logits is not None else length if asked is None else asked
    return n_whole * whole + last + [Product("logits", rows * n_read, s.width, s.n_outputs)]


def tree_forward(s: Sizes, tree: Tree) -> list[Product]:
    """All blocks on the nodes of a tree, the last one where asked, and the logits."""

    def block(seen: int, going_on: int) -> list[Product]:
        scores = Product("scores", 1, s.width // s.n_heads, seen, s.n_heads)
        mixing = Product("mixing", 1, seen, s.width // s.n_heads, s.n_heads)
        qkv = Product("query, key, value", len(tree.token), s.width, 3 * s.width)
        return [qkv, scores, mixing, *after_attention(s, going_on)]

    keys = tree.position + 1  # a node at position t looks at t + 1 nodes
    whole = block(int(keys.sum()), len(tree.token))
    last = block(int(keys[tree.asked].sum()), len(tree.asked))
    return (s.n_layers - 1) * whole + last + [Product("logits", len(tree.asked), s.width, s.n_outputs)]


def trees(vocabulary: Vocabulary, world: World, batch: int, n: int) -> list[Tree]:
    """The trees of `n` batches of random pairs."""
    pairs = Dataset.build(world, DatasetConfig(n_train=n * batch, n_val=0, n_test=0)).splits["train"]
    rows = Rows(pairs, vocabulary)
    return [tree_of(rows.batch(torch.arange(i * batch, (i + 1) * batch))) for i in range(n)]


def training(s: Sizes, vocabulary: Vocabulary, world: World, batch: int = BATCH, itemsize: int = 4) -> dict[str, Need]:
    """Per sample, what a training step computes: our ideas one by one, none of them, and the peer on rows of 32."""
    prefix, length = (
        len(prefix_of(FORM, vocabulary)),
        longest_row(FORM, vocabulary) - 1,
    )  # the last token predicts nothing
    ways = {
        "both": forward(s, batch, length, prefix, ASKED),
        "shared prefix": forward(s, batch, length, prefix),
        "last block where asked": forward(s, batch, prefix + length, 0, ASKED),
        "neither": forward(s, batch, prefix + length),
        "peer": forward(s, batch, CONTEXT),
    }
    found = {name: need(products, batch, training=True, itemsize=itemsize) for name, products in ways.items()}
    grown = [product for tree in trees(vocabulary, world, batch, N_TREES) for product in tree_forward(s, tree)]
    found["tree"] = need(grown, N_TREES * batch, training=True, itemsize=itemsize)
    optimizer = 7 * 4 * s.n_parameters / batch
    return {name: Need(n.flops, n.bytes + optimizer) for name, n in found.items()}


def decoding(
    s: Sizes, prompts: np.ndarray, answers: np.ndarray, prefix: int, asked: int | None, batch: int
) -> list[Product]:
    """Greedy decoding with cached keys and values; tokens of each row's prompt (without prefix) and answer.

    A row of t prompt tokens and a answer tokens is t positions at once, read at one, and a - 1 further positions.
    """

    def batches(n: int) -> list[int]:
        return [batch] * (n // batch) + [n % batch] * (n % batch > 0)

    products: list[Product] = []
    for length in np.unique(prompts).tolist():
        steps = answers[prompts == length]
        for rows in batches(len(steps)):
            products += forward(s, rows, length, prefix, asked, logits=1)
        for i in range(1, steps.max()):
            for rows in batches(int((steps > i).sum())):
                products += s.n_layers * block(s, rows, 1, prefix + length + i)
                products.append(Product("logits", rows, s.width, s.n_outputs))
    return products


def evaluation(s: Sizes, world: World, vocabulary: Vocabulary, n: int) -> dict[str, Need]:
    """Per answer: what is needed for `n` random pairs, and the peer's batches, padded to the longest row."""
    pairs = Dataset.build(world, DatasetConfig(n_train=n, n_val=0, n_test=0)).splits["train"]
    rows = encode(FORM, vocabulary, pairs.cities, pairs.answer)
    prefix, answers = len(prefix_of(FORM, vocabulary)), rows.length - rows.prompt_length
    longest = np.full(n, prefix + rows.prompt_length.max())
    return {
        "needed": need(decoding(s, rows.prompt_length, answers, prefix, 1, n), n),
        "peer": need(decoding(s, longest, np.full(n, answers.max()), 0, None, PEER_BATCH), n),
    }


def probing(s: Sizes, world: World, vocabulary: Vocabulary, config: ProbeConfig) -> dict[str, Need]:
    """Per city: hidden states up to the last block that is read, and the features' Gram matrix for each protocol.

    The peer computes every block and all logits on whole prompts. Solving the regressions is not counted.
    """
    prefix, n = len(prefix_of(FORM, vocabulary)), len(world)
    tokens, _ = probe_prompt(FORM, vocabulary, np.arange(n))
    length, n_features = tokens.shape[1], N_POSITIONS * len(config.layers) * s.width
    gram = [Product("gram", n_features, rows, n_features) for rows in (config.n_train, world.n_real)]
    read = replace(s, n_layers=max(config.layers) + 1)
    batches = forward(s, PEER_BATCH, length)
    return {
        "needed": need([*forward(read, n, length - prefix, prefix, N_POSITIONS, logits=0), *gram], n),
        "peer": Need(*(a + b for a, b in zip(need(batches, PEER_BATCH), need(gram, n), strict=True))),
    }


def run(options: Options) -> dict[str, Any]:
    """The counts as a record."""
    s, world = Sizes(), World.build()
    vocabulary = Vocabulary("characters", len(world))
    n = 100 if options.quick else options.n_prompts
    tables = {
        "training": training(s, vocabulary, World.build(regions=())),
        "evaluation": evaluation(s, world, vocabulary, n),
        "probing": probing(s, world, vocabulary, ProbeConfig()),
    }
    settings = {"parameters": s.n_parameters, "batch_size": BATCH, "peer_batch": PEER_BATCH, "prompts": n}
    layout = {
        "prefix": len(prefix_of(FORM, vocabulary)),
        "row": longest_row(FORM, vocabulary) - 1,
        "asked": ASKED,
        "context": CONTEXT,
    }
    return {"settings": settings | layout} | {
        name: {way: found._asdict() for way, found in table.items()} for name, table in tables.items()
    }
