"""One run in several processes (ranks): what each of them computes, and how they agree.

Every rank takes its share of a step's batch; DistributedDataParallel averages the gradients, so that all ranks go
through the same weights. In a single process nothing here does anything.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from atlantis.data.rows import Batch
from atlantis.errors import UserError
from atlantis.settings import TrainingConfig


def n_ranks() -> int:
    """Processes that share the run."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def check_batch_size(settings: TrainingConfig) -> None:
    """UserError if a batch cannot be shared equally."""
    n, size = n_ranks(), settings.batch_size
    if size % n:
        below, above = size - size % n, size - size % n + n
        raise UserError(
            f"training.batch_size: {size} rows (of all processes together) cannot be shared equally by {n} processes; "
            f"use {f'{below} or ' if below else ''}{above}, or another --nproc-per-node"
        )


def own_gpu() -> torch.device:
    """The GPU of this rank; UserError if this machine has fewer GPUs than ranks."""
    here, n_gpus = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
    if here > n_gpus:
        raise UserError(
            f"--nproc-per-node: {here} processes were started, but PyTorch sees {n_gpus} GPUs here; start at most one "
            "for each, or set training.device=cpu"
        )
    return torch.device("cuda", int(os.environ["LOCAL_RANK"]))


def parallel(model: nn.Module, device: torch.device) -> nn.Module:
    """The module as all ranks train it; it starts from the weights of rank 0."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # broadcast_buffers has another name from PyTorch 2.13 on
        return DistributedDataParallel(
            model, device_ids=[device] if device.type == "cuda" else None, broadcast_buffers=False
        )


def exchange(network: nn.Module | None, now: bool) -> AbstractContextManager[None]:
    """Around a forward and backward pass: gradients add up on this rank until `now`, when the ranks exchange them."""
    return network.no_sync() if isinstance(network, DistributedDataParallel) and not now else nullcontext()


def share(batch: Batch) -> Batch:
    """This rank's rows (B / ranks of B) of a batch; fillers, at its end, are shared out too."""
    n = n_ranks()
    return batch if n == 1 else batch.select(slice(dist.get_rank(), None, n))


def mean(value: float) -> float:
    """The mean over all ranks: the same number on each, and no number if it is none on one."""
    if n_ranks() == 1:
        return value
    total = torch.tensor(value, dtype=torch.float64)
    dist.all_reduce(total)
    return total.item() / n_ranks()


def any_signal(received: Sequence[int]) -> int:
    """The signal that any rank has received, so that all stop after the same step; 0 for none."""
    number = received[0] if received else 0
    if n_ranks() == 1:
        return number
    signum = torch.tensor(number)
    dist.all_reduce(signum, dist.ReduceOp.MAX)
    return int(signum.item())
