"""Pretraining and fine-tuning: one loop."""

from atlantis.training.loop import Interrupted, train

__all__ = ["Interrupted", "train"]
