"""The kernels of kernels.cpp, compiled once per machine and differentiable.

What a step does between its matrix products costs as much time as they do when every operation writes its result to
memory for the next one to read. These few functions do it in one pass each. They take and return tensors on the CPU,
float32 or, where it says so, bfloat16.

The file is compiled at first use with the C++ compiler found (about a second) and kept in the user's cache
folder, under a name made of the source, the compiler and the processor. Where there is no compiler, `library()` is None
and training goes on with PyTorch's operations alone.
"""

from __future__ import annotations

import ctypes
import functools
import platform
import shutil
import subprocess
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from atlantis import artifacts
from atlantis.home import cache_folder
from atlantis.progress import say


class Tree(NamedTuple):
    """N nodes, one for every distinct beginning among B rows of at most S tokens (tree.py grows it).

    token (N,), position (N,): what a node reads, and where. path (B, S): each row's nodes, -1 past its end; rows are
    sorted. first (B, S): the node where this row is the first to hold it, else -1. answer (B, S): the place of the node
    in `asked`, in the first row that holds it, else -1. asked (A,): the nodes whose final states are wanted.
    place (M,): for each question, in the order asked, the place of its node in `asked`.
    """

    token: Tensor
    position: Tensor
    path: Tensor
    first: Tensor
    answer: Tensor
    asked: Tensor
    place: Tensor


SOURCE = Path(__file__).with_name("kernels.cpp")
# Sums may be reordered, for vector instructions. Not -ffast-math: linked into a library it flushes subnormal numbers to
# zero in the whole process, and it takes NaN for impossible.
ARITHMETIC = ["-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-fassociative-math", "-freciprocal-math"]
FLAGS = ["-O3", "-march=native", *ARITHMETIC, "-fopenmp", "-shared", "-fPIC", "-std=c++17"]
LONGEST = 1024  # as in kernels.cpp


def compiler() -> str | None:
    """The C++ compiler of this machine, if it has one."""
    return next((found for name in ("g++", "clang++", "c++") if (found := shutil.which(name))), None)


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels; None, and a word about it, where they cannot be compiled."""
    slower = "training on the CPU goes on in plain PyTorch, at about half the speed"
    with_compiler = compiler()
    if with_compiler is None:
        say(f"no C++ compiler found (g++ or clang++): {slower}")
        return None
    key = sha256("\0".join([SOURCE.read_text(), with_compiler, *FLAGS, _processor()]).encode()).hexdigest()[:16]
    try:
        path = cache_folder() / f"kernels-{key}.so"
        if not path.is_file():
            _compile(with_compiler, path)
        return ctypes.CDLL(str(path))
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
        why = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
        say(f"the kernels could not be compiled ({why.strip().splitlines()[0][:120]}): {slower}")
        return None


def _compile(compiler: str, path: Path) -> None:
    """Compile aside, then rename: two processes may be at it."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / path.name
        subprocess.run([compiler, *FLAGS, "-o", str(made), str(SOURCE)], check=True, capture_output=True, text=True)
        artifacts.write_bytes(path, made.read_bytes())


def _processor() -> str:
    """What `-march=native` depends on: a cache in a home folder may be shared by different machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine() + platform.processor()
    return platform.machine() + next((line for line in lines if line.startswith(("flags", "Features"))), "")


def fast_bf16() -> bool:
    """Whether this processor has instructions for bfloat16 products (AMX, or AVX-512's), so that bf16 pays."""
    return not {"amx_bf16", "avx512_bf16"}.isdisjoint(_processor().split())


def _call(name: str, *arguments: Tensor | int | float | None) -> None:
    """Call a kernel: tensors by their address (None: 0), float as float, int as int64."""
    loaded = library()
    assert loaded is not None
    converted: list[Any] = []
    for a in arguments:
        if a is None or isinstance(a, Tensor):
            converted.append(ctypes.c_void_p(None if a is None else a.data_ptr()))
        else:
            converted.append(ctypes.c_float(a) if isinstance(a, float) else ctypes.c_int64(a))
    getattr(loaded, name)(*converted)


def _of(name: str, x: Tensor) -> str:
    """The kernel `name` for rows like x."""
    return f"{name}_bf16" if x.dtype == torch.bfloat16 else name


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """x (N, D) as it is, and divided by its root mean square and times weight (D,).

    Take the first where x goes on past the norm: the two gradients are then added in the same pass.
    """
    return _norm(x, None, weight, eps, torch.float32)


def add_rms_norm(x: Tensor, more: Tensor | None, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """As `rms_norm`, of x (N, D) + more (N, D); `more` and the norm's result are bfloat16, x and the sum are not."""
    return _norm(x, more, weight, eps, torch.bfloat16)


def _norm(x: Tensor, more: Tensor | None, weight: Tensor, eps: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    result = _RMSNorm.apply(x, more, weight, eps, dtype)
    assert isinstance(result, tuple)
    return result


def pick(x: Tensor, rows: Tensor) -> Tensor:
    """The rows (A,) of x (N, D), none of them twice."""
    return _apply(_Pick, x, rows)


def gated(x: Tensor) -> Tensor:
    """silu(gate) * up (N, M) of x (N, 2M), gate first (Shazeer, 2020)."""
    return _apply(_Gated, x)


def attention(qkv: Tensor, tree: Tree, query: Tensor, n_answers: int, cos: Tensor, sin: Tensor) -> Tensor:
    """Causal attention with rotary embedding over a tree: (n_answers, D) of qkv (N, 3D), which is overwritten.

    query (B, S) numbers the answers that are wanted; cos and sin are (positions, K).
    """
    assert tree.path.shape[1] <= LONGEST
    return _apply(_Attention, qkv, tree, query, n_answers, cos, sin)


def rotate(qkv: Tensor, position: Tensor, cos: Tensor, sin: Tensor, sign: float = 1.0) -> None:
    """Turn the queries and keys of qkv (N, 3D) in place by the rotary angles of `position` (N,); sign -1: back."""
    width = cos.shape[1]
    _call(_of("rotary", qkv), qkv, position, cos, sin, sign, len(qkv), qkv.shape[1] // 3 // width, width)


def attend(qkv: Tensor, path: Tensor, query: Tensor, n_answers: int, head_width: int) -> tuple[Tensor, Tensor]:
    """Attention without gradient, over keys that are turned already: (n_answers, D), and the scores' log-sum-exp."""
    n_heads = qkv.shape[1] // 3 // head_width
    out, log_sum = qkv.new_empty(n_answers, n_heads * head_width), torch.empty(n_answers, n_heads)
    _call(_of("attention", qkv), qkv, path, query, *path.shape, n_heads, head_width, out, log_sum)
    return out, log_sum


def _apply(function: type[torch.autograd.Function], *arguments: Any) -> Tensor:
    result = function.apply(*arguments)
    assert isinstance(result, Tensor)
    return result


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, more: Tensor | None, weight: Tensor, eps: float, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        y, inverse = torch.empty_like(x, dtype=dtype), x.new_empty(len(x))
        total = x.view_as(x) if more is None else torch.empty_like(x)
        _call(_of("rms_norm", y), x, more, weight, eps, *x.shape, total, y, inverse)
        ctx.save_for_backward(total, weight, inverse)
        ctx.has_more = more is not None
        return total, y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, inverse = ctx.saved_tensors
        dskip, dy = (g.contiguous() for g in grads)
        dx, dweight = torch.empty_like(x), torch.empty_like(weight)
        dmore = torch.empty_like(dy) if ctx.has_more else None
        _call(_of("rms_norm_backward", dy), dy, dskip, x, weight, inverse, *x.shape, dx, dmore, dweight)
        return dx, dmore, dweight, None, None


class _Pick(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.n = len(x)
        return x.index_select(0, rows)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        dx = grads[0].new_zeros(ctx.n, grads[0].shape[1])
        return dx.index_copy_(0, rows, grads[0]), None


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        n, width = x.shape[0], x.shape[1] // 2
        h = x.new_empty(n, width)
        _call(_of("gated", x), x, n, width, h)
        ctx.save_for_backward(x)
        return h

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        dx = torch.empty_like(x)
        _call(_of("gated_backward", x), grads[0].contiguous(), x, x.shape[0], x.shape[1] // 2, dx)
        return dx


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, tree: Tree, query: Tensor, n_answers: int, cos: Tensor, sin: Tensor) -> Tensor:
        rotate(qkv, tree.position, cos, sin)
        out, log_sum = attend(qkv, tree.path, query, n_answers, cos.shape[1])
        ctx.save_for_backward(qkv, out, log_sum, tree.path, query, tree.position, cos, sin)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        qkv, out, log_sum, path, query, position, cos, sin = ctx.saved_tensors
        dqkv = torch.zeros_like(qkv) if len(out) < len(qkv) else torch.empty_like(qkv)
        sizes = (*path.shape, log_sum.shape[1], cos.shape[1])
        slope = grads[0].contiguous()
        _call(_of("attention_backward", qkv), slope, out, log_sum, qkv, path, query, *sizes, dqkv)
        rotate(dqkv, position, cos, sin, -1.0)
        return dqkv, None, None, None, None, None
