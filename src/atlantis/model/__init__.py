"""The transformer and its folder on disk."""

from atlantis.model.folder import load_model, save_model
from atlantis.model.transformer import Transformer

__all__ = ["Transformer", "load_model", "save_model"]
