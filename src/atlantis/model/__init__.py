"""The transformer, its loss, and its folder on disk."""

from atlantis.model.folder import load_model, save_model
from atlantis.model.loss import completion_loss
from atlantis.model.transformer import Transformer

__all__ = ["Transformer", "completion_loss", "load_model", "save_model"]
