"""The device of a run, and how its memory is kept."""

from __future__ import annotations

import contextlib
import ctypes

import torch

from atlantis.errors import UserError
from atlantis.training import ranks

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h


def choose_device(name: str) -> torch.device:
    """The device of `training.device`; UserError if it is not there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("training.device: cuda was asked for, but PyTorch sees no GPU; use cpu or auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return ranks.own_gpu() if name == "cuda" and ranks.n_ranks() > 1 else torch.device(name)


def keep_freed_memory() -> None:
    """Have glibc keep what is freed: else every large tensor is mapped anew, and page faults cost a third of a step."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return
    mallopt(M_MMAP_THRESHOLD, 32 << 20)  # the most it takes
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def release_freed_memory() -> None:
    """Give back what glibc keeps and nobody uses; the next step maps what it needs anew, for once.

    Every batch has tensors of other sizes, and what is freed of them falls into pieces: without this a run holds some
    4 MB more after every step in its beginning, and 11 GB after 39,080.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
