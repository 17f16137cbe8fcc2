"""One trial of a recipe for the base: the task from scratch, with a curve of loss and probe; stops and goes on.

    python experiments/2026-11-22_plain_recipe/trial.py muon --optimizer muon --rate 0.02 --steps 2000

Everything not named here is the study's: the cities, the pairs, the architecture, the loss. Writes curves/<name>.csv
(one row per `--every` steps) and keeps its state in outputs/trials/<name>.pt.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from atlantis import Dataset, DatasetConfig, ProbeConfig, World
from atlantis.data.rows import Batch, Rows
from atlantis.model import Transformer
from atlantis.model.fast.tree import tree_logits, tree_loss, tree_of
from atlantis.readout.activations import probe_features
from atlantis.readout.probes import read_degrees
from atlantis.training.device import keep_freed_memory, release_freed_memory
from atlantis.training.order import Order
from atlantis.vocabulary import PAD, SYMBOLS, Vocabulary


class Muon(torch.optim.Optimizer):
    """Momentum whose update is orthogonalised (Jordan et al., 2024) by five Newton-Schulz steps in float32.

    `parts` names how many equal matrices lie stacked in a parameter (query, key and value are three).
    """

    def __init__(self, parameters: list[dict], lr: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "parts": 1})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                mean = self.state[p].setdefault("mean", torch.zeros_like(p))
                mean.lerp_(p.grad, 1 - group["momentum"])
                update = p.grad.lerp(mean, group["momentum"])  # Nesterov's
                for part, matrix in zip(update.chunk(group["parts"]), p.chunk(group["parts"]), strict=True):
                    scale = max(1.0, part.shape[0] / part.shape[1]) ** 0.5
                    matrix.sub_(orthogonal(part), alpha=group["lr"] * scale)


def orthogonal(matrix: Tensor) -> Tensor:
    """Nearly U V' of a matrix U S V'."""
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


def optimizers(model: Transformer, options: argparse.Namespace) -> list[torch.optim.Optimizer]:
    inner = [p for block in model.layers for p in block.parameters() if p.ndim == 2]
    if options.optimizer == "adamw":
        inner = []
    chosen = {id(p) for p in inner}
    others = [p for p in model.parameters() if id(p) not in chosen]
    betas = (0.9, options.beta2)
    chosen.add(id(model.embedding.weight))
    adam = [
        {"params": [p for p in others if id(p) not in chosen]},
        {"params": [model.embedding.weight], "lr": options.embedding_rate or options.adam_rate},
    ]
    found: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(adam, options.adam_rate, betas=betas, weight_decay=options.decay, fused=True)
    ]
    if inner:
        parts = {id(b.qkv.weight): 3 for b in model.layers} | {id(b.gate_up.weight): 2 for b in model.layers}
        groups = [{"params": [p], "parts": parts.get(id(p), 1)} for p in inner]
        found.append(Muon(groups, options.rate))
    return found


def weighted_loss(model: Transformer, batch: Batch, options: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """The batch's mean loss, and with each place of the answer weighted by `--counts`."""
    asked = batch.targets != PAD
    logits = tree_logits(model, tree_of(batch), options.bf16)
    losses = F.cross_entropy(logits, batch.targets[asked], reduction="none")
    weights = torch.tensor(options.counts).expand(len(asked), -1)[asked]
    return losses.detach().mean(), (losses * weights).sum() / weights.sum()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--vocabulary", choices=["characters", "city"], default="characters")
    parser.add_argument("--optimizer", choices=["adamw", "muon"], default="adamw")
    parser.add_argument("--rate", type=float, default=0.02, help="of Muon, for the matrices of the blocks")
    parser.add_argument("--adam-rate", type=float, default=2e-3)
    parser.add_argument("--beta2", type=float, default=0.99)
    parser.add_argument("--decay", type=float, default=0.01)
    parser.add_argument("--init", type=float, default=0.1)
    parser.add_argument("--embedding-init", type=float, default=None, help="of the embedding alone")
    parser.add_argument("--embedding-rate", type=float, default=None, help="of the embedding alone")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--steps", type=int, default=1000, help="length of the schedule: constant, then linear to 0")
    parser.add_argument("--hold", type=float, default=0.5, help="share of the steps before the rate falls")
    parser.add_argument("--warmup", type=int, default=50)
    parser.add_argument("--every", type=int, default=100)
    parser.add_argument("--anchors", type=int, default=0, help="so many cities, drawn at random, are met first")
    parser.add_argument("--anchor-steps", type=int, default=0, help="in these steps every pair has an anchor")
    parser.add_argument("--counts", type=float, nargs="*", help="weight of each place of the answer in the loss")
    parser.add_argument("--count-steps", type=int, default=0, help="in these steps the places have --counts")
    parser.add_argument("--bf16", action="store_true", help="as training.precision=bf16; Muon iterates in float32")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stop-after", type=int, default=None, help="stop at this step; the same command goes on")
    options = parser.parse_args()

    keep_freed_memory()
    world = World.build(regions=())
    vocabulary = Vocabulary(options.vocabulary, len(world))
    pairs = Dataset.build(world, DatasetConfig()).splits["train"]
    rows = Rows(pairs, vocabulary)
    anchors = np.random.default_rng(options.seed).choice(len(world), options.anchors, replace=False)
    anchored = np.flatnonzero(np.isin(pairs.cities, anchors).any(axis=1))
    model = Transformer(vocabulary.size, len(SYMBOLS))
    model.initialise(options.init, torch.Generator().manual_seed(options.seed))
    if options.embedding_init is not None:
        model.embedding.weight.data.mul_(options.embedding_init / options.init)
    steppers = optimizers(model, options)
    rates = [[group["lr"] for group in o.param_groups] for o in steppers]
    order = Order(len(rows), options.batch, options.seed)
    early = Order(len(anchored), options.batch, options.seed) if options.anchors else order
    state = Path("outputs/trials") / f"{options.name}.pt"
    curve = Path(__file__).parent / "curves" / f"{options.name}.csv"
    for path in (state, curve):
        path.parent.mkdir(parents=True, exist_ok=True)
    step, seconds = 0, 0.0
    if state.exists():
        kept = torch.load(state, weights_only=True)
        step, seconds = kept["step"], kept["seconds"]
        model.load_state_dict(kept["model"])
        for stepper, saved in zip(steppers, kept["optimizers"], strict=True):
            stepper.load_state_dict(saved)
    else:
        header = ["step", "samples", "seconds", "loss", "lon_r2", "lat_r2", "km"]
        curve.write_text("# " + " ".join(f"{k}={v}" for k, v in vars(options).items()) + "\n" + ",".join(header) + "\n")

    losses: list[float] = []
    while step < (options.stop_after or options.steps):
        started = time.monotonic()
        fall = (options.steps - step) / max(1, options.steps * (1 - options.hold))
        for o, group_rates in zip(steppers, rates, strict=True):
            for group, rate in zip(o.param_groups, group_rates, strict=True):
                group["lr"] = rate * min(1.0, (step + 1) / options.warmup, fall)
        if step < options.anchor_steps:
            at = early.rows(step)
            chosen = anchored[at[at < len(anchored)]]
        else:
            chosen = order.rows(step)
        batch = rows.batch(torch.as_tensor(chosen))
        if step < options.count_steps:
            loss, weighted = weighted_loss(model, batch, options)
        else:
            total, count = tree_loss(model, batch, options.bf16)
            loss = weighted = total / count
        model.zero_grad()
        weighted.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for o in steppers:
            o.step()
        losses.append(loss.item())
        step += 1
        seconds += time.monotonic() - started
        if step % options.every == 0:
            reading = read_degrees(
                probe_features(model, vocabulary, np.arange(len(world)), ProbeConfig().layers), world, ProbeConfig()
            )
            found = reading.dynamics.query("group == 'real' and split == 'test'").iloc[0]
            line = [step, step * options.batch, round(seconds), f"{np.mean(losses):.4f}"]
            line += [f"{found[key]:.4g}" for key in ("lon_r2", "lat_r2", "mean_km")]
            losses.clear()
            print(*line, flush=True)
            with curve.open("a") as file:
                csv.writer(file).writerow(line)
            kept = {"step": step, "seconds": seconds, "model": model.state_dict()}
            torch.save(kept | {"optimizers": [o.state_dict() for o in steppers]}, state)
            release_freed_memory()


if __name__ == "__main__":
    main()
