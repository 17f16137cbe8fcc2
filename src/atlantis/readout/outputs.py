"""How far have the answers drifted? The model's distribution over the next token, on prompts it could answer before."""

from __future__ import annotations

import numpy as np
import torch

from atlantis.data.pairs import Pairs, n_pairs, sample_distance, streams
from atlantis.data.rows import Rows
from atlantis.model import Transformer
from atlantis.tokens import PAD, Vocabulary
from atlantis.world import World

N_PROMPTS = 512


def old_prompts(world: World, seed: int, n: int = N_PROMPTS) -> Pairs:
    """Pairs of real cities drawn at random: what a model knew before it met the virtual ones."""
    return sample_distance(world, min(n, n_pairs(world.n_real)), streams(seed, "old prompts"))


@torch.no_grad()
def answer_distributions(model: Transformer, vocabulary: Vocabulary, pairs: Pairs) -> np.ndarray:
    """Log probabilities (n, C, O) of each token of the true answers, `<eos>` included, given those before it.

    Answers are shorter than C = 6 tokens: NaN past their end.
    """
    rows = Rows(pairs, vocabulary, model.embedding.weight.device)
    batch = rows.batch(torch.arange(len(rows), device=rows.tokens.device))
    logits = model(batch.prefix, batch.tokens, batch.positions).double().log_softmax(-1)
    logits[batch.targets == PAD] = torch.nan
    return logits.cpu().numpy()


def kl_per_token(first: np.ndarray, now: np.ndarray) -> np.ndarray:
    """KL(first || now) in nats (Kullback and Leibler, 1951), the mean over each answer's tokens: (n,).

    Both are log probabilities (n, C, O), NaN where there is no token.
    """
    return np.nanmean((np.exp(first) * (first - now)).sum(-1), axis=1)
