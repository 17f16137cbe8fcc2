"""L2-SP: a pull of every weight back to where it started (Li, Grandvalet and Davoine, 2018).

    penalty = weight / 2 * ||theta - base||^2

All weights are held, norms, biases and embedding among them. With the city vocabulary the rows of new cities are held
too, at the random numbers that they begin with; the paper pulls what the base lacks to zero. In the paper the penalty
takes the place of weight decay, under SGD. Here AdamW's decay stays on beside it, and the penalty's gradient is
rescaled as all gradients are: `common/anchor.py` says what that means. So the weight is not the paper's alpha, and 0.1
(the paper searches 1e-3 to 1) is a place to start tuning from.

Cost: one pass over the weights per step, and a copy of the base.
"""

from __future__ import annotations

from pydantic import Field

from atlantis.strategies.common.anchor import Anchor


class L2SP(Anchor):
    """The same pull for every weight."""

    class Settings(Anchor.Settings):
        name: str = "l2sp"
        weight: float = Field(default=0.1, gt=0, description="of the penalty")
