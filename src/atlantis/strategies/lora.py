"""Low-rank adaptation by `peft`: each linear layer moves by a matrix of low rank (Hu et al., 2022).

    W = W_base + alpha / rank * B A,   A (rank, in), B (out, rank), B = 0 at first;  only A and B are trained

The model always holds the merged weights, so that its fast path, every checkpoint and every readout work as they are.
peft keeps the adapters and gives B A; the gradient of the merged weight is passed on to them, which is exact by the
chain rule. Embedding, output layer, norms and biases stay as they are. Cost: two small products per layer and step;
AdamW's moments are kept for A and B only.

Defaults: rank 8 and alpha 16 as commonly used, on all linear layers of the blocks (Dettmers et al., 2023). LoRA learns
with higher rates than full fine-tuning: consider training.learning_rate=5e-4.
"""

from __future__ import annotations

import copy
from importlib.util import find_spec
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from atlantis.errors import UserError
from atlantis.fields import Positive, Seed, StrategySettings
from atlantis.strategies.common.context import Context, Parameters
from atlantis.strategies.common.strategy import Strategy

TARGETS = ["qkv", "out", "gate_up", "down"]


class LowRankAdaptation(Strategy):
    """Adapters, merged after every step."""

    class Settings(StrategySettings):
        name: str = "lora"
        rank: Positive = Field(default=8, description="of the two matrices")
        alpha: float = Field(default=16.0, gt=0, description="their product counts alpha / rank")
        seed: Seed = Field(default=42, description="of the initial A")

    settings: Settings
    needs = frozenset({"base weights"})
    owns = frozenset({"parameters", "after_update"})

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        if find_spec("peft") is None:
            raise UserError("strategy: lora needs peft; pip install 'atlantis-lab[lora]'")
        from peft import LoraConfig, inject_adapter_in_model
        from peft.tuners.lora import LoraLayer

        shell: Any = copy.deepcopy(context.base)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)  # peft draws A from the global generator
            adapters = LoraConfig(r=settings.rank, lora_alpha=settings.alpha, target_modules=TARGETS)  # type: ignore[arg-type]
            inject_adapter_in_model(adapters, shell)
        modules = shell.named_modules()
        self.layers: dict[str, Any] = {f"{name}.weight": m for name, m in modules if isinstance(m, LoraLayer)}
        self.adapters: Parameters = {n: p for n, p in shell.named_parameters() if ".lora_" in n}

    def parameters(self, trained: Parameters) -> Parameters:
        for name, parameter in trained.items():
            parameter.requires_grad_(name in self.layers)
        return self.adapters

    def begin(self, optimizer: torch.optim.Optimizer) -> None:
        self.memory = {name: parameter.data for name, parameter in self.adapters.items()}

    def restore(self, memory: dict[str, Tensor]) -> None:
        for name, parameter in self.adapters.items():
            parameter.data.copy_(memory[name])
        self.memory = {name: parameter.data for name, parameter in self.adapters.items()}

    def gradients(self) -> None:
        weights = dict(self.context.model.named_parameters())
        for name, layer in self.layers.items():
            layer.get_delta_weight("default").backward(weights[name].grad)
            # The optimizer knows the adapters alone, so nothing else would clear this before the next step.
            weights[name].grad = None

    def after_update(self) -> None:
        base, weights = dict(self.context.base.named_parameters()), dict(self.context.model.named_parameters())
        for name, layer in self.layers.items():
            weights[name].copy_(base[name] + layer.get_delta_weight("default"))
