"""Which questions a model is asked, and the folders they are kept in."""

from atlantis.data.dataset import Dataset, overlaps
from atlantis.names import SLICES

__all__ = ["SLICES", "Dataset", "overlaps"]
