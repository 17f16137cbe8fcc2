"""Hidden states of many cities at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from atlantis.model import Transformer
from atlantis.tokens import Vocabulary

N_POSITIONS = 3
"""The probe reads the last three tokens before the second city's own: `,` `c` `_` with characters."""


@torch.no_grad()
def probe_features(
    model: Transformer, vocabulary: Vocabulary, ids: np.ndarray, layers: Sequence[int], batch: int = 1024
) -> np.ndarray:
    """The probe's features of cities `ids` (n,): float32 (n, len(layers) * 3 * D).

    The prompt is `<bos>dist(c_{id},c_` (with city tokens `<bos>dist(c_{id},`). Taken are the outputs of the named
    blocks (counted from 0, no final norm), side by side, at the last three tokens, side by side.
    """
    tokens, last = vocabulary.probe_prompt(ids)
    end = ",c_" if vocabulary.kind == "characters" else ","
    assert vocabulary.decode(tokens) == [f"<bos>dist(c_{i}{end}" for i in ids], "prompts do not name their cities"
    device = model.embedding.weight.device
    features = []
    for start in range(0, len(ids), batch):
        rows = torch.as_tensor(tokens[start : start + batch], device=device).long()
        ends = torch.as_tensor(last[start : start + batch], device=device).long()
        at = ends[:, None] + torch.arange(1 - N_POSITIONS, 1, device=device)  # (B, 3)
        states = torch.cat(model.hidden_states(rows, layers), dim=-1)  # (B, T, layers * D)
        features.append(states[torch.arange(len(rows), device=device)[:, None], at].flatten(1).float().cpu().numpy())
    return np.concatenate(features)
