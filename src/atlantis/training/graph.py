"""Steps of a run on a GPU as one CUDA graph.

A step of this model is some two hundred kernels of a few microseconds; to start them one by one takes Python several
times as long. So a whole step, from the choice of rows to AdamW, is recorded once and replayed. What changes from step
to step lies on the GPU: row numbers, learning rates, and a counter. Losses come back once for many steps.

A loss or gradient that is no number stops all updates from that step on (AdamW's `found_inf`), as a step in plain
PyTorch does; the host learns of it when the losses come back.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from atlantis.data.rows import Rows
from atlantis.errors import in_a_line, is_out_of_memory
from atlantis.model.fast.flat import Attention, FlatLoss
from atlantis.progress import say
from atlantis.training.step import Engine, NotFinite

STEPS = 100
"""Steps that are replayed before the host looks at their losses, at most."""

WARM_UP = 3

CLIP_EPS = 1e-6
"""As in `torch.nn.utils.clip_grad_norm_`."""


class StepGraph:
    """An engine's step on batches of `batch_size` rows, recorded. The engine has no strategy and is one of no ranks."""

    def __init__(self, engine: Engine, rows: Rows, batch_size: int, attention: Attention | None = None) -> None:
        if attention is None:
            from atlantis.model.fast.attention import SharedAttention  # not without Triton

            attention = SharedAttention.apply
        self.engine, self.rows = engine, rows
        device, model = engine.device, engine.model
        self.loss = FlatLoss(model, engine.dtype, attention, engine.compiled)
        self.chosen = torch.zeros(STEPS, batch_size, dtype=torch.long, device=device)
        self.rates = torch.zeros(STEPS, device=device)
        self.done = torch.zeros(1, dtype=torch.long, device=device)
        self.found = torch.zeros(2, STEPS, device=device)  # losses, norms of gradients
        self.bad = torch.ones((), device=device)  # the rehearsal must not change the weights
        self.rate = torch.zeros((), device=device)
        self.shrink = torch.ones((), device=device)  # what gradients are divided by
        for group in engine.optimizer.param_groups:
            group["capturable"], group["lr"] = True, self.rate
        self.left_out = self.bad if engine.scaling is None else torch.ones((), device=device)
        engine.optimizer.found_inf, engine.optimizer.grad_scale = self.left_out, self.shrink  # type: ignore[attr-defined]
        self._record()

    def _record(self) -> None:
        scaling = {} if self.engine.scaling is None else {k: v.clone() for k, v in self.engine.scaling.state.items()}
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            # What kernels compile and allocate on their first call cannot be recorded, so it happens here.
            for _ in range(WARM_UP):
                self._step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.stream(torch.cuda.current_stream()), torch.cuda.graph(graph):  # the first: if the second fails
            self._step()
        self.replay = graph.replay
        self.bad.zero_()
        if self.engine.scaling is not None:
            self.engine.scaling.restore(scaling)

    def _step(self) -> None:
        # By an index that lies on the GPU: a number from Python would be recorded once and replayed as it was.
        batch = self.rows.batch(self.chosen.index_select(0, self.done)[0])
        self.rate.copy_(self.rates.index_select(0, self.done)[0])
        total, count = self.loss.loss(batch)
        loss, scaling = total / count, self.engine.scaling
        self.loss.backward(loss if scaling is None else loss * scaling.scale)
        norm = nn.utils.get_total_norm(self.loss.gradients, foreach=True)
        if scaling is not None:
            norm = norm / scaling.scale
        shrink = torch.ones_like(norm)
        if (limit := self.engine.training.max_grad_norm) is not None:
            shrink = ((norm + CLIP_EPS) / limit).clamp(min=1.0)
        measured = torch.stack([loss.detach(), norm])
        self.found.index_copy_(1, self.done, measured[:, None])
        overflow = (~norm.isfinite()).float()
        if scaling is None:
            self.shrink.copy_(shrink)
            self.bad.copy_(torch.maximum(self.bad, (~measured.isfinite()).any().float()))
            self.engine.optimizer.step()
        else:  # a step that overflows is left out, and the ones after it are taken
            self.shrink.copy_(shrink * scaling.scale)
            self.bad.copy_(torch.maximum(self.bad, (~loss.isfinite()).float()))
            self.left_out.copy_(torch.maximum(self.bad, overflow))
            self.engine.optimizer.step()
            scaling.update(overflow)
        self.done += 1

    def run(self, chosen: np.ndarray, rates: np.ndarray) -> list[float]:
        """Losses of k steps (at most `STEPS`) on the rows `chosen` (k, B) with learning rates (k,).

        Raises NotFinite, with the losses of the steps before the first that failed; from that one on nothing changes.
        """
        k = len(chosen)
        self.chosen[:k].copy_(torch.from_numpy(chosen), non_blocking=True)
        self.rates[:k].copy_(torch.from_numpy(rates.astype(np.float32)), non_blocking=True)
        self.done.zero_()
        for _ in range(k):
            self.replay()
        losses, norms = self.found[:, :k].tolist()
        for i, (loss, norm) in enumerate(zip(losses, norms, strict=True)):
            if not math.isfinite(loss):
                raise NotFinite(f"the loss is {loss}", losses[:i])
            if not math.isfinite(norm) and self.engine.scaling is None:
                raise NotFinite(f"the gradient's norm is {norm} (the loss is {loss:.4f})", losses[:i])
        return losses


def recorded(engine: Engine, rows: Rows) -> StepGraph | None:
    """The recorded step; None, and a word about it, where that fails. Raises what says that memory ran out."""
    try:
        return StepGraph(engine, rows, engine.training.batch_size)
    except NotFinite:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        if isinstance(error.__context__, Exception) and is_out_of_memory(error.__context__):
            raise error.__context__ from None  # the end of the recording failed because of it
        say(f"the step cannot be recorded ({in_a_line(error)}): it is taken kernel by kernel")
        for group in engine.optimizer.param_groups:
            group["capturable"] = False
        engine.optimizer.found_inf = engine.optimizer.grad_scale = None  # type: ignore[attr-defined]
        return None


def takes(engine: Engine, rows: Rows) -> bool:
    """Whether the steps of this engine on these rows can be recorded: they need a beginning that is shared."""
    alone = engine.strategy is None and engine.parallel is None
    if engine.device.type != "cuda" or not engine.compiled or not alone or not len(rows.prefix):
        return False
    try:
        from atlantis.model.fast.attention import fits
    except ImportError:  # no Triton
        return False
    sizes = len(rows.prefix), rows.tokens.shape[1] - 1, engine.model.width, engine.model.n_heads
    return fits(*sizes)
