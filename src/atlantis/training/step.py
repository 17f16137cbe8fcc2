"""One optimizer step: the loss of a batch, its gradients, AdamW."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from atlantis.data.rows import Batch
from atlantis.errors import UserError, in_a_line
from atlantis.model import Transformer, fast
from atlantis.model.fast import kernels
from atlantis.progress import say
from atlantis.settings import TrainingConfig
from atlantis.strategies.common.composed import Composed
from atlantis.training import ranks
from atlantis.training.device import keep_freed_memory
from atlantis.training.scaling import LossScale
from atlantis.vocabulary import PAD

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

PIECE = 512
"""Rows that the kernels take at a time: their largest tensor stays below what glibc serves from kept memory, 32 MiB."""


class NotFinite(UserError):
    """A loss or a gradient is NaN or infinite; the weights were not touched. `losses`: of steps just before it."""

    def __init__(self, message: str, losses: Sequence[float] = ()) -> None:
        super().__init__(message)
        self.losses = list(losses)


def pieces(batch: Batch, size: int) -> Iterator[Batch]:
    """The batch in parts of at most `size` rows."""
    for start in range(0, len(batch.tokens), size):
        yield batch.select(slice(start, start + size))


class Engine:
    """Model and optimizer, and the step that brings them forward.

    How a batch is computed (`forward`) is chosen once, by `training.compile`: see model/fast. Without strategies and
    ranks, steps on a GPU are recorded whole and do not come through here: see graph.py. docs/performance.md has
    measurements.
    """

    def __init__(self, model: Transformer, training: TrainingConfig, device: torch.device) -> None:
        self.model, self.training, self.device = model.to(device), training, device
        precision = training.precision
        if precision == "auto":
            precision = "bf16" if device.type == "cuda" else "fp32"
        self.precision: str = precision
        self.dtype = DTYPES[precision]
        self.scaling = LossScale(device) if precision == "fp16" else None
        self.trained = dict(model.named_parameters())
        self.optimizer = self._adamw()
        self.strategy: Composed | None = None
        self.penalty = 0.0
        self.forward = fast.choose(self.model, training.compile, device, self.dtype)
        self.parallel: nn.Module | None = None
        if device.type == "cpu":
            keep_freed_memory()
            if precision == "bf16" and not kernels.fast_bf16():
                say("training.precision: bf16 is slower than fp32 here: this processor has no instructions for it")

    @property
    def kernels(self) -> bool:
        """Whether batches are computed as trees, by the kernels of the CPU."""
        return isinstance(self.forward, fast.AsTree)

    @property
    def compiled(self) -> bool:
        """Whether torch.compile has a part in the steps."""
        return isinstance(self.forward, fast.SharedPrefix) and self.forward.compiled_for is not None

    def _adamw(self) -> torch.optim.AdamW:
        """Qwen2's recipe in transformers: norms and biases do not decay."""
        training = self.training
        decayed = [p for p in self.trained.values() if p.ndim == 2]
        others = [p for p in self.trained.values() if p.ndim != 2]
        return torch.optim.AdamW(
            [{"params": decayed, "weight_decay": training.weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=training.learning_rate,
            betas=training.betas,
            eps=training.eps,
            fused=True,
        )

    def adopt(self, strategy: Composed) -> None:
        """From now on a strategy takes part in every step, and says what is trained."""
        self.strategy = strategy
        self.trained = strategy.parameters(self.trained)
        if not self.trained:
            raise UserError("strategy: nothing is left to train; freeze less")
        self.optimizer = self._adamw()

    def join(self) -> None:
        """From now on every backward pass exchanges its gradients with the other ranks; they all do this together."""
        self.parallel = ranks.parallel(_Loss(self.model, self._own_loss), self.device)

    def loss(self, batch: Batch) -> Tensor:
        """Summed loss of a batch; falls back to eager if the compiler fails."""
        return self._own_loss(batch) if self.parallel is None else self.parallel(batch)

    def _own_loss(self, batch: Batch) -> Tensor:
        if batch.weights is not None or (self.strategy is not None and self.strategy.has_output_loss):
            return self._strategy_loss(batch)
        return self._compiled_or_not(lambda: self.forward.loss(self.model, batch))

    def _compiled_or_not(self, compute: Callable[[], Tensor]) -> Tensor:
        """What `compute` gives; if the compiler fails, the same in plain PyTorch, from here on."""
        try:
            return compute()
        except Exception as error:
            if not self.compiled or not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise
            say(f"compilation failed ({in_a_line(error)}): training goes on in plain PyTorch")
            self.forward = fast.SharedPrefix(self.dtype)
            return compute()

    def _strategy_loss(self, batch: Batch) -> Tensor:
        """The summed loss with each row's weight and with what a strategy adds to it."""
        has_target = batch.targets != PAD
        logits = self.logits(self.model, batch)
        loss = F.cross_entropy(logits, batch.targets[has_target], reduction="none")
        if batch.weights is not None:
            loss = loss * batch.weights[:, None].expand_as(has_target)[has_target]
        more = None if self.strategy is None else self.strategy.output_loss(logits, batch)
        return loss.sum() if more is None else loss.sum() + more

    def logits(self, model: Transformer, batch: Batch) -> Tensor:
        """Logits (M, O) of a model of this engine's kind at the M targets of a batch that are not `<pad>`."""
        return self._compiled_or_not(lambda: self.forward.logits(model, batch))

    def step(self, batch: Batch, learning_rate: float) -> float:
        """One step of AdamW on the mean loss over the batch's targets, shared by all ranks; returns that loss.

        Raises NotFinite before the weights change if the loss or the gradient's norm is NaN or infinite. In fp16 a
        step whose gradients overflow is left out instead.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.zero_grad(set_to_none=True)
        # The ranks' losses and gradients are averaged: each divides its sum by a rank's share of all targets.
        value = ranks.mean(self.backward(ranks.share(batch), (batch.targets != PAD).sum() / ranks.n_ranks()))
        if self.scaling is not None:
            # Of the model too: adapters and new rows take theirs from these, once they are divided.
            scaled = dict.fromkeys([*self.model.parameters(), *self.trained.values()])
            gradients = [p.grad for p in scaled if p.grad is not None]
            torch._foreach_div_(gradients, self.scaling.scale)  # pyright: ignore[reportPrivateImportUsage]
        if self.strategy is not None:
            self.penalty = self.strategy.penalties()
            self.strategy.gradients()
        limit = self.training.max_grad_norm
        norm = nn.utils.clip_grad_norm_(self.trained.values(), math.inf if limit is None else limit)
        if not math.isfinite(value):
            raise NotFinite(f"the loss is {value}")
        if self.scaling is not None:
            self.scaling.update((~norm.isfinite()).float())
            if not norm.isfinite():
                return value
        if not norm.isfinite():
            raise NotFinite(f"the gradient's norm is {norm.item()} (the loss is {value:.4f})")
        self.optimizer.step()
        if self.strategy is not None:
            self.strategy.after_update()
        return value

    def backward(self, batch: Batch, count: Tensor) -> float:
        """Add the gradients of the batch's summed loss divided by `count`; returns that quotient."""
        value = 0.0
        parts = list(pieces(batch, PIECE if self.kernels else len(batch.tokens)))
        for piece in parts:
            with ranks.exchange(self.parallel, piece is parts[-1]):
                loss = self.loss(piece) / count
                (loss if self.scaling is None else loss * self.scaling.scale).backward()
            value += loss.item()
        return value


class _Loss(nn.Module):
    """A model's loss as a module, which is what DistributedDataParallel takes."""

    def __init__(self, model: Transformer, loss: Callable[[Batch], Tensor]) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch: Batch) -> Tensor:
        return self.loss(batch)
