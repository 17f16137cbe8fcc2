"""What a strategy is: a few hooks into a run, each of which does nothing unless it is overridden.

    class MyStrategy(Strategy):
        class Settings(StrategySettings):
            weight: float = 1.0
        settings: Settings
        needs = frozenset({"base weights"})

        def penalty(self):
            return self.settings.weight * ...   # any differentiable number

In a run: `begin` (or, after an interruption, `restore`); then for every step `batch`, `rate`, [forward, backward:
`output_loss`], `penalty`, `gradients`, [clipping, AdamW], `after_update`; and `shown` whenever weights are evaluated
and saved.

What must outlive an interruption is in `memory`, tensors by name. It is saved with the run's state and put back
exactly. All else follows from the settings, the base and `step`; randomness comes from generators made of a seed and
`step`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from atlantis.fields import StrategySettings

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from atlantis.data.rows import Batch
    from atlantis.strategies.common.context import Context, Parameters
    from atlantis.vocabulary import Kind

Hook = Literal["parameters", "batch", "after_update", "shown"]

Need = Literal["old data", "old prompts", "base weights", "optimizer state"]
"""What a strategy may use beside the new data. `old prompts`: the names of old cities, without any answer."""


class Strategy:
    """The hooks. `self.step` counts steps from 0."""

    Settings: ClassVar[type[StrategySettings]] = StrategySettings
    needs: frozenset[Need] = frozenset()
    vocabulary: ClassVar[Kind | None] = None
    """The only one it works with; None: any."""
    owns: frozenset[Hook] = frozenset()
    """Hooks that no other strategy of a run may have, because this one does not build on what it is given there."""
    first_at: frozenset[Hook] = frozenset()
    """Hooks at which it must come before all others of a run, because it drops what they have done there."""
    only_reads: frozenset[Hook] = frozenset()
    """Hooks in which it changes nothing, so that they are in nobody's way."""
    prepares_for_length: ClassVar[bool] = False
    """Whether `memory` depends on the run's number of steps (`context.total`), so that no run can be made longer."""

    def __init__(self, settings: StrategySettings, context: Context) -> None:
        self.settings, self.context = settings, context
        self.memory: dict[str, Tensor] = {}
        self.step = 0

    def parameters(self, trained: Parameters) -> Parameters:
        """What the optimizer trains, by name; asked once, before all else. Default: what others left."""
        return trained

    def begin(self, optimizer: torch.optim.Optimizer) -> None:
        """Before step 0 of a new run: fill `memory`."""

    def restore(self, memory: dict[str, Tensor]) -> None:
        """In place of `begin`, where a run goes on: `memory` as it was saved."""
        self.memory = memory

    def batch(self, batch: Batch, rows: Tensor) -> Batch:
        """What this step trains on; `rows` (B,) are the places of its rows in the training data, n for fillers."""
        return batch

    def rate(self, rate: float) -> float:
        """The learning rate of this step; may be asked more than once for a step, so it must not change anything."""
        return rate

    def output_loss(self, logits: Tensor, batch: Batch) -> Tensor | None:
        """A term for the summed loss over this part's M targets, from their logits (M, O); None for none.

        It is divided by the batch's number of targets afterwards. Called for each part of a batch.
        """
        return None

    def penalty(self) -> Tensor | None:
        """Added to the loss, once per step."""
        return None

    def gradients(self) -> None:
        """All gradients are there, not clipped yet; they may be changed in place."""

    def after_update(self) -> None:
        """The optimizer has changed the weights; they may be changed further, in place."""

    def shown(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The weights that are evaluated and saved, given those that are trained. Neither may be changed in place."""
        return weights
