"""What can be read off a checkpoint: answers to the task, hidden states, linear probes.

`open_source` opens any transformers folder with our tokens and gives its hidden states; `read` probes any array of
hidden states whose rows are places:

    from atlantis.readout import open_source, read

    states = open_source("my_llama", world).states(ids, layers=[1, 2])  # (n, positions, layers, width)
    reading = read(features, lon, lat, groups=continents)  # features (n, p), degrees (n,), one label per row
    reading.dynamics      # R2 and km, over all ("real") and per group, with 95 % intervals
    reading.predictions   # where the probe sees each place
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atlantis.readout.probes import Reading, read
    from atlantis.readout.source import open_source

__all__ = ["Reading", "open_source", "read"]

_HOMES = {"Reading": "probes", "open_source": "source", "read": "probes"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
