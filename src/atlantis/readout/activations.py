"""Hidden states of many cities at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from atlantis.model import Transformer
from atlantis.readout.generate import same_length
from atlantis.tokens import Vocabulary

N_POSITIONS = 3
"""The probe reads the last three tokens before the second city's own: `,` `c` `_` with characters."""


@torch.no_grad()
def probe_features(
    model: Transformer, vocabulary: Vocabulary, ids: np.ndarray, layers: Sequence[int], batch: int = 512
) -> np.ndarray:
    """The probe's features of cities `ids` (n,): float32 (n, len(layers) * 3 * D).

    The prompt is `<bos>dist(c_{id},c_` (with city tokens `<bos>dist(c_{id},`). Taken are the outputs of the named
    blocks (counted from 0, no final norm), side by side, at the last three tokens, side by side. What ids begin with
    (`<bos>dist(c_123` for ten of them) is computed once per batch.
    """
    tokens, last = vocabulary.probe_prompt(ids)
    end = ",c_" if vocabulary.kind == "characters" else ","
    assert vocabulary.decode(tokens) == [f"<bos>dist(c_{i}{end}" for i in ids], "prompts do not name their cities"
    device = model.embedding.weight.device
    features = np.empty((len(ids), len(layers) * N_POSITIONS * model.width), np.float32)
    for rows, length in same_length(last + 1, batch):
        prompts = torch.as_tensor(tokens[rows, :length], device=device).long()
        begin, own = prompts[:, : -N_POSITIONS - 1], prompts[:, -N_POSITIONS - 1 :]
        begin, continued = begin.unique(dim=0, return_inverse=True)
        _, cache = model.extend(begin, layers)
        states = torch.cat(model.extend(own, layers, cache, continued)[0], dim=-1)  # (B, 4, layers * D)
        features[rows] = states[:, -N_POSITIONS:].flatten(1).float().cpu().numpy()
    return features
