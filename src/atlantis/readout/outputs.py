"""How far have the answers drifted? The model's distribution over the next token, on prompts it could answer before."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float

from atlantis.data.draw import Order, Pool, Where
from atlantis.data.rows import Rows
from atlantis.model import Transformer
from atlantis.model.fast.shared import shared_logits
from atlantis.tasks import Questions, Task
from atlantis.tasks.distance import DISTANCE
from atlantis.vocabulary import PAD, Vocabulary
from atlantis.world import World

N_PROMPTS = 512


def real_questions(world: World, seed: int, task: Task = DISTANCE, order: Order = "fair") -> Questions:
    """Questions about real cities drawn at random: what a model knew before it met the virtual ones.

    Their cities come in the `order` of what the model was trained on.
    """
    return Pool(task, world, Where("world"), order=order).ask_up_to(N_PROMPTS, seed, "old prompts")


@torch.no_grad()
def answer_distributions(
    model: Transformer, vocabulary: Vocabulary, questions: Questions
) -> Float[np.ndarray, "n C O"]:
    """Log probabilities (n, C, O) of each token of the true answers, `<eos>` included, given those before it.

    C is the longest answer's length (6 for distances); NaN past the end of a shorter one.
    """
    rows = Rows(questions, vocabulary, model.embedding.weight.device)
    batch = rows.batch(torch.arange(len(rows), device=rows.tokens.device))
    logits = shared_logits(model, batch).double().log_softmax(-1)
    logits[batch.targets == PAD] = torch.nan
    return logits.cpu().numpy()


def kl_per_token(first: Float[np.ndarray, "n C O"], now: Float[np.ndarray, "n C O"]) -> Float[np.ndarray, " n"]:
    """KL(first || now) in nats (Kullback and Leibler, 1951), the mean over each answer's tokens: (n,).

    Both are log probabilities (n, C, O), NaN where there is no token.
    """
    return np.nanmean((np.exp(first) * (first - now)).sum(-1), axis=1)
