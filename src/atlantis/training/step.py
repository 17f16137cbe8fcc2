"""One optimizer step, eager or compiled, and the devices it runs on."""

from __future__ import annotations

import contextlib
import ctypes
import math
import warnings
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from atlantis.data.rows import Batch
from atlantis.errors import UserError, in_a_line
from atlantis.model import Transformer, completion_loss
from atlantis.model.fast import kernels
from atlantis.model.fast.tree import tree_logits, tree_loss, tree_of
from atlantis.progress import say
from atlantis.settings import TrainingConfig
from atlantis.strategies.common.composed import Composed
from atlantis.tokens import PAD
from atlantis.training import ranks
from atlantis.training.scaling import LossScale

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

PIECE = 512
"""Rows that the kernels take at a time: their largest tensor stays below what glibc serves from kept memory, 32 MiB."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h


class NotFinite(UserError):
    """A loss or a gradient is NaN or infinite; the weights were not touched. `losses`: of steps just before it."""

    def __init__(self, message: str, losses: Sequence[float] = ()) -> None:
        super().__init__(message)
        self.losses = list(losses)


def choose_device(asked: str) -> torch.device:
    """The device of `training.device`; UserError if it is not there."""
    if asked == "cuda" and not torch.cuda.is_available():
        raise UserError("training.device: cuda was asked for, but PyTorch sees no GPU; use cpu or auto")
    if asked == "auto":
        asked = "cuda" if torch.cuda.is_available() else "cpu"
    return ranks.own_gpu() if asked == "cuda" and ranks.n_ranks() > 1 else torch.device(asked)


def keep_freed_memory() -> None:
    """Have glibc keep what is freed: else every large tensor is mapped anew, and page faults cost a third of a step."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return
    mallopt(M_MMAP_THRESHOLD, 32 << 20)  # the most it takes
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def release_freed_memory() -> None:
    """Give back what glibc keeps and nobody uses; the next step maps what it needs anew, for once.

    Every batch has tensors of other sizes, and what is freed of them falls into pieces: without this a run holds some
    4 MB more after every step in its beginning, and 11 GB after 39,080.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def pieces(batch: Batch, size: int) -> Iterator[Batch]:
    """The batch in parts of at most `size` rows."""
    for start in range(0, len(batch.tokens), size):
        yield batch.select(slice(start, start + size))


class Engine:
    """Model and optimizer, and the step that brings them forward.

    `training.compile` says how a step is computed. On a CPU `auto` takes the batch as a tree and the kernels of the
    model (tree.py, kernels.cpp), on a GPU torch.compile; `yes` is torch.compile everywhere, `no` plain PyTorch. What
    cannot be compiled is said, and the run goes on in plain PyTorch. torch.compile works block by block: the equal
    blocks are compiled once, in a sixth of the time that the whole step takes. Without strategies and ranks, steps on
    a GPU are recorded whole and do not come through here: see graph.py. docs/performance.md has measurements.
    """

    def __init__(self, model: Transformer, training: TrainingConfig, device: torch.device) -> None:
        self.model, self.training, self.device = model.to(device), training, device
        automatic = training.compile == "auto"
        precision = training.precision
        if precision == "auto":
            precision = "bf16" if device.type == "cuda" else "fp32"
        self.precision: str = precision
        self.dtype = DTYPES[precision]
        self.bf16 = precision == "bf16"
        self.scaling = LossScale(device) if precision == "fp16" else None
        self.trained = dict(model.named_parameters())
        self.optimizer = self._adamw()
        self.strategy: Composed | None = None
        self.penalty = 0.0
        on_cpu = device.type == "cpu" and self.scaling is None
        self.kernels = automatic and on_cpu and kernels.library() is not None
        self.compiled = self._compile()
        self.shared: nn.Module | None = None
        if device.type == "cpu":
            keep_freed_memory()
            if self.bf16 and not kernels.fast_bf16():
                say("training.precision: bf16 is slower than fp32 here: this processor has no instructions for it")

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

    def _compile(self) -> bool:
        automatic = self.training.compile == "auto" and self.device.type == "cuda"
        wanted = self.training.compile == "yes" or automatic
        if not wanted:
            return False
        if self.device.type == "cpu" and kernels.compiler() is None:
            say("no C++ compiler found (g++ or clang++): training runs eager")
            return False
        self.compile_blocks()
        return True

    def compile_blocks(self) -> None:
        """Have the blocks compiled when they are next used."""
        if self.device.type == "cuda":  # matrices are taken in bfloat16, so what float32 could gain says nothing
            warnings.filterwarnings("ignore", message="TensorFloat32 tensor cores")
        for block in self.model.layers[:-1]:
            block.compile(fullgraph=True, dynamic=False)
        self.model.layers[-1].compile_at()

    def forget_compilation(self) -> None:
        """From now on the blocks are plain PyTorch."""
        for block in self.model.layers:
            block.forget_compilation()

    def join(self) -> None:
        """From now on every backward pass exchanges its gradients with the other ranks; they all do this together."""
        self.shared = ranks.parallel(_Loss(self.model, self._own_loss), self.device)

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Summed loss of a batch and the number of its targets; falls back to eager if the compiler fails."""
        return self._own_loss(batch) if self.shared is None else self.shared(batch)

    def _own_loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        if batch.weights is not None or (self.strategy is not None and self.strategy.has_output_loss):
            return self._or_eager(lambda: self._strategy_loss(batch))
        if self.kernels:
            return tree_loss(self.model, batch, self.bf16)
        return self._or_eager(lambda: self._loss(batch))

    def _mixed(self) -> torch.autocast:
        """Matrix products in the half precision of this run, if it has one."""
        half = self.dtype if self.dtype != torch.float32 else None
        return torch.autocast(self.device.type, dtype=half or torch.bfloat16, enabled=half is not None)

    def _loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        with self._mixed():
            logits = self.model(batch.prefix, batch.tokens, batch.positions)
        return completion_loss(logits.float(), batch.targets)

    def _strategy_loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The summed loss with each row's weight and with what a strategy adds to it."""
        wanted = batch.targets != PAD
        logits = self.logits(self.model, batch)
        loss = F.cross_entropy(logits, batch.targets[wanted], reduction="none")
        if batch.weights is not None:
            loss = loss * batch.weights[:, None].expand_as(wanted)[wanted]
        more = None if self.strategy is None else self.strategy.output_loss(logits, batch)
        return loss.sum() if more is None else loss.sum() + more, wanted.sum()

    def logits(self, model: Transformer, batch: Batch) -> Tensor:
        """Logits (M, O) of a model of this engine's kind at the M targets of a batch that are not `<pad>`."""
        if self.kernels:
            return tree_logits(model, tree_of(batch), self.bf16)
        with self._mixed():
            logits = model(batch.prefix, batch.tokens, batch.positions)
        return logits[batch.targets != PAD].float()

    def _or_eager(self, compute: Callable[[], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        try:
            return compute()
        except Exception as error:
            if not self.compiled or not _is_compiler_error(error):
                raise
            say(f"compilation failed ({in_a_line(error)}): training goes on in plain PyTorch")
            self.compiled = False
            self.forget_compilation()
            return compute()

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
            gradients = [p.grad for p in self.trained.values() if p.grad is not None]
            torch._foreach_div_(gradients, self.scaling.scale)
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
            with ranks.exchange(self.shared, piece is parts[-1]):
                loss = self.loss(piece)[0] / count
                (loss if self.scaling is None else loss * self.scaling.scale).backward()
            value += loss.item()
        return value


class _Loss(nn.Module):
    """A model's loss as a module, which is what DistributedDataParallel takes."""

    def __init__(self, model: Transformer, loss: Callable[[Batch], tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return self.loss(batch)


def _is_compiler_error(error: Exception) -> bool:
    return type(error).__module__.startswith(("torch._dynamo", "torch._inductor"))
