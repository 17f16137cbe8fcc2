"""Control of the early steps: a long warm-up, a lower rate, and the optimizer's memory of the old task.

    rate(s) = factor * rate of the schedule(s) * min(1, (s + 1) / warmup_steps)

Most damage is done in the first steps, when AdamW's second moments are those of a few batches and every weight moves by
about the learning rate. With `moments`, both moments and the step count are taken over from the end of the base's run
(its state folder), so that weights with large old gradients move little; a shipped base has none. Rows that the
embedding has grown begin with moments of 0. Long re-warming: Gupta et al., 2023. Cost: none.

Defaults: 200 steps, the stretch in which the study saw nearly all of the damage; the schedule's own rate.
"""

from __future__ import annotations

import torch
from pydantic import Field

from atlantis.errors import UserError
from atlantis.fields import Positive, StrategySettings
from atlantis.strategies.common.base_state import base_state
from atlantis.strategies.common.strategy import Strategy


class EarlySteps(Strategy):
    """A gentle start."""

    class Settings(StrategySettings):
        name: str = "early"
        warmup_steps: Positive = Field(default=200, description="in which the rate rises")
        factor: float = Field(default=1.0, gt=0, le=1, description="of the schedule's rate")
        moments: bool = Field(default=False, description="go on with the moments of the base's run")

    settings: Settings

    def begin(self, optimizer: torch.optim.Optimizer) -> None:
        if not self.settings.moments:
            return
        state = base_state(self.context)
        if not any(key.startswith("optimizer.exp_avg.") for key in state):
            raise UserError(
                f"strategy.moments: the base {self.context.checkpoint} has no state with AdamW's moments beside it; "
                "train the base yourself, or leave moments out"
            )
        names = {parameter: name for name, parameter in self.context.model.named_parameters()}
        for parameter in (parameter for group in optimizer.param_groups for parameter in group["params"]):
            name = names.get(parameter)
            if f"optimizer.step.{name}" not in state:
                raise UserError(
                    f"strategy.moments: the base {self.context.checkpoint} has no moments of {name or 'the weights'} "
                    "that are trained here, because a strategy chose what was trained; leave moments out"
                )
            moments = {"step": state[f"optimizer.step.{name}"]}
            for key in ("exp_avg", "exp_avg_sq"):
                moments[key] = torch.zeros_like(parameter)
                moments[key][: len(state[f"optimizer.{key}.{name}"])] = state[f"optimizer.{key}.{name}"]
            optimizer.state[parameter] = {key: value.to(parameter.device) for key, value in moments.items()}

    def rate(self, rate: float) -> float:
        # From 1: at a rate of 0 the first step would be none.
        return self.settings.factor * rate * min(1.0, (self.step + 1) / self.settings.warmup_steps)
