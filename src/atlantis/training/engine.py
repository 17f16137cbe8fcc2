"""One optimizer step, eager or compiled, and the devices it runs on."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable

import torch
from torch import Tensor, nn

from atlantis.data.rows import Batch
from atlantis.errors import UserError
from atlantis.model import Transformer, completion_loss
from atlantis.progress import say
from atlantis.settings import TrainingConfig


class NotFinite(UserError):
    """A loss or a gradient is NaN or infinite; the weights were not touched."""


def choose_device(asked: str) -> torch.device:
    """The device of `training.device`; UserError if it is not there."""
    if asked == "cuda" and not torch.cuda.is_available():
        raise UserError("training.device: cuda was asked for, but PyTorch sees no GPU; use cpu or auto")
    if asked == "auto":
        asked = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(asked)


class Engine:
    """Model and optimizer, and the step that brings them forward.

    Compilation is per block: the equal blocks are compiled once, in a sixth of the time that the whole step takes.
    Where it fails, the run goes on eager and says so. `auto` compiles on a GPU only: on two CPU cores a
    compiled step was measured 1.15 times as fast as an eager one (0.99 to 1.25, `benchmarks/train.py`), and
    compiling takes 40 s for each shape; `yes` pays in a long run.
    """

    def __init__(self, model: Transformer, training: TrainingConfig, device: torch.device) -> None:
        self.model, self.training, self.device = model.to(device), training, device
        self.bf16 = training.precision == "bf16" or (training.precision == "auto" and device.type == "cuda")
        # Qwen2's recipe in transformers: norms and biases do not decay.
        decayed = [p for p in model.parameters() if p.ndim == 2]
        others = [p for p in model.parameters() if p.ndim != 2]
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": training.weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=training.learning_rate,
            betas=training.betas,
            eps=training.eps,
            fused=True,
        )
        self.compiled = self._compile()

    def _compile(self) -> bool:
        automatic = self.training.compile == "auto" and self.device.type == "cuda"
        wanted = self.training.compile == "yes" or automatic
        if not wanted:
            return False
        if self.device.type == "cpu" and not any(shutil.which(name) for name in ("g++", "clang++", "c++")):
            say("no C++ compiler found (g++ or clang++): training runs eager")
            return False
        for block in self.model.layers[:-1]:
            block.compile(fullgraph=True, dynamic=False)
        self.model.layers[-1].compile_at()
        return True

    def loss(self, prefix: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Summed loss of a batch and the number of its targets; falls back to eager if the compiler fails."""
        return self._or_eager(lambda: self._loss(prefix, batch))

    def _loss(self, prefix: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            logits = self.model(prefix, batch.tokens, batch.positions)
        return completion_loss(logits.float(), batch.targets)

    def _or_eager(self, compute: Callable[[], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        try:
            return compute()
        except Exception as error:
            if not self.compiled or not _is_compiler_error(error):
                raise
            say(
                f"compilation failed ({str(error).splitlines()[0][:120]}): training goes on eager, about a fifth slower"
            )
            self.compiled = False
            for block in self.model.layers:
                block.forget_compilation()
            return compute()

    def step(self, prefix: Tensor, batch: Batch, learning_rate: float) -> float:
        """One step of AdamW on the mean loss over the batch's targets; returns that loss.

        Raises NotFinite before the weights change if the loss or the gradient's norm is NaN or infinite.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        total, count = self.loss(prefix, batch)
        loss = total / count
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        limit = self.training.max_grad_norm
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), math.inf if limit is None else limit)
        value = loss.item()
        if not math.isfinite(value):
            raise NotFinite(f"the loss is {value}")
        if not math.isfinite(norm.item()):
            raise NotFinite(f"the gradient's norm is {norm.item()} (the loss is {value:.4f})")
        self.optimizer.step()
        return value


def _is_compiler_error(error: Exception) -> bool:
    return type(error).__module__.startswith(("torch._dynamo", "torch._inductor"))
