"""The model: a small Qwen2. Tokens in, logits out, and the loss.

This is the whole model as on a blackboard, and `training.compile=no` trains with exactly this. What trains by default
gives the same logits and gradients with less work and stands in `model/fast/`; tests hold every fast form to this one,
and this one to transformers' Qwen2.

- Blocks are pre-norm: attention and a gated MLP, each added to the states (as Qwen2 has it).
- Positions enter as rotations of queries and keys, so there are no weights for them.
- Query, key and value are one matrix, and so are gate and up.
- The vocabulary read may be larger than the one answered in: a city may be a token, but an answer is spelled.

Rows are padded on the right. A causal model never looks right, so that padding needs no mask.

Shapes: B rows, T tokens of a row, D width, H heads, K head width, O output symbols.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from atlantis.data.rows import Batch
from atlantis.vocabulary import PAD

RMS_EPS = 1e-6


class RMSNorm(nn.Module):
    """Root-mean-square norm (Zhang and Sennrich, 2019), as Qwen2 has it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows D"]:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + RMS_EPS) * self.weight


def rotary_table(
    length: int, head_width: int, theta: float, device: torch.device
) -> tuple[Float[Tensor, "T K"], Float[Tensor, "T K"]]:
    """cos and sin of the rotary embedding (Su et al., 2021) at each position, halves as in Qwen2."""
    frequency = 1.0 / theta ** (torch.arange(0, head_width, 2, device=device, dtype=torch.float32) / head_width)
    angle = torch.outer(torch.arange(length, device=device, dtype=torch.float32), frequency)
    angle = torch.cat([angle, angle], dim=-1)
    return angle.cos(), angle.sin()


def rotate(
    x: Float[Tensor, "*rows T H K"], cos: Float[Tensor, "*#rows T 1 K"], sin: Float[Tensor, "*#rows T 1 K"]
) -> Float[Tensor, "*rows T H K"]:
    """Queries or keys turned by the angles of their positions."""
    left, right = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-right, left], dim=-1) * sin


def attend(
    q: Float[Tensor, "B T H K"],
    k: Float[Tensor, "B S H K"],
    v: Float[Tensor, "B S H K"],
    mask: Bool[Tensor, "*mask T S"],
) -> Float[Tensor, "B T H K"]:
    """Values mixed by how well each query fits the keys; `mask` is true where a query may look."""
    mixed = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=mask)
    return mixed.transpose(1, 2)


class Block(nn.Module):
    """Attention, then a gated MLP."""

    def __init__(self, width: int, n_heads: int, mlp_width: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norm1 = RMSNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width, bias=False)
        self.norm2 = RMSNorm(width)
        self.gate_up = nn.Linear(width, 2 * mlp_width, bias=False)
        self.down = nn.Linear(mlp_width, width, bias=False)

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        cos: Float[Tensor, "T 1 K"],
        sin: Float[Tensor, "T 1 K"],
        mask: Bool[Tensor, "T T"],
    ) -> Float[Tensor, "B T D"]:
        q, k, v = self.heads(x, cos, sin)
        return self.finish(x, attend(q, k, v, mask))

    def heads(
        self, x: Float[Tensor, "*rows T D"], cos: Float[Tensor, "T 1 K"], sin: Float[Tensor, "T 1 K"]
    ) -> tuple[Float[Tensor, "*rows T H K"], Float[Tensor, "*rows T H K"], Float[Tensor, "*rows T H K"]]:
        """Rotated queries and keys, and values."""
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.n_heads, -1)).unbind(-3)
        return rotate(q, cos, sin), rotate(k, cos, sin), v

    def finish(self, x: Float[Tensor, "*rows T D"], mixed: Float[Tensor, "*rows T H K"]) -> Float[Tensor, "*rows T D"]:
        """The states with the attention's output added, and then the MLP's."""
        x = x + self.out(mixed.flatten(-2))
        gate, up = self.gate_up(self.norm2(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)


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
        self.n_heads, self.mlp_width, self.rope_theta = n_heads, mlp_width, rope_theta
        self.embedding = nn.Embedding(n_inputs, width)
        self.blocks = nn.ModuleList(Block(width, n_heads, mlp_width) for _ in range(n_layers))
        self.norm = RMSNorm(width)
        self.unembedding = nn.Linear(width, n_outputs, bias=False)
        self.set_context(context)

    context: int
    cos: Tensor
    sin: Tensor
    causal: Tensor

    def set_context(self, context: int) -> None:
        """Take sequences of up to `context` tokens; positions have no weights, so the model remains the same."""
        head, device = self.embedding.embedding_dim // self.n_heads, self.embedding.weight.device
        cos, sin = rotary_table(context, head, self.rope_theta, device)
        self.context = context
        self.register_buffer("cos", cos[:, None], persistent=False)  # (context, 1, K): broadcasts over the heads
        self.register_buffer("sin", sin[:, None], persistent=False)
        self.register_buffer(
            "causal", torch.ones(context, context, dtype=torch.bool, device=device).tril(), persistent=False
        )

    def forward(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T O"]:
        """Logits of the token after each."""
        (x,) = self.hidden_states(tokens, [len(self.blocks) - 1])
        return self.logits(x)

    def hidden_states(self, tokens: Int[Tensor, "B T"], layers: Sequence[int]) -> list[Float[Tensor, "B T D"]]:
        """Outputs of the named blocks (counted from 0); -1 names the embedding.

        Block i's output is `hidden_states[i + 1]` in transformers (the last one before the final norm). Nothing past
        the last named block is computed.
        """
        length = tokens.shape[1]
        cos, sin, mask = self.cos[:length], self.sin[:length], self.causal[:length, :length]
        x = self.embedding(tokens)
        outputs = {-1: x}
        for i, block in enumerate(self.layers[: max(layers) + 1]):
            outputs[i] = x = block(x, cos, sin, mask)
        return [outputs[i] for i in layers]

    def logits(self, hidden: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows O"]:
        """Logits over the output symbols, of the last block's output."""
        return self.unembedding(self.norm(hidden))

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


def answer_logits(model: Transformer, batch: Batch) -> Float[Tensor, "B C O"]:
    """Logits at the positions of a batch that predict its targets: those of whole rows, and most of them dropped."""
    logits = model(batch.whole())
    at = len(batch.prefix) + batch.positions
    return logits.gather(1, at[..., None].expand(-1, -1, logits.shape[-1]))


def completion_loss(
    logits: Float[Tensor, "B C O"], targets: Int[Tensor, "B C"]
) -> tuple[Float[Tensor, ""], Int[Tensor, ""]]:
    """Sum of the cross-entropies (nats) of the answers' C tokens, and how many tokens these are.

    A target of `<pad>` is none.
    """
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=PAD, reduction="sum")
    return loss, (targets != PAD).sum()
