"""What this machine can do: the fastest matrix product, the model's own ones, and copying memory."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from checks.benchmarks.common import Lap
from checks.benchmarks.count import Product


def ceiling(
    lap: Lap, products: list[Product], side: int, megabytes: int, device: str = "cpu", bf16: bool = False
) -> None:
    """A rival that finds, each round, flop/s of square products and of `products`, and bytes/s of a copy.

    Square products have `side` rows and columns. `products` are the weights' products of a training step, with both
    gradients. A copy reads and writes: it moves twice its `megabytes` (1e6 bytes).

    float32 on a CPU unless `bf16`, bfloat16 on a GPU.
    """
    dtype = torch.float32 if device == "cpu" and not bf16 else torch.bfloat16
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    square = torch.empty_like(a)
    source = torch.ones(megabytes * 1_000_000 // 4, device=device)
    copy = torch.empty_like(source)
    operands = [
        [torch.randn(rows, columns, device=device, dtype=dtype) for rows, columns in ((p.m, p.k), (p.k, p.n))]
        for p in products
    ]

    def own() -> None:
        for x, w in operands:
            y = x @ w
            _ = y @ w.T  # the gradient of x
            _ = x.T @ y  # the gradient of w

    def seconds_of(work: Callable[[], object], times: int) -> float:
        """Seconds of one `work`, the mean of `times` in a row."""
        synchronize(device)
        started = time.perf_counter()
        for _ in range(times):
            work()
        synchronize(device)
        return (time.perf_counter() - started) / times

    def measure(times: int) -> dict[str, float]:
        flops = sum(6 * p.m * p.k * p.n for p in products)
        return {
            "square": 2 * side**3 / seconds_of(lambda: torch.mm(a, b, out=square), times),
            "own": flops / seconds_of(own, 1),
            "copy": 8 * source.numel() / seconds_of(lambda: copy.copy_(source), times),
        }

    measure(1)
    lap()
    while True:
        lap(measure(5))


def weight_products(products: list[Product]) -> list[Product]:
    """The products with a weight, each once per time that it is done: all but attention and picking."""
    return [p for p in products if p.times == 1 and p.m > 1]


def synchronize(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()
