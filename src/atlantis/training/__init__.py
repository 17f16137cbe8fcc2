"""Pretraining and fine-tuning: one loop."""

from atlantis.training.loop import train

__all__ = ["train"]
