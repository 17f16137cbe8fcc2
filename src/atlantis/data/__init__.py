"""Which pairs of cities a model is asked about, and the folders they are kept in."""

from atlantis.data.dataset import Dataset, overlaps
from atlantis.data.draw import SLICES, Pairs

__all__ = ["SLICES", "Dataset", "Pairs", "overlaps"]
