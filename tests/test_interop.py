"""A checkpoint opens in the tools that look inside transformers, and gives them the hidden states that the probe reads.

These tools are an extra: `pip install -e '.[interop]'`. Without them these tests are skipped.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from atlantis.data.encoding import probe_prompt
from atlantis.model import Transformer, save_model
from atlantis.readout.activations import N_POSITIONS, probe_states
from atlantis.vocabulary import Vocabulary
from tests.distances import FORM

pytestmark = pytest.mark.interop

EXTRA = "needs the extra: pip install -e '.[interop]'"
IDS = np.array([0, 7, 123, 1_233])
LAYERS = [0, 1, 2]


@pytest.fixture(scope="module", params=["characters", "city"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Vocabulary]:
    """The folder of a small model that is not trained."""
    folder, vocabulary = tmp_path_factory.mktemp("checkpoint"), Vocabulary(request.param, 1_234)
    model = Transformer(vocabulary.size, 44, width=32, n_layers=3, n_heads=2, mlp_width=64)
    model.initialise(0.1, torch.Generator().manual_seed(0))
    save_model(model, folder)
    vocabulary.save_transformers(folder)
    return folder, vocabulary


def prompts(vocabulary: Vocabulary) -> list[str]:
    return vocabulary.decode(probe_prompt(FORM, vocabulary, IDS)[0])


def expected(folder: Path, vocabulary: Vocabulary) -> np.ndarray:
    from atlantis.model import load_model

    return probe_states(load_model(folder), vocabulary, IDS, LAYERS)


@torch.no_grad()
def test_transformer_lens_gives_the_same_hidden_states(checkpoint: tuple[Path, Vocabulary]) -> None:
    pytest.importorskip("transformer_lens", reason=EXTRA)
    from transformer_lens.model_bridge import TransformerBridge

    folder, vocabulary = checkpoint
    bridge = TransformerBridge.boot_transformers(str(folder), device="cpu")
    for text, states in zip(prompts(vocabulary), expected(folder, vocabulary), strict=True):
        tokens = bridge.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        assert vocabulary.decode(tokens.numpy()) == [text]
        _, cache = bridge.run_with_cache(tokens)
        for i, layer in enumerate(LAYERS):
            found = cache[f"blocks.{layer}.hook_resid_post"][0, -N_POSITIONS:]
            np.testing.assert_allclose(found.numpy(), states[:, i], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_nnsight_gives_the_same_hidden_states(checkpoint: tuple[Path, Vocabulary]) -> None:
    nnsight = pytest.importorskip("nnsight", reason=EXTRA)
    folder, vocabulary = checkpoint
    model = nnsight.TransformersModel(str(folder), task="text-generation", dtype=torch.float32, dispatch=True)
    for text, states in zip(prompts(vocabulary), expected(folder, vocabulary), strict=True):
        tokens = model.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        assert vocabulary.decode(tokens.numpy()) == [text]
        with model.trace(tokens):
            saved = nnsight.save([model.model.layers[layer].output for layer in LAYERS])
        for i, found in enumerate(saved):
            np.testing.assert_allclose(found[0, -N_POSITIONS:].numpy(), states[:, i], rtol=1e-5, atol=1e-5)
