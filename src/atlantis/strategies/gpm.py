"""Gradient projection memory: weights move only where old inputs do not look (Saha, Garg and Roy, 2021).

    M       orthonormal basis that holds `energy` of the squares of a linear layer's inputs over old rows (in the base)
    G       <- G - G M M'     the gradient of the layer's weight (out, in)
    dW      <- dW - dW M M'   the step that AdamW took

The paper projects the gradient, which suffices for SGD; AdamW rescales what it is given, so its step is projected too,
and then W x is unchanged for every x in the span of M. For the same reason biases and norms stay as they are, and so do
the embedding's rows of tokens that old prompts have; rows of other tokens (new cities, with the city vocabulary) are
free. The base's own answers follow the prompts. Cost: two products with M per layer and step, a copy of the weights; M
has up to in^2 numbers.

Defaults: 95 % as in the paper's first tasks (0.95 to 0.97); 2,000 rows of about 18 tokens, many more than the layers
are wide.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from atlantis.fields import Positive, Seed, StrategySettings
from atlantis.strategies.common.context import Context, Parameters
from atlantis.strategies.common.old import answered, old_prompts
from atlantis.strategies.common.strategy import Strategy
from atlantis.vocabulary import PAD


def basis(gram: Tensor, energy: float) -> Tensor:
    """Orthonormal directions (d, k) that hold this share of the squares of inputs with the Gram matrix X'X (d, d)."""
    size, directions = torch.linalg.eigh(gram)
    held = size.flip(0).clamp(min=0).cumsum(0) / size.sum()
    # Those that do not reach the share yet, and the one that does.
    return directions.flip(1)[:, : int((held < energy).sum()) + 1].contiguous()


def off(change: Tensor, directions: Tensor) -> Tensor:
    """`change` (out, in) without its part in the directions (in, k) of the inputs."""
    return change - change @ directions @ directions.T


class GradientProjectionMemory(Strategy):
    """Steps orthogonal to old inputs."""

    class Settings(StrategySettings):
        name: str = "gpm"
        energy: float = Field(default=0.95, gt=0, lt=1, description="share of the old inputs' squares that is kept")
        rows: Positive = Field(default=2_000, description="old rows that the inputs are of")
        seed: Seed = Field(default=42, description="of the old rows")

    settings: Settings
    needs = frozenset({"old prompts", "base weights"})
    owns = frozenset({"after_update"})

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        self.linear = {f"{n}.weight": m for n, m in context.model.named_modules() if isinstance(m, nn.Linear)}
        self.before: dict[str, Tensor] = {}

    def parameters(self, trained: Parameters) -> Parameters:
        kept = {name: p for name, p in trained.items() if name in self.linear or name == "embedding.weight"}
        for name in trained.keys() - kept.keys():
            trained[name].requires_grad_(False)
        return kept

    @torch.no_grad()
    def begin(self, optimizer: torch.optim.Optimizer) -> None:
        context, settings = self.context, self.settings
        batch = answered(context, old_prompts(context, settings.rows, settings.seed), settings.seed)
        tokens = batch.whole()
        read = tokens != PAD
        gram: dict[str, Tensor] = {}

        def note(name: str) -> object:
            def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
                x = inputs[0][read].double()
                gram[name] = x.T @ x

            return hook

        hooks = [module.register_forward_pre_hook(note(name)) for name, module in self.linear.items()]  # type: ignore[arg-type]
        (last,) = context.model.hidden_states(tokens, [len(context.model.blocks) - 1])
        context.model.logits(last)
        for hook in hooks:
            hook.remove()
        self.memory = {name: basis(matrix, settings.energy).float() for name, matrix in gram.items()}
        used = torch.zeros(context.model.embedding.num_embeddings, dtype=torch.bool, device=context.device)
        used[tokens[read]] = True
        if context.vocabulary.kind == "city":  # the prompts name only some of the old cities
            used[context.vocabulary.first_city + torch.as_tensor(context.old_ids, device=context.device)] = True
        self.memory["used tokens"] = used

    def _project(self, name: str, change: Tensor) -> Tensor:
        if name == "embedding.weight":
            return change.masked_fill(self.memory["used tokens"][:, None], 0.0)
        return off(change, self.memory[name])

    def gradients(self) -> None:
        for name, parameter in self.context.model.named_parameters():
            if parameter.grad is not None:
                parameter.grad = self._project(name, parameter.grad)
                self.before[name] = parameter.detach().clone()

    def after_update(self) -> None:
        for name, parameter in self.context.model.named_parameters():
            if name in self.before:
                parameter.copy_(self.before[name] + self._project(name, parameter - self.before[name]))
