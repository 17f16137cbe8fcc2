"""Hidden states of many cities at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32, Int

from atlantis.data.encoding import probe_prompt, probe_text
from atlantis.model import Transformer
from atlantis.model.fast import kernels
from atlantis.model.fast.cache import extend
from atlantis.model.fast.tree import grow, tree_states
from atlantis.readout.generate import same_length
from atlantis.tasks.distance import DISTANCE
from atlantis.tasks.form import Form
from atlantis.vocabulary import Vocabulary

N_POSITIONS = 3
"""The probe reads the last three tokens of its prompt: for distances `,` `c` `_`, before the second city's own."""


@torch.no_grad()
def probe_features(
    model: Transformer,
    vocabulary: Vocabulary,
    ids: Int[np.ndarray, " n"],
    layers: Sequence[int],
    batch: int = 512,
    form: Form = DISTANCE.form,
) -> Float32[np.ndarray, "n features"]:
    """The probe's features of cities `ids` (n,): float32 (n, 3 * len(layers) * D).

    The prompt is `<bos>dist(c_{id},c_` (with city tokens `<bos>dist(c_{id},`), or what the form of another task has in
    its place. The features are the outputs of the named blocks (counted from 0, no final norm) at the last three
    tokens, side by side.
    """
    return probe_states(model, vocabulary, ids, layers, batch=batch, form=form).reshape(len(ids), -1)


@torch.no_grad()
def probe_states(
    model: Transformer,
    vocabulary: Vocabulary,
    ids: Int[np.ndarray, " n"],
    layers: Sequence[int],
    n_positions: int = N_POSITIONS,
    batch: int = 512,
    form: Form = DISTANCE.form,
) -> Float32[np.ndarray, "n n_positions layers D"]:
    """Hidden states at the last tokens of the prompts of cities `ids` (n,): float32 (n, n_positions, len(layers), D).

    -1 names the embedding. What ids begin with (`<bos>dist(c_123` for ten of them) is computed once per batch: on a
    CPU by the tree (`model.fast.tree`), else from keys and values that are kept.
    """
    tokens, last = probe_prompt(form, vocabulary, ids)
    texts = [probe_text(form, vocabulary, i) for i in ids]
    # Hidden states of other cities than these would look like a map that was lost.
    assert vocabulary.decode(tokens) == texts, "prompts do not name their cities"
    states = np.empty((len(ids), n_positions, len(layers), model.width), np.float32)
    device = model.embedding.weight.device
    if device.type == "cpu" and kernels.takes(tokens.shape[1]):
        # Ids with the same first digits stand together, so a batch makes a smaller tree.
        order = np.lexsort(tokens.T[::-1])
        for start in range(0, len(ids), batch):
            rows = order[start : start + batch]
            positions = last[rows, None] + np.arange(1 - n_positions, 1)
            tree = grow(tokens[rows].astype(np.int64), positions, np.ones_like(positions, dtype=bool))
            outputs = torch.stack(tree_states(model, tree, layers), dim=1)
            states[rows] = outputs.unflatten(0, (len(rows), n_positions)).numpy()
        return states
    for rows, length in same_length(last + 1, batch):
        prompts = torch.as_tensor(tokens[rows, :length], device=device).long()
        begin, ends = prompts[:, : -n_positions - 1], prompts[:, -n_positions - 1 :]
        begin, continued = begin.unique(dim=0, return_inverse=True)
        _, cache = extend(model, begin, layers)
        steps = extend(model, ends, layers, cache, continued)[0]
        outputs = torch.stack(steps, dim=2)  # (B, 1 + n_positions, layers, D)
        states[rows] = outputs[:, -n_positions:].float().cpu().numpy()
    return states
