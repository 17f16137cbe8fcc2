"""Independent pieces of linear algebra side by side.

A probe solves many small systems. BLAS would share each of them out among its threads, which then wait for each other
at every step, and spin while they wait: on a busy machine, or beside PyTorch's own threads, that takes several times as
long as the work itself. So each piece gets one thread, and as many pieces run at once as BLAS would have had threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from threadpoolctl import threadpool_info, threadpool_limits

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """`[work(item) for item in items]`, in threads; the results do not depend on how many."""
    n_threads = max((pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"), default=1)
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(n_threads) as threads:
        return list(threads.map(work, items))
