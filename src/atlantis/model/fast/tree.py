"""A batch as a tree: what rows have in common at their beginning is computed once.

Every row begins with the same constant tokens, and many rows with the same digits. A causal model's state at a position
depends on the row up to there and on nothing else, so one node for each distinct beginning is enough, and nothing is
padded. Exact: the gradients of all rows that share a node meet in it.

This is `transformer.answer_logits` for the CPU, where work saved is time saved, with the kernels of kernels.cpp. Greedy
decoding is the same thing going on: each new token is a new node on its row's path.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor, nn
from torch.nn import functional as F

from atlantis.data.rows import Batch
from atlantis.model.fast import kernels
from atlantis.model.fast.kernels import Tree
from atlantis.model.transformer import RMS_EPS, Block, Transformer
from atlantis.vocabulary import EOS, PAD

PIECE = 1024
"""Nodes whose MLP is computed at once when no gradient is wanted: what it needs stays in the processor's cache."""


def grow(
    rows: Int[np.ndarray, "B S"], query_positions: Int[np.ndarray, "B C"], is_query: Bool[np.ndarray, "B C"]
) -> Tree:
    """The tree of token `rows`, asked at `query_positions` where `is_query` is true.

    What stands behind a row's last question is left out.
    """
    length = np.where(is_query, query_positions + 1, 0).max(axis=1)
    inside = np.arange(rows.shape[1]) < length[:, None]
    rows = np.where(inside, rows, -1)
    # Sorted, rows with a beginning in common stand together: a token is a new node where its row differs from the row
    # above, there or further left. lexsort takes its last key first, hence the turn.
    order = np.lexsort(rows.T[::-1])
    rows, inside = rows[order], inside[order]
    new = inside.copy()
    new[1:] &= np.logical_or.accumulate(rows[1:] != rows[:-1], axis=1)
    first = np.where(new, new.cumsum().reshape(new.shape) - 1, -1)
    # Nodes are numbered in this order, so the largest number so far in a column is that of the shared beginning.
    path = np.where(inside, np.maximum.accumulate(first, axis=0), -1)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    questions = path[rank[:, None], query_positions][is_query]
    nodes, index = np.unique(questions, return_inverse=True)
    answers = np.full(new.sum() + 1, -1)  # the last one stands for -1
    answers[nodes] = np.arange(len(nodes))
    small = (rows[new], np.nonzero(new)[1], path, first, answers[first])
    token, position, path, first, answer = (torch.from_numpy(x.astype(np.int32)) for x in small)
    return Tree(token, position, path, first, answer, torch.from_numpy(nodes), torch.from_numpy(index))


def tree_of(batch: Batch) -> Tree:
    """The tree of a batch, asked at the positions that have a target."""
    prefix = batch.prefix
    rows = np.concatenate([np.broadcast_to(prefix, (len(batch.tokens), len(prefix))), batch.tokens], axis=1)
    return grow(rows, batch.positions.numpy() + len(prefix), batch.targets.numpy() != PAD)


def tree_logits(model: Transformer, tree: Tree, bf16: bool = False) -> Float32[Tensor, "M O"]:
    """Logits at the questions of a tree, in the order asked.

    With `bf16`, the blocks' matrix products take and give bfloat16, and what lies between two of them is stored in it;
    sums, norms, logits and the states that blocks add to are float32: nearly PyTorch's autocast.
    """
    x = model.embedding(tree.token)
    if bf16:
        return _logits_bf16(model, x, tree)
    for block in model.layers[:-1]:
        x = _block(model, block, x, tree)
    x = _block(model, model.layers[-1], x, tree, answers_only=True)
    _, h = kernels.rms_norm(x, model.norm.weight, RMS_EPS)
    return model.unembedding(h).index_select(0, tree.place)


def _block(model: Transformer, block: Block, x: Tensor, tree: Tree, answers_only: bool = False) -> Tensor:
    """The next states (N, D) of all nodes x (N, D), or those of the asked nodes, (A, D)."""
    x, h = kernels.rms_norm(x, block.norm1.weight, RMS_EPS)
    x = kernels.pick(x, tree.asked) if answers_only else x
    query = tree.answer if answers_only else tree.first
    mixed = kernels.attention(block.qkv(h), tree, query, len(x), model.cos.squeeze(1), model.sin.squeeze(1))
    x, h = kernels.rms_norm(torch.addmm(x, mixed, block.out.weight.t()), block.norm2.weight, RMS_EPS)
    return torch.addmm(x, kernels.gated(block.gate_up(h)), block.down.weight.t())


def _logits_bf16(model: Transformer, x: Tensor, tree: Tree) -> Tensor:
    more = None
    for block in model.layers:
        last = block is model.layers[-1]
        x, h = kernels.add_rms_norm(x, more, block.norm1.weight, RMS_EPS)
        x = kernels.pick(x, tree.asked) if last else x
        query = tree.answer if last else tree.first
        mixed = kernels.attention(_bf16(block.qkv, h), tree, query, len(x), model.cos.squeeze(1), model.sin.squeeze(1))
        x, h = kernels.add_rms_norm(x, _bf16(block.out, mixed), block.norm2.weight, RMS_EPS)
        more = _bf16(block.down, kernels.gated(_bf16(block.gate_up, h)))
    _, h = kernels.add_rms_norm(x, more, model.norm.weight, RMS_EPS)
    return model.unembedding(h.float()).index_select(0, tree.place)


def _bf16(layer: nn.Linear, x: Tensor) -> Tensor:
    """The layer's result (N, O) in bfloat16, of x (N, D) in bfloat16."""
    bias = None if layer.bias is None else layer.bias.bfloat16()
    return F.linear(x, layer.weight.bfloat16(), bias)


@torch.no_grad()
def tree_states(model: Transformer, tree: Tree, layers: Sequence[int]) -> list[Float[Tensor, "M D"]]:
    """Outputs of the named blocks at the questions of a tree, in the order asked; as `hidden_states`."""
    table = torch.empty(len(tree.token), 3 * model.width)
    return [x[tree.place] for x in _go_on(model, [table] * len(model.blocks), 0, tree, layers)]


def tree_loss(model: Transformer, batch: Batch, bf16: bool = False) -> tuple[Float[Tensor, ""], Int[Tensor, ""]]:
    """Summed cross-entropy (nats) of a batch's targets, and how many these are: `completion_loss`, by the tree."""
    targets = batch.targets[batch.targets != PAD]
    logits = tree_logits(model, tree_of(batch), bf16)
    return F.cross_entropy(logits, targets, reduction="sum"), torch.tensor(len(targets))


@torch.no_grad()
def greedy(model: Transformer, prompts: Int[np.ndarray, "B T"], n_tokens: int) -> Int[np.ndarray, "B {n_tokens}"]:
    """Greedy completions of whole prompts, -1 past the end of each; `<pad>` after `<eos>`."""
    order = np.lexsort(prompts.T[::-1])
    prompts, n_rows = prompts[order], len(prompts)
    length = (prompts >= 0).sum(axis=1)
    tree = grow(prompts, length[:, None] - 1, np.ones((n_rows, 1), bool))  # its rows are in our order: they are sorted
    n_nodes = len(tree.token)
    most = n_nodes + n_rows * (n_tokens - 1)
    tables = [torch.empty(most, 3 * model.width) for _ in model.blocks]
    path = np.full((n_rows, prompts.shape[1] + n_tokens - 1), -1, np.int32)
    path[:, : prompts.shape[1]] = tree.path.numpy()
    answers = np.full((n_rows, n_tokens), PAD)
    rows = np.arange(n_rows)  # those that are not at their end
    last = [len(model.blocks) - 1]
    logits = _logits(model, _go_on(model, tables, 0, tree, last)[0])[tree.place]
    for i in range(n_tokens):
        token = logits.argmax(-1).numpy()
        answers[rows, i] = token
        going_on = token != EOS
        rows, token = rows[going_on], token[going_on]
        if not len(rows) or i == n_tokens - 1:
            break
        new, at = n_nodes + np.arange(len(rows)), length[rows] + i
        path[rows, at] = new
        query = np.full((len(rows), path.shape[1]), -1, np.int32)
        query[np.arange(len(rows)), at] = np.arange(len(rows))
        read, position, paths, asking = (torch.from_numpy(x.astype(np.int32)) for x in (token, at, path[rows], query))
        everything = torch.arange(len(rows))
        more = Tree(read, position, paths, asking, asking, everything, everything)
        logits = _logits(model, _go_on(model, tables, n_nodes, more, last)[0])
        n_nodes += len(rows)
    # Back into the order in which the prompts came.
    unsorted = np.empty_like(answers)
    unsorted[order] = answers
    return unsorted


def _logits(model: Transformer, x: Tensor) -> Tensor:
    return model.unembedding(kernels.rms_norm(x, model.norm.weight, RMS_EPS)[1])


def _go_on(model: Transformer, tables: list[Tensor], start: int, tree: Tree, layers: Sequence[int]) -> list[Tensor]:
    """Outputs (A, D) of the named blocks at the asked of new nodes; -1 is the embedding.

    Queries, keys and values of the new nodes go into `tables`, one per block, from `start` on.
    """
    x = model.embedding(tree.token)
    cos, sin = model.cos.squeeze(1), model.sin.squeeze(1)
    outputs, last = {-1: x[tree.asked]}, max(layers)
    for i, block in enumerate(model.layers[: last + 1]):
        table = tables[i][start : start + len(tree.token)]
        h = kernels.rms_norm(x, block.norm1.weight, RMS_EPS)[1]
        torch.addmm(block.qkv.bias, h, block.qkv.weight.t(), out=table)
        kernels.rotate(table, tree.position, cos, sin)
        x, query = (x[tree.asked], tree.answer) if i == last else (x, tree.first)
        mixed, _ = kernels.attend(tables[i], tree.path, query, len(x), cos.shape[1])
        x = torch.addmm(x, mixed, block.out.weight.t())
        for part in x.split(PIECE):
            h = block.gate_up(kernels.rms_norm(part, block.norm2.weight, RMS_EPS)[1])
            part.addmm_(kernels.gated(h), block.down.weight.t())  # in place
        if i in layers:
            outputs[i] = x if i == last else x[tree.asked]
    return [outputs[i] for i in layers]
