"""When a step does not fit in memory: find a batch that does, and name it."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

from atlantis.data.rows import Batch
from atlantis.errors import UserError, is_out_of_memory
from atlantis.training import ranks
from atlantis.training.step import Engine


@contextmanager
def explained(engine: Engine, batch: Batch) -> Iterator[None]:
    """Around a step on `batch`: running out of memory becomes a UserError that names a batch size that fits.

    The run ends with it; what it has on disk stays as it is. (A system that promises more memory than it has kills a
    process without an error; nothing can be said then.)
    """
    try:
        yield
        return
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # they hold the step's tensors
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
    n, size = ranks.n_ranks(), engine.training.batch_size
    fits = largest_that_fits(engine, ranks.share(batch)) * n
    advice = (
        f"a batch of {fits} does (tried: forward and backward pass). Use training.batch_size={fits} and another name="
        if fits
        else f"nor does a batch of {n}. Use a smaller model or another training.device, and another name="
    )
    raise UserError(f"training.batch_size: {size} does not fit in the memory of {engine.device}; {advice} ({reason})")


def largest_that_fits(engine: Engine, batch: Batch) -> int:
    """The first half, quarter, eighth, ... of `batch` whose forward and backward pass fit in memory: its rows, or 0.

    Tried eager and by this rank alone; the weights are not touched.
    """
    engine.parallel = None
    engine.optimizer.zero_grad(set_to_none=True)
    n = len(batch.tokens) // 2
    while n and not _fits(engine, batch.select(slice(n))):
        n //= 2
    return n


def _fits(engine: Engine, batch: Batch) -> bool:
    if engine.device.type == "cuda":
        torch.cuda.empty_cache()
    try:
        with torch.compiler.set_stance("force_eager") if engine.compiled else nullcontext():
            engine.backward(batch, torch.ones((), device=engine.device))
        return True
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)
        return False
    finally:
        engine.optimizer.zero_grad(set_to_none=True)
