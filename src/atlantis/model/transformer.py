"""Qwen2's architecture, small, written for rows that share their first tokens.

Why not the class of transformers: every prompt begins with the same constant tokens (`<bos>dist(c_`), and only the
completion needs logits. Here the constant prefix is computed once per batch and its keys and values are shared by
all rows (the gradient flows through them, so nothing is approximated), and the last block works on the completion
positions only. Logits and gradients equal those of transformers' Qwen2 (a test holds that to 1e-5).

Rows are right-padded. A causal model never looks right, so padding needs no mask.

Shapes:  B rows, T tokens of a row after the prefix, P tokens of the prefix, D width, H heads, K head width,
C completion positions, V input symbols, O output symbols.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

RMS_EPS = 1e-6

Cache = list[tuple[Tensor, Tensor]]
"""Rotated keys, and values, of whole rows, each (B, T, H, K): one pair per block, from the first."""


class RMSNorm(nn.Module):
    """Root-mean-square norm (Zhang and Sennrich, 2019), as Qwen2 has it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + RMS_EPS) * self.weight


def rotary_table(length: int, head_width: int, theta: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """cos and sin of the rotary embedding (Su et al., 2021), each (length, head_width), halves as in Qwen2."""
    frequency = 1.0 / theta ** (torch.arange(0, head_width, 2, device=device, dtype=torch.float32) / head_width)
    angle = torch.outer(torch.arange(length, device=device, dtype=torch.float32), frequency)
    angle = torch.cat([angle, angle], dim=-1)
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply the rotary embedding to x (..., T, H, K) with cos, sin (..., T, 1, K)."""
    left, right = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-right, left], dim=-1) * sin


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Attention of q (B, T, H, K) over k, v (B, S, H, K); mask (..., T, S) is true where a query may look."""
    mixed = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=mask)
    return mixed.transpose(1, 2)


def attend_shared(q: Tensor, k: Tensor, v: Tensor, pk: Tensor, pv: Tensor, mask: Tensor) -> Tensor:
    """As `attend`, over the prefix's pk, pv (P, H, K), which every query sees, and then the rows' own keys."""
    n_rows, n = q.shape[0], pk.shape[0]
    k = torch.cat([pk.expand(n_rows, -1, -1, -1), k], dim=1)
    v = torch.cat([pv.expand(n_rows, -1, -1, -1), v], dim=1)
    return attend(q, k, v, F.pad(mask, (n, 0), value=True))


class Block(nn.Module):
    """Attention and gated MLP, pre-norm. Query, key and value are one matrix here, and so are gate and up."""

    def __init__(self, width: int, n_heads: int, mlp_width: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norm1 = RMSNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width, bias=False)
        self.norm2 = RMSNorm(width)
        self.gate_up = nn.Linear(width, 2 * mlp_width, bias=False)
        self.down = nn.Linear(mlp_width, width, bias=False)

    def heads(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries and keys, and values, each (..., T, H, K), of x (..., T, D)."""
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.n_heads, -1)).unbind(-3)
        return rotate(q, cos, sin), rotate(k, cos, sin), v

    def finish(self, x: Tensor, mixed: Tensor) -> Tensor:
        """Add the attention's output `mixed` (..., T, H, K) and the MLP's to x (..., T, D)."""
        x = x + self.out(mixed.flatten(-2))
        gate, up = self.gate_up(self.norm2(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)

    def forward(self, p: Tensor, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The next states of the prefix p (P, D) and of the rows x (B, T, D)."""
        n, length = p.shape[0], x.shape[1]
        pq, pk, pv = self.heads(p, cos[:n], sin[:n])
        q, k, v = self.heads(x, cos[n:], sin[n:])
        p = self.finish(p, attend(pq[None], pk[None], pv[None], mask[:n, :n])[0])
        return p, self.finish(x, attend_shared(q, k, v, pk, pv, mask[:length, :length]))

    def at(self, p: Tensor, x: Tensor, cos: Tensor, sin: Tensor, positions: Tensor) -> Tensor:
        """The next states (B, C, D) of the rows x (B, T, D) at `positions` (B, C) only.

        Rows are picked by a product with a 0/1 matrix: its gradient is a product too, where that of indexing would
        add in an order that changes from run to run.
        """
        n, length, width = p.shape[0], x.shape[1], x.shape[2]
        column = torch.arange(length, device=x.device)
        picked = torch.bmm((column == positions[..., None]).to(x.dtype), x)  # (B, C, D)
        weight, bias = self.qkv.weight, self.qkv.bias
        q = F.linear(self.norm1(picked), weight[:width], bias[:width]).unflatten(-1, (self.n_heads, -1))
        q = rotate(q, cos[n + positions], sin[n + positions])
        k, v = self.keys_and_values(x, cos[n:], sin[n:])
        pk, pv = self.keys_and_values(p, cos[:n], sin[:n])
        return self.finish(picked, attend_shared(q, k, v, pk, pv, (column <= positions[..., None])[:, None]))

    def compile_at(self) -> None:
        """Compile `at`, as `compile()` does with `forward`."""
        self.at = torch.compile(self.at, fullgraph=True, dynamic=False)

    def forget_compilation(self) -> None:
        """Back to eager."""
        self._compiled_call_impl = None
        self.__dict__.pop("at", None)

    def keys_and_values(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        """Rotated keys, and values, each (..., T, H, K), of x (..., T, D)."""
        width = x.shape[-1]
        kv = F.linear(self.norm1(x), self.qkv.weight[width:], self.qkv.bias[width:])
        k, v = kv.unflatten(-1, (2, self.n_heads, -1)).unbind(-3)
        return rotate(k, cos, sin), v


class Transformer(nn.Module):
    """A causal language model over a small vocabulary.

    Args:
        n_inputs: symbols that can be read (rows of the embedding).
        n_outputs: symbols that can be answered (rows of the output layer); the first of the inputs.
        width, n_layers, n_heads, mlp_width: sizes; rope_theta: the rotary embedding's base.
        context: longest sequence.
    """

    def __init__(
        self,
        n_inputs: int,
        n_outputs: int,
        *,
        width: int = 128,
        n_layers: int = 6,
        n_heads: int = 4,
        mlp_width: int = 512,
        rope_theta: float = 10_000.0,
        context: int = 32,
    ) -> None:
        super().__init__()
        self.n_heads, self.mlp_width, self.rope_theta, self.context = n_heads, mlp_width, rope_theta, context
        self.embedding = nn.Embedding(n_inputs, width)
        self.blocks = nn.ModuleList(Block(width, n_heads, mlp_width) for _ in range(n_layers))
        self.norm = RMSNorm(width)
        self.unembedding = nn.Linear(width, n_outputs, bias=False)
        cos, sin = rotary_table(context, width // n_heads, rope_theta, torch.device("cpu"))
        self.register_buffer("cos", cos[:, None], persistent=False)  # (context, 1, K): broadcasts over the heads
        self.register_buffer("sin", sin[:, None], persistent=False)
        self.register_buffer("causal", torch.ones(context, context, dtype=torch.bool).tril(), persistent=False)

    cos: Tensor
    sin: Tensor
    causal: Tensor

    @property
    def layers(self) -> list[Block]:
        """The blocks, first to last."""
        return [block for block in self.blocks if isinstance(block, Block)]

    @property
    def width(self) -> int:
        return self.embedding.embedding_dim

    def initialise(self, std: float, generator: torch.Generator) -> None:
        """Draw linear and embedding weights from N(0, std); biases 0, norms 1 (Qwen2's own scheme)."""
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if parameter.ndim == 2:
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
                else:
                    parameter.fill_(0.0 if name.endswith("bias") else 1.0)

    def hidden_states(self, tokens: Tensor, layers: Sequence[int]) -> list[Tensor]:
        """Outputs of the named blocks (counted from 0), each (B, T, D), for whole rows `tokens` (B, T).

        Block i's output is `hidden_states[i + 1]` in transformers (the last one before the final norm). -1 names
        the embedding. Nothing past the last named block is computed.
        """
        return self.extend(tokens, layers)[0]

    def extend(
        self, tokens: Tensor, layers: Sequence[int], cache: Cache | None = None, rows: Tensor | None = None
    ) -> tuple[list[Tensor], Cache]:
        """`hidden_states` of rows `tokens` (B, T) that go on where the rows of `cache` end, and their own cache.

        Row b continues row `rows[b]` of the cache; without `rows`, row b.
        """
        n, length = cache[0][0].shape[1] if cache else 0, tokens.shape[1]
        cos, sin = self.cos[n : n + length], self.sin[n : n + length]
        mask = self.causal[n : n + length, : n + length]
        x = self.embedding(tokens)
        outputs, extended = {-1: x}, []
        for i, block in enumerate(self.layers[: max(layers) + 1]):
            q, k, v = block.heads(x, cos, sin)
            if cache:
                before = cache[i] if rows is None else (cache[i][0][rows], cache[i][1][rows])
                k, v = torch.cat([before[0], k], dim=1), torch.cat([before[1], v], dim=1)
            extended.append((k, v))
            outputs[i] = x = block.finish(x, attend(q, k, v, mask))
        return [outputs[i] for i in layers], extended

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits over the output symbols, (..., O), of the last block's output (..., D)."""
        return self.unembedding(self.norm(hidden))

    def forward(self, prefix: Tensor, tokens: Tensor, positions: Tensor) -> Tensor:
        """Logits (B, C, O) at `positions` (B, C), columns of `tokens` (B, T), whose rows all continue `prefix` (P,)."""
        p, x = self.embedding(prefix), self.embedding(tokens)
        p, x = self.run_blocks(p, x, range(len(self.blocks) - 1))
        return self.last_block(p, x, positions)

    def run_blocks(self, p: Tensor, x: Tensor, blocks: range) -> tuple[Tensor, Tensor]:
        """Carry the prefix's states p (P, D) and the rows' states x (B, T, D) through some of the blocks."""
        cos, sin, mask = self.tables(p, x)
        for i in blocks:
            p, x = self.layers[i](p, x, cos, sin, mask)
        return p, x

    def last_block(self, p: Tensor, x: Tensor, positions: Tensor) -> Tensor:
        """Logits (B, C, O) at `positions` (B, C) from the last block's inputs; it attends to all of them."""
        cos, sin, _ = self.tables(p, x)
        return self.unembedding(self.norm(self.layers[-1].at(p, x, cos, sin, positions)))

    def tables(self, p: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """cos and sin (P + T, 1, K) and the causal mask (P + T, P + T) of a prefix p (P, D) and rows x (B, T, D)."""
        length = p.shape[0] + x.shape[1]
        return self.cos[:length], self.sin[:length], self.causal[:length, :length]
