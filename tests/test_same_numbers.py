"""What no rearrangement of the code may change: losses, weights, datasets, the default world, the shipped bases.

`same_numbers.json` holds what the code gave on 2026-11-28. Bytes of weights depend on the processor and on PyTorch, so
they are compared where they have been recorded, and losses everywhere. To record another machine, on code that is
known to be right:

    python -m tests.test_same_numbers --record
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from atlantis import config as configs
from atlantis import lookup
from atlantis.data.dataset import Dataset
from atlantis.model.checkpoint import load_checkpoint
from atlantis.model.fast import kernels
from atlantis.settings import DatasetConfig, RunConfig, WorldConfig
from atlantis.training import train
from atlantis.world import World

ROOT = Path(__file__).parents[1]
RECORD = Path(__file__).with_name("same_numbers.json")

RUNS: dict[str, dict[str, Any]] = {
    "characters": {},
    "city": {"tokenizer": {"kind": "city"}},
    "plain": {"training": {"compile": "no"}},
    "strategies": {
        "base": "pretrained/city_dist_100k",
        "tokenizer": {"kind": "city"},
        "strategy": [{"name": "replay", "share": 0.25}, {"name": "l2sp", "weight": 0.01}],
        "model": {},
    },
}
SMALL = {"hidden_size": 64, "n_layers": 2, "n_heads": 2, "mlp_size": 128}
TRAINING = {
    "batch_size": 64,
    "max_steps": 50,
    "learning_rate": 3e-4,
    "warmup_steps": 5,
    "device": "cpu",
    "precision": "fp32",
}
MANIFEST = ("manifest.json",)
"""It names the version of atlantis."""
PICTURE = ("map.png", *MANIFEST)
"""Files of a world whose bytes are of a version of matplotlib, and the manifest, which has the picture's hash."""
CARD = ("README.md", *MANIFEST)
"""Files of a dataset that may be worded otherwise: its card, and the manifest, which has the card's hash."""
DATASETS = {
    "dist_100k_1M_42": {"kind": "distance"},
    "atlantis_inter_4k_42": {"kind": "inter"},
    "atlantis_cross_100k_42": {"kind": "cross"},
    "mixed_dist20k_cross100k_42": {"kind": "mixed"},
    "distance of seed 7": {"kind": "distance", "n_train": 1_000, "seed": 7},
    "cross within": {"kind": "cross", "n_train": 5_000, "inter_ratio": 0.5, "seed": 3},
}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def bytes_of(folder: Path, without: tuple[str, ...] = ()) -> str:
    """One digest of all files of a folder, by name, but for those named in `without`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in without)
    lines = [f"{path.relative_to(folder)} {sha256(path)}" for path in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def machine() -> str:
    """What the last bit of a float32 sum depends on."""
    return f"{kernels.processor_digest()} torch {torch.__version__.partition('+')[0]}"


def trained(name: str, root: Path) -> dict[str, Any]:
    """Losses (each the mean of ten steps) and the weights' digest of a run of 50 steps."""
    settings = {"name": name, "output_root": str(root), "dataset": {"kind": "cross", "n_train": 4_000, "n_test": 100}}
    settings |= {"evaluation": {"steps": [0], "fractions": [1.0], "n_items": 16, "probe": False}, "model": SMALL}
    settings |= {"probe": {"layers": [0, 1]}} | RUNS[name]
    settings["training"] = TRAINING | settings.get("training", {})
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        run = train(configs.checked(RunConfig, settings, name))
    finally:
        torch.set_num_threads(threads)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if row["kind"] == "train"]
    return {"losses": losses, "weights": sha256(run / "checkpoints" / "final" / "model.safetensors")}


def drawn(name: str, root: Path) -> dict[str, str]:
    world = World.from_config(WorldConfig())
    dataset = Dataset.build(world, DatasetConfig(**DATASETS[name]))
    dataset.save(root / "dataset")
    return {"digest": dataset.digest, "bytes": bytes_of(root / "dataset", CARD)}


def saved_world(root: Path) -> dict[str, str]:
    world = World.from_config(WorldConfig())
    world.save(root / "world")
    return {"digest": world.digest, "bytes": bytes_of(root / "world", PICTURE)}


def logits_of(base: str) -> list[float]:
    """Some logits of a shipped base, at the end of two prompts."""
    model, vocabulary = load_checkpoint(lookup.base_folder(base) or Path(base))
    texts = [f"<bos>dist(c_{a},c_{b})=" for a, b in ((12, 4_801), (3_001, 345))]
    rows = []
    with torch.no_grad():
        for text in texts:
            tokens, _ = vocabulary.encode([text])
            ids = torch.as_tensor(tokens.astype(np.int64))
            rows += model.hidden_states(ids, [len(model.blocks) - 1])
        return torch.cat([model.logits(x[:, -1])[0, 34:44] for x in rows]).tolist()


recorded = json.loads(RECORD.read_text()) if RECORD.is_file() else {}
BASES = ("city_dist_100k", "dist_100k_1M_20epochs", "warm_start")


@pytest.mark.parametrize("name", RUNS)
def test_losses_and_weights(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    run = trained(name, tmp_path)
    known = recorded["runs"][name]
    assert run["losses"] == pytest.approx(known["losses"], rel=1e-4)
    if machine() in known["weights"] and (name == "plain" or kernels.library() is not None):
        assert run["losses"] == known["exact"][machine()]
        assert run["weights"] == known["weights"][machine()]


@pytest.mark.parametrize("name", DATASETS)
def test_datasets(name: str, tmp_path: Path) -> None:
    assert drawn(name, tmp_path) == recorded["datasets"][name]


def test_default_world(tmp_path: Path) -> None:
    assert saved_world(tmp_path) == recorded["world"]


@pytest.mark.parametrize("base", BASES)
def test_shipped_bases(base: str) -> None:
    assert logits_of(base) == pytest.approx(recorded["bases"][base], abs=2e-4)


def _record() -> None:
    content = recorded or {"runs": {name: {"losses": [], "exact": {}, "weights": {}} for name in RUNS}}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, known in content["runs"].items():
            run = trained(name, root)
            known["losses"] = known["losses"] or run["losses"]
            known["exact"][machine()], known["weights"][machine()] = run["losses"], run["weights"]
        if not recorded:
            content["datasets"] = {}
            for i, name in enumerate(DATASETS):
                (root / str(i)).mkdir()
                content["datasets"][name] = drawn(name, root / str(i))
            content["world"] = saved_world(root)
            content["bases"] = {base: logits_of(base) for base in BASES}
    RECORD.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__" and "--record" in sys.argv:
    _record()
