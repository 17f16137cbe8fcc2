"""`train` on a GPU: our engine by default (bfloat16, compiled) against Trainer with bf16, and the GPU's ceilings."""

from __future__ import annotations

from typing import Any

import torch

from checks.benchmarks.common import Options
from checks.benchmarks.train import compare


def run(options: Options) -> dict[str, Any] | None:
    """None where there is no GPU: then there is no record either."""
    return compare(options, "cuda") if torch.cuda.is_available() else None
