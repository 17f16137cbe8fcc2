"""The kernels of kernels.cpp, compiled once per machine and differentiable.

What a step does between its matrix products costs as much time as they do when every operation writes its result to
memory for the next one to read. These few functions do it in one pass each. They take and return tensors on the CPU,
float32 or, where it says so, bfloat16.

The file is compiled at first use with the C++ compiler found (about a second) and kept in the user's cache
folder, under a name made of the source, the compiler and the processor. Its SHA-256 lies beside it: a library that is
not as it was compiled, or that others could have put there, is compiled again before it is loaded. Where there is no
compiler, `library()` is None and training goes on with PyTorch's operations alone.
"""

from __future__ import annotations

import _ctypes
import ctypes
import functools
import os
import platform
import shutil
import subprocess
import tempfile
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from atlantis import artifacts
from atlantis.errors import UserError, in_a_line
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
LONGEST = 1024
"""Tokens of the longest row that attention takes, as in kernels.cpp."""
NAMES = tuple(
    name + end
    for name in ("rotary", *(name + way for name in ("rms_norm", "gated", "attention") for way in ("", "_backward")))
    for end in ("", "_bf16")
)
"""The functions of the library."""
COMPILING_S = 300.0
"""After so long a compiler is taken to hang; it usually takes a second or two."""


def compiler() -> str | None:
    """The C++ compiler of this machine, if it has one."""
    return next((path for name in ("g++", "clang++", "c++") if (path := shutil.which(name))), None)


_digest = ""  # of the library in use


class _Failed(Exception):
    """There is no library to be had; the message says why, in one line."""


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
        return _trusted(with_compiler, cache_folder() / f"kernels-{key}.so")
    except (_Failed, OSError, RuntimeError, UserError) as error:
        say(f"the kernels could not be compiled ({in_a_line(error)}): {slower}")
        return None


def _trusted(compiler: str, path: Path) -> ctypes.CDLL:
    """The library at `path`, compiled now if it is not there, or not as it was compiled. Raises _Failed."""
    if not _is_private(path.parent):
        say(f"{path.parent}: others can write there, so the kernels are compiled for this process alone")
        return _passing(_compile(compiler), path.name)
    if path.exists():
        try:
            return _loaded(path, _expected(path))
        except (_Failed, OSError) as error:
            say(f"{path}: {in_a_line(error)}; the kernels are compiled again")
            with suppress(OSError):
                _beside(path).unlink(missing_ok=True)
    data = _compile(compiler)
    try:
        return _kept(data, path)
    except OSError as error:  # a full disk, a quota, no permission
        say(f"{path.parent}: {error.strerror}, so the kernels are compiled for this process alone")
        return _passing(data, path.name)


def _passing(data: bytes, name: str) -> ctypes.CDLL:
    """A compiled library, loaded from a file that is removed at once."""
    with tempfile.TemporaryDirectory() as folder:
        return _kept(data, Path(folder) / name)


def _is_private(folder: Path) -> bool:
    """Whether only we, and the system, can write into the folder, which is made; our own is closed to others first."""
    artifacts.make_folders(folder)
    status = folder.stat()
    if status.st_uid == os.geteuid() and status.st_mode & 0o002:
        # As it is, but others may not write.
        folder.chmod(status.st_mode & 0o7775)
        return True
    return status.st_uid in (os.geteuid(), 0) and not status.st_mode & 0o002


def _beside(path: Path) -> Path:
    """The file with the SHA-256 of the library at `path`."""
    return path.with_suffix(".sha256")


def _expected(path: Path) -> str:
    """The SHA-256 with which the library at `path` was written. Raises _Failed where it cannot be believed."""
    for file in (path, _beside(path)):
        if not file.is_file():
            raise _Failed("has no SHA-256 beside it" if path.is_file() else "is not an ordinary file")
        if file.stat().st_uid not in (os.geteuid(), 0) or file.stat().st_mode & 0o002:
            raise _Failed(f"others could have written {file.name}")
    return _beside(path).read_text(errors="replace").strip()


def _kept(data: bytes, path: Path) -> ctypes.CDLL:
    """Write a compiled library, and its SHA-256 last, and load it. Raises _Failed if it cannot be loaded."""
    digest = sha256(data).hexdigest()
    for file, content in ((path, data), (_beside(path), f"{digest}\n".encode())):
        artifacts.write_bytes(file, content)
        file.chmod(0o644)  # whatever the umask
    try:
        return _loaded(path, digest)
    except (_Failed, OSError) as error:
        raise _Failed(f"the compiler made a library of no use: {in_a_line(error)}") from None


def _loaded(path: Path, expected: str) -> ctypes.CDLL:
    """The library with this SHA-256. Raises _Failed for another one or one without our functions, OSError for none."""
    global _digest
    _digest = sha256(path.read_bytes()).hexdigest()
    if _digest != expected:
        raise _Failed("has been changed since it was compiled")
    loaded = ctypes.CDLL(str(path))
    if missing := [name for name in NAMES if not hasattr(loaded, name)]:
        _ctypes.dlclose(loaded._handle)  # else the next library under this name would be this one again
        raise _Failed(f"has no function {missing[0]}")
    return loaded


def _compile(compiler: str) -> bytes:
    """The compiled library. Raises _Failed, with the compiler's first line if it has said anything."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "kernels.so"
        try:
            command = [compiler, *FLAGS, "-o", str(made), str(SOURCE)]
            done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=COMPILING_S)
        except subprocess.TimeoutExpired:
            raise _Failed(f"{compiler} was not done after {COMPILING_S:.0f} s") from None
        if done.returncode < 0:
            raise _Failed(f"{compiler} was ended by signal {-done.returncode}")
        if done.returncode:
            raise _Failed(_first_error(done.stderr) or f"{compiler} failed with exit code {done.returncode}")
        if not made.is_file():
            raise _Failed(f"{compiler} made no library")
        return made.read_bytes()


def _first_error(text: bytes) -> str:
    """What a compiler says first of what is wrong, without the place in our source; else its first line."""
    lines = text.decode("utf-8", errors="replace").strip().splitlines()
    errors = [line.partition("error: ")[2] for line in lines if "error: " in line]
    return next(iter([*errors, *lines]), "")


def takes(n_tokens: int) -> bool:
    """Whether the kernels can be used for rows of up to `n_tokens` tokens."""
    return n_tokens <= LONGEST and library() is not None


def library_digest() -> str:
    """12 hexadecimal characters of the SHA-256 of the kernels in use; "none" where there are none."""
    return "none" if library() is None else _digest[:12]


def processor_digest() -> str:
    """12 hexadecimal characters of the SHA-256 of this processor's kind and instructions."""
    return sha256(_processor().encode()).hexdigest()[:12]


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


def rms_norm(
    x: Float[Tensor, "N D"], weight: Float[Tensor, " D"], eps: float
) -> tuple[Float[Tensor, "N D"], Float[Tensor, "N D"]]:
    """x as it is, and divided by its root mean square and times weight.

    Take the first where x goes on past the norm: the two gradients are then added in the same pass.
    """
    return _norm(x, None, weight, eps, torch.float32)


def add_rms_norm(
    x: Float[Tensor, "N D"], more: Float[Tensor, "N D"] | None, weight: Float[Tensor, " D"], eps: float
) -> tuple[Float[Tensor, "N D"], Float[Tensor, "N D"]]:
    """As `rms_norm`, of x + more; `more` and the norm's result are bfloat16, x and the sum are not."""
    return _norm(x, more, weight, eps, torch.bfloat16)


def _norm(x: Tensor, more: Tensor | None, weight: Tensor, eps: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    result = _RMSNorm.apply(x, more, weight, eps, dtype)
    assert isinstance(result, tuple)
    return result


def pick(x: Float[Tensor, "N D"], rows: Int[Tensor, " A"]) -> Float[Tensor, "A D"]:
    """These rows of x, none of them twice."""
    return _apply(_Pick, x, rows)


def gated(x: Float[Tensor, "N G"]) -> Float[Tensor, "N G//2"]:
    """silu(gate) * up of x, gate first (Shazeer, 2020)."""
    return _apply(_Gated, x)


def attention(
    qkv: Float[Tensor, "N E"],
    tree: Tree,
    query: Int[Tensor, "B S"],
    n_answers: int,
    cos: Float[Tensor, "T K"],
    sin: Float[Tensor, "T K"],
) -> Float[Tensor, "{n_answers} E//3"]:
    """Causal attention with rotary embedding over a tree; qkv is overwritten.

    `query` numbers the answers that are wanted.
    """
    return _apply(_Attention, qkv, tree, query, n_answers, cos, sin)


def rotate(
    qkv: Float[Tensor, "N E"],
    position: Int[Tensor, " N"],
    cos: Float[Tensor, "T K"],
    sin: Float[Tensor, "T K"],
    sign: float = 1.0,
) -> None:
    """Turn the queries and keys of qkv in place by the rotary angles of `position`; sign -1: back."""
    width = cos.shape[1]
    _call(_of("rotary", qkv), qkv, position, cos, sin, sign, len(qkv), qkv.shape[1] // 3 // width, width)


def attend(
    qkv: Float[Tensor, "N E"], path: Int[Tensor, "B S"], query: Int[Tensor, "B S"], n_answers: int, head_width: int
) -> tuple[Float[Tensor, "{n_answers} E//3"], Float[Tensor, "{n_answers} H"]]:
    """Attention without gradient, over keys that are turned already, and the scores' log-sum-exp by head."""
    assert path.shape[1] <= LONGEST
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
