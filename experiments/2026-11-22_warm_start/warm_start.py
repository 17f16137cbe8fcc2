"""A warm start for the character model: first the map, then how to read it from digits. Stages 1 to 4 of 5.

    python experiments/2026-11-22_warm_start/warm_start.py                      # about 30 minutes on 2 cores
    atlantis train experiments/2026-11-22_warm_start/finish.yaml                # stage 5

From scratch, the character model stays on a plateau (loss 1.85) for millions of samples: it has to learn a table from
digits to cities through one distance per sample. Here the table and the map are learned apart:

1. `map`: a free vector per city stands at `,` and `)`, where its id ends, as the input of block 3. These vectors and
   blocks 3-5 are trained on the task, with nothing else in the sequence but `=` and the answer. Only distances are
   seen, never coordinates: the vectors find the map by themselves.
2. `read`: blocks 0-2 learn to give a city's vector (its 16 leading principal components) at the `,` after its id.
3. `pairs`: the same at both places of a whole row, while `=` and the answer's digits are passed on unchanged.
4. `settle`: blocks 3-5 get used to whole rows, on the task, while blocks 0-2 hold still. (Training everything at once
   from here was tried: within 100 steps at a rate of 1e-3 the map fell from R2 0.99 to 0.6.)

The result is an ordinary checkpoint of the study's architecture. The vectors are gone.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from atlantis import Dataset, DatasetConfig, World
from atlantis.data.encoding import TokenRows, encode, probe_prompt
from atlantis.data.encoding import prefix as prefix_of
from atlantis.data.rows import Rows
from atlantis.model import Transformer, completion_loss
from atlantis.model.checkpoint import facts_of, save_checkpoint
from atlantis.model.fast.shared import last_logits, run_blocks
from atlantis.model.transformer import attend
from atlantis.tasks.distance import DISTANCE
from atlantis.vocabulary import PAD, TOKEN, Vocabulary

LOWER = 3  # blocks 0-2 read the digits, blocks 3-5 know the map
RANK = 16  # principal components of the vectors that are kept
SCALE = 10.0  # the residual stream of blocks 3-5 is scaled up, to the size that blocks 0-2 write by nature
ANSWER_POSITIONS = torch.tensor([12, 19, 20, 21, 22, 23, 24, 25])  # `,` `)` `=` and five digits after 4-digit ids


def schedule(step: int, steps: int, peak: float, warmup: int) -> float:
    return peak * min(1.0, (step + 1) / warmup) * max(0.02, 1.0 - step / steps)


def optimise(
    parameters: Iterable[nn.Parameter],
    loss_of_batch: Callable[[], tuple[Tensor, str]],
    *,
    steps: int,
    rate: float,
    warmup: int,
    decay: float,
    beta2: float,
    name: str,
) -> None:
    """AdamW on `loss_of_batch()`, gradients clipped at norm 1, a line every 50 steps."""
    parameters = list(parameters)
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=decay, betas=(0.9, beta2), fused=True)
    for step in range(steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = schedule(step, steps, rate, warmup)
        loss, note = loss_of_batch()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 50 == 0:
            print(f"{name} {step}: {note}", flush=True)


def draw_pairs(rng: np.random.Generator, n: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    first = rng.integers(0, n, size)
    return first, (first + 1 + rng.integers(0, n - 1, size)) % n


def encoded_pairs(vocabulary: Vocabulary, world: World, first: np.ndarray, second: np.ndarray) -> TokenRows:
    """Whole rows without the prefix."""
    cities = np.stack([first, second], axis=1)
    return encode(DISTANCE.form, vocabulary, cities, world.distance_km(first, second))


def answers(vocabulary: Vocabulary, world: World, first: np.ndarray, second: np.ndarray) -> Tensor:
    """Tokens of the completions (B, 6), padded with `<pad>`."""
    encoded = encoded_pairs(vocabulary, world, first, second)
    tokens = np.pad(encoded.tokens, ((0, 0), (0, 6)), constant_values=PAD)
    return torch.as_tensor(np.take_along_axis(tokens, encoded.prompt_length[:, None] + np.arange(6), axis=1)).long()


def learn_map(world: World, vocabulary: Vocabulary, steps: int, size: int = 512) -> tuple[Transformer, Tensor]:
    """Stage 1: a vector per city (n, 128) and blocks 3-5, on the task; nothing of the digits is used."""
    generator = torch.Generator().manual_seed(42)
    model = Transformer(vocabulary.size, vocabulary.size)
    model.initialise(0.05, generator)
    vectors = nn.Parameter(torch.randn(len(world), model.width, generator=generator) * 0.01)
    rng = np.random.Generator(np.random.PCG64(1))
    cos, sin = model.cos[ANSWER_POSITIONS], model.sin[ANSWER_POSITIONS]
    mask = model.causal[: len(ANSWER_POSITIONS), : len(ANSWER_POSITIONS)]

    def loss_of_batch() -> tuple[Tensor, str]:
        first, second = draw_pairs(rng, len(world), size)
        target = answers(vocabulary, world, first, second)
        tail = model.embedding(torch.cat([torch.full((size, 1), TOKEN["="]), target[:, :5]], dim=1))
        x = torch.cat(
            [vectors[torch.as_tensor(first)][:, None], vectors[torch.as_tensor(second)][:, None], tail], dim=1
        )
        for block in model.layers[LOWER:]:
            q, k, v = block.heads(x, cos, sin)
            x = block.finish(x, attend(q, k, v, mask))
        total, count = completion_loss(model.logits(x[:, 2:]), target)
        return total / count, f"loss {total.item() / count.item():.4f}"

    upper = [p for block in model.layers[LOWER:] for p in block.parameters()]
    parameters = [vectors, model.embedding.weight, model.norm.weight, model.unembedding.weight, *upper]
    optimise(parameters, loss_of_batch, steps=steps, rate=2e-3, warmup=50, decay=0.01, beta2=0.99, name="map")
    return model, vectors.detach()


def rescale(model: Transformer, vectors: Tensor) -> Tensor:
    """Scale the residual stream of blocks 3-5 by SCALE (their norms undo it); returns the vectors to be read."""
    with torch.no_grad():
        model.embedding.weight.mul_(SCALE)
        for block in model.layers[LOWER:]:
            block.out.weight.mul_(SCALE)
            block.down.weight.mul_(SCALE)
        mean = vectors.mean(0)
        u, s, v = torch.linalg.svd(vectors - mean, full_matrices=False)
        return SCALE * (mean + (u[:, :RANK] * s[:RANK]) @ v[:RANK])


def lower_parameters(model: Transformer) -> list[nn.Parameter]:
    """Blocks 0-2 and the embedding, made the only ones that train."""
    model.requires_grad_(False)
    chosen = [model.embedding.weight, *(p for block in model.layers[:LOWER] for p in block.parameters())]
    for parameter in chosen:
        parameter.requires_grad_(True)
    return chosen


def learn_to_read(model: Transformer, vocabulary: Vocabulary, vectors: Tensor, steps: int, size: int = 512) -> None:
    """Stage 2: blocks 0-2 give `vectors` at the `,` after an id; the share of variance missed falls from 1."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for block in model.layers[:LOWER]:
            for name, parameter in block.named_parameters():
                if parameter.ndim == 2:
                    std = 0.05 if name.startswith(("out", "down")) else 0.1
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
    prompts, last = probe_prompt(DISTANCE.form, vocabulary, np.arange(len(vectors)))
    prefix = torch.tensor(prefix_of(DISTANCE.form, vocabulary))
    rows = torch.as_tensor(prompts[:, len(prefix) : len(prefix) + 5]).long()
    comma = torch.as_tensor(last - len(prefix) - 2).long()
    variance = (vectors - vectors.mean(0)).square().sum(1).mean()
    draw = torch.Generator().manual_seed(1)

    def loss_of_batch() -> tuple[Tensor, str]:
        ids = torch.randint(0, len(vectors), (size,), generator=draw)
        _, x = run_blocks(model, model.embedding(prefix), model.embedding(rows[ids]), range(LOWER))
        missed = (x[torch.arange(size), comma[ids]] - vectors[ids]).square().sum(1).mean() / variance
        return missed, f"missed {missed.item():.4f}"

    parameters = lower_parameters(model)
    optimise(parameters, loss_of_batch, steps=steps, rate=2e-3, warmup=50, decay=0.0, beta2=0.999, name="read")


def learn_pairs(
    model: Transformer,
    world: World,
    vocabulary: Vocabulary,
    vectors: Tensor,
    symbols: Tensor,
    steps: int,
    size: int = 256,
) -> None:
    """Stage 3: the vectors at `,` and `)` of whole rows; `=` and the answer's digits keep `symbols` (44, 128)."""
    prefix, rows = torch.tensor(prefix_of(DISTANCE.form, vocabulary)), torch.arange(size)
    variance, power = (vectors - vectors.mean(0)).square().sum(1).mean(), symbols.square().sum(1).mean()
    rng = np.random.Generator(np.random.PCG64(2))

    def loss_of_batch() -> tuple[Tensor, str]:
        first, second = draw_pairs(rng, len(world), size)
        encoded = encoded_pairs(vocabulary, world, first, second)
        tokens = torch.as_tensor(encoded.tokens[:, :-1]).long()
        comma = (tokens == TOKEN[","]).int().argmax(1)
        close = torch.as_tensor(encoded.prompt_length).long() - 2
        _, x = run_blocks(model, model.embedding(prefix), model.embedding(tokens), range(LOWER))
        missed = [
            (x[rows, place] - vectors[torch.as_tensor(ids)]).square().sum(1).mean() / variance
            for place, ids in ((comma, first), (close, second))
        ]
        tail = (torch.arange(tokens.shape[1]) > close[:, None]) & (tokens != PAD)
        moved = ((x - symbols[tokens]).square().sum(2) * tail).sum() / tail.sum() / power
        note = f"missed {missed[0].item():.4f} and {missed[1].item():.4f}, tail moved {moved.item():.4f}"
        return missed[0] + missed[1] + 0.3 * moved, note

    parameters = lower_parameters(model)
    optimise(parameters, loss_of_batch, steps=steps, rate=1e-3, warmup=20, decay=0.0, beta2=0.999, name="pairs")


def settle(model: Transformer, world: World, vocabulary: Vocabulary, steps: int, size: int = 256) -> None:
    """Stage 4: blocks 3-5 on whole rows of the study's training pairs, blocks 0-2 and the embedding frozen."""
    rows = Rows(Dataset.build(world, DatasetConfig()).splits["train"], vocabulary)
    order = np.random.Generator(np.random.PCG64(3)).permutation(len(rows))
    batches = iter(range(0, len(rows) - size, size))

    def loss_of_batch() -> tuple[Tensor, str]:
        start = next(batches)
        batch = rows.batch(torch.as_tensor(order[start : start + size]))
        with torch.no_grad():
            states = run_blocks(model, model.embedding(rows.prefix), model.embedding(batch.tokens), range(LOWER))
        states = run_blocks(model, *states, range(LOWER, len(model.layers) - 1))
        total, count = completion_loss(last_logits(model, *states, batch.positions), batch.targets)
        return total / count, f"loss {total.item() / count.item():.4f}"

    model.requires_grad_(False)
    parameters = [p for block in model.layers[LOWER:] for p in block.parameters()]
    parameters += [model.norm.weight, model.unembedding.weight]
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimise(parameters, loss_of_batch, steps=steps, rate=1e-3, warmup=30, decay=0.01, beta2=0.99, name="settle")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, default=Path("outputs/warm_start/checkpoint"), help="the checkpoint to write"
    )
    parser.add_argument(
        "--steps", type=int, nargs=4, default=(1600, 1500, 600, 1000), metavar="N", help="of stages 1-4"
    )
    options = parser.parse_args()

    world = World.build(regions=())
    vocabulary = Vocabulary("characters", len(world))
    model, vectors = learn_map(world, vocabulary, options.steps[0])
    vectors = rescale(model, vectors)
    symbols = model.embedding.weight.detach().clone()
    learn_to_read(model, vocabulary, vectors, options.steps[1])
    learn_pairs(model, world, vocabulary, vectors, symbols, options.steps[2])
    settle(model, world, vocabulary, options.steps[3])
    options.out.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(options.out, model, vocabulary, facts_of(world, vocabulary, "warm_start", 0), None)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
