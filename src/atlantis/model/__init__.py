"""The transformer, its loss and its folder on disk. `transformer.py` is the model; `fast/`, the same with less work."""

from atlantis.model.folder import load_model, save_model
from atlantis.model.transformer import Transformer, completion_loss

__all__ = ["Transformer", "completion_loss", "load_model", "save_model"]
