"""A model as an ordinary transformers folder: `config.json` and `model.safetensors`, in Qwen2's names.

Qwen2 wants as many output rows as input rows. Ours answers with the 44 symbols only, also when the vocabulary has a
token per city; the rows that are missing are written as copies of `<pad>`'s, which is never an answer. So the logits
of the symbols are the same in transformers, and greedy decoding is too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from atlantis.errors import UserError
from atlantis.model.transformer import RMS_EPS, Transformer

BLOCK_NAMES = {
    "norm1.weight": "input_layernorm.weight",
    "out.weight": "self_attn.o_proj.weight",
    "norm2.weight": "post_attention_layernorm.weight",
    "down.weight": "mlp.down_proj.weight",
}
FUSED_NAMES = {
    "qkv.weight": ("self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"),
    "qkv.bias": ("self_attn.q_proj.bias", "self_attn.k_proj.bias", "self_attn.v_proj.bias"),
    "gate_up.weight": ("mlp.gate_proj.weight", "mlp.up_proj.weight"),
}


def to_qwen2(model: Transformer) -> dict[str, Tensor]:
    """The weights under transformers' names, in float32 on the CPU; every tensor owns its memory."""
    state = {name: value.detach().float().cpu() for name, value in model.state_dict().items()}
    head = state["unembedding.weight"]
    n_missing = model.embedding.num_embeddings - len(head)
    weights = {
        "model.embed_tokens.weight": state["embedding.weight"],
        "model.norm.weight": state["norm.weight"],
        "lm_head.weight": torch.cat([head, head[:1].expand(n_missing, -1)]),
    }
    for i in range(len(model.blocks)):
        for ours, theirs in BLOCK_NAMES.items():
            weights[f"model.layers.{i}.{theirs}"] = state[f"blocks.{i}.{ours}"]
        for ours, parts in FUSED_NAMES.items():
            for name, part in zip(parts, state[f"blocks.{i}.{ours}"].chunk(len(parts)), strict=True):
                weights[f"model.layers.{i}.{name}"] = part
    return {name: value.clone().contiguous() for name, value in weights.items()}


def from_qwen2(weights: dict[str, Tensor], n_layers: int, n_outputs: int) -> dict[str, Tensor]:
    """The inverse of `to_qwen2`: a state dict for `Transformer`. Raises KeyError for a weight that is missing."""
    state = {
        "embedding.weight": weights["model.embed_tokens.weight"],
        "norm.weight": weights["model.norm.weight"],
        "unembedding.weight": weights["lm_head.weight"][:n_outputs],
    }
    for i in range(n_layers):
        for ours, theirs in BLOCK_NAMES.items():
            state[f"blocks.{i}.{ours}"] = weights[f"model.layers.{i}.{theirs}"]
        for ours, parts in FUSED_NAMES.items():
            state[f"blocks.{i}.{ours}"] = torch.cat([weights[f"model.layers.{i}.{name}"] for name in parts])
    return {name: value.float() for name, value in state.items()}


def qwen2_config(model: Transformer) -> dict[str, Any]:
    """`config.json` of a transformers folder."""
    return {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "vocab_size": model.embedding.num_embeddings,
        "atlantis_n_outputs": model.unembedding.out_features,
        "hidden_size": model.width,
        "intermediate_size": model.mlp_width,
        "num_hidden_layers": len(model.blocks),
        "num_attention_heads": model.n_heads,
        "num_key_value_heads": model.n_heads,
        "hidden_act": "silu",
        "max_position_embeddings": model.context,
        "rms_norm_eps": RMS_EPS,
        "rope_theta": model.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": model.rope_theta},
        "use_sliding_window": False,
        "tie_word_embeddings": False,
        "attention_dropout": 0.0,
        "dtype": "float32",
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


def new_model(config: dict[str, Any]) -> Transformer:
    """A model of the sizes in a `config.json`, not initialised. Raises KeyError for a size that is missing."""
    rope = config.get("rope_parameters") or {}
    return Transformer(
        n_inputs=config["vocab_size"],
        n_outputs=config.get("atlantis_n_outputs", config["vocab_size"]),
        width=config["hidden_size"],
        n_layers=config["num_hidden_layers"],
        n_heads=config["num_attention_heads"],
        mlp_width=config["intermediate_size"],
        rope_theta=rope.get("rope_theta", config.get("rope_theta", 10_000.0)),
        context=config["max_position_embeddings"],
    )


def save_model(model: Transformer, folder: Path) -> None:
    """Write `config.json` and `model.safetensors` into an existing folder (the tokenizer writes its own files)."""
    (folder / "config.json").write_text(json.dumps(qwen2_config(model), indent=2) + "\n", encoding="utf-8")
    save_file(to_qwen2(model), folder / "model.safetensors", metadata={"format": "pt"})


def load_model(folder: Path | str, device: str | torch.device = "cpu") -> Transformer:
    """The model of a transformers folder with our architecture, in float32.

    Raises UserError naming the file if it is missing, unreadable, of another architecture or of other sizes.
    """
    folder = Path(folder)
    config = read_config(folder)
    try:
        model = new_model(config)
    except KeyError as missing:
        raise UserError(f"{folder / 'config.json'}: key {missing} is missing") from None
    file = folder / "model.safetensors"
    try:
        weights = load_file(file)
    except FileNotFoundError:
        raise UserError(f"{file}: not found; is {folder} a checkpoint?") from None
    except Exception as error:  # safetensors raises its own SafetensorError, OSError or ValueError
        raise UserError(f"{file}: cannot be read as safetensors ({error}); the file is damaged") from None
    try:
        model.load_state_dict(from_qwen2(weights, len(model.blocks), model.unembedding.out_features))
    except (KeyError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise UserError(f"{file}: its weights do not fit {folder / 'config.json'} ({reason})") from None
    return model.to(device)


def read_config(folder: Path) -> dict[str, Any]:
    """`config.json` of a checkpoint; UserError if it is missing, not JSON or not one this model can read."""
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{file}: not found; is {folder} a checkpoint?") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{file}: not valid JSON ({error})") from None
    if not isinstance(config, dict) or config.get("model_type") != "qwen2":
        raise UserError(f"{file}: model_type must be 'qwen2' to be read here")
    if config.get("num_key_value_heads", config.get("num_attention_heads")) != config.get("num_attention_heads"):
        raise UserError(f"{file}: grouped queries (num_key_value_heads) are not supported")
    if config.get("tie_word_embeddings"):
        raise UserError(f"{file}: tied embeddings are not supported")
    return config
