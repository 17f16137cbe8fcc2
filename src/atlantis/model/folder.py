"""A model as an ordinary transformers folder: `config.json` and `model.safetensors`, in Qwen2's names.

Qwen2 wants as many output rows as input rows. Ours answers with the 44 symbols only, also when the vocabulary has a
token per city; the rows that are missing are written as copies of `<pad>`'s, which is never an answer. So the logits
of the symbols are the same in transformers, and greedy decoding is too.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from atlantis import artifacts
from atlantis.errors import UserError
from atlantis.model.transformer import RMS_EPS, Transformer
from atlantis.reading import read_json

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

MOST = {
    "vocab_size": 2_000_000,
    "hidden_size": 100_000,
    "intermediate_size": 1_000_000,
    "num_hidden_layers": 10_000,
    "num_attention_heads": 10_000,
    "max_position_embeddings": 1_000_000,
}
"""The sizes that `config.json` must have, and the largest that are believed."""

OURS = {"rms_norm_eps": (RMS_EPS,), "hidden_act": ("silu", "swish"), "use_sliding_window": (False,)}
"""What `config.json` may say, for this model does that whatever it says."""

FLOATS = ("F64", "F32", "F16", "BF16")


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


def generation_config(max_new_tokens: int) -> dict[str, Any]:
    """`generation_config.json` of a transformers folder: greedy answers of at most so many tokens, `<eos>` included."""
    markers = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    return {"do_sample": False, "max_new_tokens": max_new_tokens, **markers}


def new_model(config: dict[str, Any]) -> Transformer:
    """A model of the sizes in a `config.json` that `read_config` or `qwen2_config` gave, not initialised."""
    return Transformer(
        n_inputs=config["vocab_size"],
        n_outputs=config.get("atlantis_n_outputs", config["vocab_size"]),
        width=config["hidden_size"],
        n_layers=config["num_hidden_layers"],
        n_heads=config["num_attention_heads"],
        mlp_width=config["intermediate_size"],
        rope_theta=rope_theta(config),
        context=config["max_position_embeddings"],
    )


def save_model(model: Transformer, folder: Path) -> None:
    """Write `config.json` and `model.safetensors` into an existing folder (the tokenizer writes its own files)."""
    artifacts.dump_json(folder / "config.json", qwen2_config(model))
    (folder / "model.safetensors").write_bytes(save(to_qwen2(model), metadata={"format": "pt"}))


def load_model(folder: Path | str, device: str | torch.device = "cpu") -> Transformer:
    """The model of a transformers folder with our architecture, in float32.

    Raises UserError naming the file if it is missing, unreadable, of another architecture or of other sizes.
    """
    folder = Path(folder)
    config = read_config(folder)
    file = folder / "model.safetensors"
    held = n_numbers(file)
    if held != n_weights(config):  # before anything of the sizes asked for is made
        raise UserError(
            f"{file}: its weights do not fit {folder / 'config.json'}, which asks for {n_weights(config):,} numbers; "
            f"the file holds {held:,}"
        )
    model = new_model(config)
    try:
        weights = load_file(file)
        model.load_state_dict(from_qwen2(weights, len(model.blocks), model.unembedding.out_features))
    except (KeyError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise UserError(f"{file}: its weights do not fit {folder / 'config.json'} ({reason})") from None
    wrong = next((name for name, weight in weights.items() if not weight.isfinite().all()), None)
    if wrong is not None:
        raise UserError(f"{file}: {wrong} holds NaN or infinity; take an earlier checkpoint")
    return model.to(device)


def n_weights(config: dict[str, Any]) -> int:
    """How many numbers `to_qwen2` gives for a model with this `config.json`."""
    width, mlp = config["hidden_size"], config["intermediate_size"]
    block = 4 * width * width + 3 * width + 3 * width * mlp + 2 * width
    return 2 * config["vocab_size"] * width + width + config["num_hidden_layers"] * block


def n_numbers(file: Path) -> int:
    """How many numbers a safetensors file holds, from its header. UserError if it is no such file, or of integers."""
    if not file.exists():
        raise UserError(f"{file}: not found; is {file.parent} a checkpoint?")
    if not file.is_file():
        raise UserError(f"{file}: is not an ordinary file; the checkpoint is damaged")
    try:
        with safe_open(file, "pt") as header:
            slices = [(name, header.get_slice(name)) for name in header.keys()]  # noqa: SIM118
            other = [f"{name} is {part.get_dtype()}" for name, part in slices if part.get_dtype() not in FLOATS]
            if other:
                raise UserError(f"{file}: {other[0]}, which is not one of {', '.join(FLOATS)}")
            return sum(math.prod(part.get_shape()) for _, part in slices)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file}: cannot be read as safetensors ({error}); the file is damaged") from None


def read_config(folder: Path) -> dict[str, Any]:
    """`config.json` of a checkpoint; UserError if it is missing, not JSON or not one this model can read.

    Its sizes are there, and of a possible magnitude. Whatever else it says (`auto_map`, class names) plays no part.
    """
    file = folder / "config.json"
    try:
        config = read_json(file)
    except FileNotFoundError:
        raise UserError(f"{file}: not found; is {folder} a checkpoint?") from None
    if config.get("model_type") != "qwen2":
        raise UserError(f"{file}: model_type must be 'qwen2' to be read here")
    if config.get("num_key_value_heads", config.get("num_attention_heads")) != config.get("num_attention_heads"):
        raise UserError(f"{file}: grouped queries (num_key_value_heads) are not supported")
    if config.get("tie_word_embeddings"):
        raise UserError(f"{file}: tied embeddings are not supported")
    for key, most in MOST.items():
        value = config.get(key)
        if type(value) is not int or not 1 <= value <= most:
            raise UserError(f"{file}: {key} must be a whole number of 1 to {most:,}, not {_short(value)}")
    outputs = config.get("atlantis_n_outputs", config["vocab_size"])
    if type(outputs) is not int or not 1 <= outputs <= config["vocab_size"]:
        raise UserError(f"{file}: atlantis_n_outputs must be a whole number of 1 to vocab_size")
    if config["hidden_size"] % (2 * config["num_attention_heads"]):
        raise UserError(f"{file}: hidden_size must be a multiple of 2 * num_attention_heads")
    _check_ours(file, config)
    theta = rope_theta(config)
    if isinstance(theta, bool) or not isinstance(theta, int | float) or not 0 < theta < math.inf:
        raise UserError(f"{file}: rope_theta must be a number above 0, not {_short(theta)}")
    return config


def _check_ours(file: Path, config: dict[str, Any]) -> None:
    """UserError for a Qwen2 that computes something else with the same weights."""
    for key, (first, *others) in OURS.items():
        if config.get(key) not in (None, first, *others):
            raise UserError(f"{file}: {key} must be {json.dumps(first)} to be read here, not {_short(config[key])}")
    for key in ("rope_parameters", "rope_scaling"):
        rope = config.get(key) or {}
        if not isinstance(rope, dict) or (rope.get("rope_type") or rope.get("type") or "default") != "default":
            raise UserError(f"{file}: scaled rotary positions ({key}) are not supported")
    if "sliding_attention" in json.dumps(config.get("layer_types")):
        raise UserError(f"{file}: sliding windows (layer_types) are not supported")


def _short(value: Any) -> str:
    return json.dumps(value)[:40]


def rope_theta(config: dict[str, Any]) -> Any:
    """The base of the rotary embedding, in the newer of transformers' two places or in the older one."""
    rope = config.get("rope_parameters")
    return (rope if isinstance(rope, dict) else {}).get("rope_theta", config.get("rope_theta", 10_000.0))
