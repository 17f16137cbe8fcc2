"""Hidden states of the cities' prompts, from any folder that transformers can open and that has our tokens.

A folder of ours (it has `vocabulary.json`) is read by our own model. Any other is opened with transformers: a causal
language model of whatever architecture (Qwen2, Llama, GPT-2, ...), with a tokenizer that reads the task's texts
character by character, or has a token `c_<id>` per city. Layers go by these names:

    embedding   what the first block is given
    0, 1, ...   the outputs of the blocks, `hidden_states[1:]` in transformers
    norm        the last block's output after the final norm

Transformers gives the last block's output after the final norm only, so there it has no other name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atlantis.data.encoding import check_symbols, needed_by, probe_prompt
from atlantis.errors import UserError
from atlantis.model import Transformer
from atlantis.model.checkpoint import check_world, load_checkpoint, probed_task, read_facts
from atlantis.progress import say
from atlantis.readout.activations import N_POSITIONS, probe_states
from atlantis.readout.generate import same_length
from atlantis.tasks import Task
from atlantis.tasks.distance import DISTANCE
from atlantis.tasks.form import Form
from atlantis.vocabulary import Vocabulary
from atlantis.world import World

EMBEDDING, NORM = "embedding", "norm"


@dataclass(frozen=True)
class Source:
    """A model whose hidden states can be read, and the tokens of a world's cities; `open_source` makes one."""

    path: Path
    vocabulary: Vocabulary
    width: int
    layers: list[str]
    read: Callable[[np.ndarray, list[str], int], np.ndarray]
    model: Transformer | None = None  # of a checkpoint of ours
    task: Task = DISTANCE
    """Whose prompts name the cities."""

    def check(self, layers: Sequence[str | int]) -> None:
        """Raises UserError for a layer that does not exist."""
        for name in map(str, layers):
            if name not in self.layers:
                blocks = f", blocks {self.layers[1]} to {self.layers[-2]}" if len(self.layers) > 2 else ""
                has = f"{self.layers[0]}{blocks}, {self.layers[-1]}"
                raise UserError(f"probe.layers: there is no layer {name} in {self.path}, which has {has}")

    def states(self, ids: np.ndarray, layers: Sequence[str | int], n_positions: int = N_POSITIONS) -> np.ndarray:
        """Hidden states at the last tokens of the cities' prompts: float32 (n, n_positions, len(layers), width).

        Raises UserError for a layer that does not exist, and for states that are no numbers.
        """
        self.check(layers)
        states = self.read(ids, [str(layer) for layer in layers], n_positions)
        if not np.isfinite(states).all():
            raise UserError(f"{self.path}: its hidden states hold NaN or infinity; take another checkpoint")
        return states

    def features(self, world: World, layers: Sequence[str | int]) -> np.ndarray:
        """The probe's features of all cities of a world, as `activations.probe_features` gives them."""
        return self.states(np.arange(len(world)), layers).reshape(len(world), -1)


def open_source(folder: Path | str, world: World, task: Task | None = None) -> Source:
    """The model in a transformers folder, for the cities of `world`.

    Cities are named in prompts of `task`; left out, of the first task that the model was trained on, or of distance.
    Raises UserError if the folder cannot be read, was trained on another world, or does not have the tokens.
    """
    folder = Path(folder)
    if (folder / "vocabulary.json").is_file() or not folder.is_dir():
        return open_checkpoint(folder, world, task)
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: no config.json in it, so it is not the folder of a checkpoint or of a model")
    if not (folder / "tokenizer.json").is_file():
        raise UserError(f"{folder}: no tokenizer.json in it; save the model's tokenizer there too (save_pretrained)")
    return _theirs(folder, world, task or DISTANCE)


def open_checkpoint(folder: Path, world: World, task: Task | None = None) -> Source:
    """The model in a checkpoint of ours. Raises UserError as `open_source` does."""
    check_world(folder, world)
    _say_other_virtual(folder, world)
    model, vocabulary = load_checkpoint(folder)
    if vocabulary.kind == "city":
        _check_cities(folder, vocabulary.n_cities, world)
    vocabulary = replace(vocabulary, n_cities=max(vocabulary.n_cities, len(world)))  # characters can name any city
    layers, task = [EMBEDDING, *map(str, range(len(model.blocks))), NORM], task or probed_task(folder)
    check_symbols(vocabulary, [task], str(folder))
    if model.context < (longest := _longest_prompt(task, vocabulary, world)):
        raise UserError(
            f"{folder}: reads {model.context} tokens, and prompts of task {task.name} have up to {longest}; probe "
            "it with another task"
        )
    read = partial(_read_ours, model, vocabulary, task.form)
    return Source(folder, vocabulary, model.width, layers, read, model, task)


def _say_other_virtual(folder: Path, world: World) -> None:
    """Say it if the ids of virtual cities may mean other places than those that the checkpoint was trained on."""
    facts = read_facts(folder)
    if facts is None or facts.n_cities == facts.n_real or len(world) == world.n_real:
        return
    if facts.world_digest != world.digest:
        say(
            f"{folder}: its run's world has other virtual cities than this one (digests {facts.world_digest} and "
            f"{world.digest}), so their ids may mean other places; --world names the world to read it in"
        )


def _longest_prompt(task: Task, vocabulary: Vocabulary, world: World) -> int:
    return probe_prompt(task.form, vocabulary, np.array([len(world) - 1]))[0].shape[1]


def _check_cities(folder: Path, n_cities: int, world: World) -> None:
    if n_cities < len(world):
        raise UserError(
            f"{folder}: has tokens for {n_cities:,} cities, this world has {len(world):,}; "
            "probe it on the world it was trained on (--world; `atlantis world build --real-only` makes one without "
            "virtual cities)"
        )


def _read_ours(
    model: Transformer, vocabulary: Vocabulary, form: Form, ids: np.ndarray, layers: list[str], n_positions: int
) -> np.ndarray:
    last = len(model.blocks) - 1
    blocks = [-1 if name == EMBEDDING else last if name == NORM else int(name) for name in layers]
    states = probe_states(model, vocabulary, ids, blocks, n_positions, form=form)
    for i, name in enumerate(layers):
        if name == NORM:
            with torch.no_grad():
                states[:, :, i] = model.norm(torch.from_numpy(states[:, :, i])).numpy()
    return states


# --- models of others


def _theirs(folder: Path, world: World, task: Task) -> Source:
    model, tokenizer = _load(folder)
    vocabulary, token_of = _tokens(folder, tokenizer, world, task)
    n_inputs = model.get_input_embeddings().num_embeddings
    context = getattr(model.config, "max_position_embeddings", math.inf)  # Bloom, MPT and Mamba have no such limit
    longest = _longest_prompt(task, vocabulary, world)
    if n_inputs <= token_of.max() or context < longest:
        raise UserError(
            f"{folder}: its model reads {n_inputs} tokens and {context} positions; the prompts of this world's cities "
            f"need {token_of.max() + 1} and {longest}: model and tokenizer do not belong together"
        )
    layers = [EMBEDDING, *map(str, range(model.config.num_hidden_layers - 1)), NORM]
    read = partial(_read_theirs, model, vocabulary, token_of, task.form)
    return Source(folder, vocabulary, model.config.hidden_size, layers, read, task=task)


def _load(folder: Path) -> tuple[Any, Any]:
    """Model (float32) and tokenizer of a transformers folder; nothing is fetched, and no code or pickle is run."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        tokenizer = AutoTokenizer.from_pretrained(folder, **local)
        opened: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **local
        )
        model, loading = opened
    except Exception as error:  # transformers raises OSError, ValueError, KeyError, SafetensorError, ...
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(f"{folder}: transformers cannot open its model and tokenizer ({reason})") from None
    finally:
        if shown:
            logging.enable_progress_bar()
    if missing := sorted(loading["missing_keys"]):
        raise UserError(f"{folder}: {len(missing)} of the model's weights are missing, such as {missing[0]}")
    return model.eval(), tokenizer


def _tokens(folder: Path, tokenizer: Any, world: World, task: Task) -> tuple[Vocabulary, np.ndarray]:
    """The vocabulary that the folder's tokenizer has, and for each of its tokens the tokenizer's own number for it."""
    id_of_text = tokenizer.get_vocab()
    kind = "city" if "c_0" in id_of_text else "characters"
    if kind == "city":
        n_known = next((i for i in range(len(world)) if f"c_{i}" not in id_of_text), len(world))
        _check_cities(folder, n_known, world)
    vocabulary = Vocabulary(kind, len(world), needed_by([task]))
    check_symbols(vocabulary, [task], str(folder))
    texts = [*vocabulary.symbols, *(f"c_{i}" for i in range(len(world)) if kind == "city")]
    token_of = np.array([id_of_text.get(text, -1) for text in texts])
    ids = np.unique(np.clip([0, 9, 10, 99, 100, 999, 1000, len(world) - 1], 0, len(world) - 1))
    tokens, last = probe_prompt(task.form, vocabulary, ids)
    for text, row, end in zip(vocabulary.decode(tokens), tokens, last, strict=True):
        read, expected = tokenizer(text, add_special_tokens=False)["input_ids"], token_of[row[: end + 1]]
        if list(read) != expected.tolist():
            raise UserError(
                f"{folder}: its tokenizer reads {text} as {' '.join(tokenizer.convert_ids_to_tokens(read))}; a probe "
                "needs one token per character (or one per city), such as the tokenizer of any checkpoint of ours"
            )
    return vocabulary, token_of


@torch.no_grad()
def _read_theirs(
    model: Any,
    vocabulary: Vocabulary,
    token_of: np.ndarray,
    form: Form,
    ids: np.ndarray,
    layers: list[str],
    n_positions: int,
) -> np.ndarray:
    tokens, last = probe_prompt(form, vocabulary, ids)
    indices = [0 if name == EMBEDDING else -1 if name == NORM else int(name) + 1 for name in layers]
    states = np.empty((len(ids), n_positions, len(layers), model.config.hidden_size), np.float32)
    for rows, length in same_length(last + 1, 256):  # of one length: nothing is padded
        prompts = torch.as_tensor(token_of[tokens[rows, :length]])
        hidden = model(input_ids=prompts, output_hidden_states=True, use_cache=False).hidden_states
        states[rows] = torch.stack([hidden[index][:, -n_positions:] for index in indices], dim=2).numpy()
    return states
