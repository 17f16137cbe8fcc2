"""Independent pieces of linear algebra side by side.

A probe solves many small systems. BLAS would share each of them out among its threads, which then wait for each other
at every step, and spin while they wait: on a busy machine, or beside PyTorch's own threads, that takes several times as
long as the work itself. So each piece gets one thread of BLAS and of PyTorch, and as many pieces run at once as BLAS
would have had threads. A piece may be made of pieces: these share the threads that are left over for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import nullcontext
from typing import TypeVar

import torch
from threadpoolctl import ThreadpoolController

from atlantis import limits, signals

Item = TypeVar("Item")
Result = TypeVar("Result")

_piece = threading.local()
"""In a thread that carries out a piece: `n_threads` and `stop` (nobody waits any more) for its own pieces.

`libraries`: those with threads, found once by the outermost call, since finding them takes as long as a small piece. A
library that is loaded later is not limited.
"""


def side_by_side(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """`[work(item) for item in items]`, in threads; the results do not depend on how many."""
    return list(as_they_come(work, items))


def as_they_come(work: Callable[[Item], Result], items: Iterable[Item], most: int | None = None) -> Iterator[Result]:
    """The results of `side_by_side` in the items' order, each as soon as it is there; at most `most` pieces at once.

    After an error, or a signal, pieces that have begun end at their next own piece; nobody waits for them.
    """
    signals.leave_if_ending()
    items = list(items)
    of_piece = getattr(_piece, "n_threads", None)
    libraries: ThreadpoolController = _piece.libraries if of_piece else ThreadpoolController()
    n_threads = of_piece or _blas_threads(libraries)
    at_once = max(1, min(n_threads, len(items), most or n_threads))
    stop: threading.Event = _piece.stop if of_piece else threading.Event()

    def do_piece(item: Item) -> Result:
        if stop.is_set():
            raise CancelledError
        return work(item)

    if of_piece and at_once == 1:
        yield from map(do_piece, items)
        return
    n_torch = torch.get_num_threads()

    def begin() -> None:
        _piece.n_threads, _piece.stop, _piece.libraries = max(1, n_threads // at_once), stop, libraries
        libraries.limit(limits=1, user_api="openmp")  # of this thread alone
        torch.set_num_threads(1)

    with nullcontext() if of_piece else libraries.limit(limits=1, user_api="blas"):
        threads = ThreadPoolExecutor(at_once, initializer=begin)
        try:
            yield from threads.map(do_piece, items)
        except BaseException:
            if not of_piece:
                stop.set()
            raise
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
            torch.set_num_threads(n_torch)  # what threads that come later begin with


def _blas_threads(libraries: ThreadpoolController) -> int:
    pools = [pool["num_threads"] for pool in libraries.info() if pool["user_api"] == "blas"]
    return min(max(pools, default=0) or torch.get_num_threads(), limits.cpus())
