"""The scale of a loss whose gradients are taken in float16, where small ones would vanish and large ones overflow.

The rule of mixed precision training (Micikevicius et al., 2018) and of `torch.amp.GradScaler`, with its numbers: the
loss is multiplied by the scale before the backward pass and the gradients are divided by it. A step whose gradients
overflow is left out and halves the scale; 2,000 steps in a row without one double it.
"""

from __future__ import annotations

import torch

FIRST_SCALE, GROWTH, BACKOFF, PATIENCE = 65_536.0, 2.0, 0.5, 2_000


class LossScale:
    """The scale now, and how many steps in a row went well: tensors on the device, for a recorded step reads them."""

    def __init__(self, device: torch.device) -> None:
        self.scale = torch.full((), FIRST_SCALE, device=device)
        self.streak = torch.zeros((), dtype=torch.int32, device=device)

    def update(self, overflow: torch.Tensor) -> None:
        """After a step: `overflow` () is 1.0 if a gradient was infinite or no number, else 0.0."""
        update = torch._amp_update_scale_  # pyright: ignore[reportPrivateImportUsage]
        update(self.scale, self.streak, overflow, GROWTH, BACKOFF, PATIENCE)

    @property
    def state(self) -> dict[str, torch.Tensor]:
        """What a run must keep to go on as if it had not been stopped."""
        return {"scale": self.scale, "streak": self.streak}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Take over a saved `state`."""
        self.scale.copy_(state["scale"])
        self.streak.copy_(state["streak"])
