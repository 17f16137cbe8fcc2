"""Pretraining and fine-tuning: one loop."""

from atlantis.training.loop import build_inputs, train

__all__ = ["build_inputs", "train"]
