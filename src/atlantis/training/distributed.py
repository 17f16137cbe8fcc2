"""A command in several processes, started by torchrun: rank 0 carries it out, the other ranks train along.

- Rank 0 alone reads and writes files, evaluates and speaks. For each run it sends the others an `Assignment`; they hold
  no more than that, so that nothing need be shared between machines but the network.
- All ranks end with the exit code of the one that ended first, which it notes in torchrun's store. A rank that waits
  for one that has gone is woken by its closed connection (gloo), or ended by torchrun.
"""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn

import torch
from torch import distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from atlantis import signals
from atlantis.data.rows import Rows
from atlantis.errors import Interrupted
from atlantis.model.folder import new_model, qwen2_config
from atlantis.settings import TrainingConfig
from atlantis.training import memory, ranks
from atlantis.training.device import choose_device
from atlantis.training.order import Order
from atlantis.training.schedule import learning_rate
from atlantis.training.step import Engine, NotFinite

PATIENCE = timedelta(days=365)  # rank 0 may evaluate for hours; it is torchrun that notices a process that has died
GRACE_S = 5.0
EXIT_CODE, SPEAKER = "exit code", "speaker"


@dataclass
class Assignment:
    """All that a rank needs to train along, from `step` (of `total`) on; it gets the weights when it joins."""

    settings: TrainingConfig
    sizes: dict[str, Any]
    optimizer: dict[str, Any]
    scaling: dict[str, torch.Tensor] | None
    rows: Rows
    order: Order
    step: int
    total: int


def together(command: Callable[[], int], explain: Callable[[Exception], int]) -> NoReturn:
    """Carry out `command` on rank 0 while the others train along; ends the process, every rank with its exit code.

    `explain` says what a rank's own error was, and gives its exit code.
    """
    gpus = torch.cuda.is_available() and dist.is_nccl_available()
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    backend = "cpu:gloo,cuda:nccl" if gpus else "gloo"
    dist.init_process_group(backend, timeout=PATIENCE, store=_store(), rank=rank, world_size=size)
    if rank > 0:
        _exit_with(_follow(explain))
    _ignore_sigterm()  # except where the command has its own way with it
    _exit_with(_lead(command, explain))


def _exit_with(code: int) -> NoReturn:
    """End the process without taking the interpreter down.

    DistributedDataParallel keeps a group's threads running, even after `destroy_process_group`. One that releases a
    tensor asks for the lock of an interpreter that is gone, and the process ends by SIGABRT (seen under gloo;
    pytorch/pytorch#179291). Files, trackers and the group have been closed by now.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


class _End(BaseException):
    """An error that ends the command whatever else it would go on with: the ranks have lost each other."""

    def __init__(self, error: Exception) -> None:
        self.error = error


@contextmanager
def joined(engine: Engine, rows: Rows, order: Order, step: int, total: int) -> Iterator[None]:
    """Rank 0, around its loop: the others train along. An error ends all, unless it is a stop that all agree on."""
    if ranks.n_ranks() == 1:
        yield
        return
    try:
        optimizer = engine.optimizer.state_dict()
        scaling = None if engine.scaling is None else engine.scaling.state
        sizes = qwen2_config(engine.model)
        _send(Assignment(engine.training, sizes, optimizer, scaling, rows, order, step, total))
        engine.join()
        yield
    except (Interrupted, NotFinite):
        raise
    except Exception as error:
        _ignore_sigterm()
        raise _End(error) from None


def _lead(command: Callable[[], int], explain: Callable[[Exception], int]) -> int:
    try:
        code = command()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except _End as end:
        code = _last_words(end.error, explain)
    code = int(_store().compare_set(EXIT_CODE, "", str(code)))  # another rank's, if it was first
    if code == 0:
        _send(None)
        dist.destroy_process_group()
    return code


def _last_words(error: Exception, explain: Callable[[Exception], int]) -> int:
    """Rank 0's exit code: another rank's, which has said why it failed; else that of its own error."""
    store = _store()
    if isinstance(error, RuntimeError) and store.check([EXIT_CODE]):
        return int(store.get(EXIT_CODE))
    if isinstance(error, RuntimeError) and "by peer" in str(error):
        error = ChildProcessError(
            "another process of this run has died without a word (killed, perhaps for its memory); start all of them "
            "again with --resume"
        )
    return explain(error)


def _follow(explain: Callable[[Exception], int]) -> int:
    received: list[int] = []
    for signum in signals.counting():
        signal.signal(signum, lambda number, frame: received.append(number))
    try:
        with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
            while (assignment := _receive()) is not None:
                _train_along(assignment, received)
        dist.destroy_process_group()
        return 0
    except Exception as error:
        return _leave(error, explain)
    finally:
        _ignore_sigterm()


def _ignore_sigterm() -> None:
    """As soon as one rank has failed torchrun ends the others; each is to leave with its message and exit code."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _leave(error: Exception, explain: Callable[[Exception], int]) -> int:
    """The exit code of a rank that cannot go on. If rank 0 has not ended, this is why, and one rank says so."""
    store, rank, deadline = _store(), str(dist.get_rank()), time.monotonic() + GRACE_S
    while not store.check([EXIT_CODE]) and time.monotonic() < deadline:
        time.sleep(0.1)
    if not store.check([EXIT_CODE]) and store.compare_set(SPEAKER, "", rank).decode() == rank:
        store.set(EXIT_CODE, str(explain(error)))
    return int(store.get(EXIT_CODE))


def _train_along(assignment: Assignment, received: list[int]) -> None:
    """The steps of rank 0's loop, until the end of the run or a stop that all agree on."""
    settings = assignment.settings
    engine = Engine(new_model(assignment.sizes), settings, choose_device(settings.device))
    engine.optimizer.load_state_dict(assignment.optimizer)
    if engine.scaling is not None and assignment.scaling is not None:  # all ranks divide by one scale
        engine.scaling.restore(assignment.scaling)
    engine.join()
    for step in range(assignment.step, assignment.total):
        if ranks.any_signal(received):
            received.clear()
            return
        batch = assignment.rows.batch(torch.as_tensor(assignment.order.rows(step), device=engine.device))
        try:
            with memory.explained(engine, batch):
                engine.step(batch, learning_rate(settings, step, assignment.total))
        except NotFinite:  # on all ranks at once; rank 0 says so
            return


def _send(assignment: Assignment | None) -> None:
    data = io.BytesIO()
    torch.save(assignment, data)
    dist.broadcast_object_list([data.getvalue()], src=0, device=torch.device("cpu"))


def _receive() -> Assignment | None:
    data: list[Any] = [None]
    dist.broadcast_object_list(data, src=0, device=torch.device("cpu"))
    device = {"cuda:0": f"cuda:{os.environ['LOCAL_RANK']}"}
    sent = io.BytesIO(data[0])  # from our own rank 0, not from a file
    return torch.load(sent, map_location=device, weights_only=False)


def _store() -> Store:
    """A new connection to torchrun's store, which outlives the ranks; a restart of them all has its own names in it."""
    store, _, _ = next(rendezvous("env://"))
    return PrefixStore(f"atlantis {os.environ['TORCHELASTIC_RESTART_COUNT']}", store)
