"""Pretraining and fine-tuning: one loop."""

from atlantis.training.extend import extend_run
from atlantis.training.inputs import build_inputs
from atlantis.training.loop import train

__all__ = ["build_inputs", "extend_run", "train"]
