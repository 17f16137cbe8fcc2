"""Hostile files, in miniature; and that the payloads are live where nothing forbids them."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from atlantis import artifacts
from atlantis.config import load
from atlantis.errors import UserError
from atlantis.fields import OwnStrategySettings
from atlantis.model import Transformer
from atlantis.progress import printable
from atlantis.reading import by_step, read_bytes, read_json
from atlantis.settings import TrainingConfig
from atlantis.training import state
from atlantis.training.step import Engine
from checks.faults.cases import links, payloads
from checks.faults.cases.links import Elements
from checks.faults.scene import resealed
from tests.test_inputs import quick


@pytest.mark.usefixtures("warm")
def test_nothing_hostile_is_run(tmp_path: Path) -> None:
    found = quick("hostile", tmp_path)
    assert sum(counts["n"] for counts in found.values()) >= 20
    assert all(counts["failed"] == 0 for counts in found.values())


def test_there_are_enough_payloads() -> None:
    names = [case.name for found in (payloads, links) for case in found.cases()]
    assert len(names) >= 100 and len(set(names)) == len(names)


@pytest.mark.parametrize("kind", ["pickle", "zip", "npy"])
def test_the_pickles_are_live(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    data = payloads.bomb(kind)
    if kind == "zip":
        data = zipfile.ZipFile(BytesIO(data)).read("archive/data.pkl")
    pickle.loads(data[data.index(b"\n") + 1 :] if kind == "npy" else data)
    assert (tmp_path / "canary").exists()


def test_the_page_check_sees_what_could_act() -> None:
    elements = Elements()
    elements.feed("<svg onload=x></svg><a href=' javascript:y'>z</a><iframe></iframe><script></script>")
    assert len(elements.wrong) == 3 and elements.scripts == 1


# --- what was mended on the way


def test_only_ordinary_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * 11)
    for path, said in (("/dev/zero", "device"), (tmp_path, "folder"), (tmp_path / "large", "larger than 10 bytes")):
        with pytest.raises(UserError, match=said):
            read_bytes(Path(path), 10)
    (tmp_path / "deep").write_text("[" * 100_000)
    with pytest.raises(UserError, match="nested too deeply"):
        read_json(tmp_path / "deep")


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    run = tmp_path / "run"
    run.mkdir()
    (run / ".lock").symlink_to(precious)
    with pytest.raises(UserError, match="a link"), artifacts.lock(run):
        pass
    (run / f".x.tmp-{os.getpid()}").symlink_to(precious)
    artifacts.write_bytes(run / "x", b"new")
    assert precious.read_text() == "mine" and (run / "x").read_bytes() == b"new"


def test_a_folder_above_that_becomes_a_link_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    above, kept = tmp_path / "run" / "checkpoints", tmp_path / "kept"
    above.mkdir(parents=True)
    kept.mkdir()

    def exchanged(path: Path) -> None:
        above.rename(tmp_path / "moved")
        above.symlink_to(kept)

    monkeypatch.setattr("atlantis.artifacts.folders.make_folders", exchanged)
    with (
        pytest.raises(UserError, match="checkpoints: is a symbolic link"),
        artifacts.new_folder(above / "checkpoint-0", kind="checkpoint"),
    ):
        pytest.fail("begun")
    assert not any(kept.iterdir()) and not any((tmp_path / "moved").iterdir())


def test_a_folder_that_only_looks_like_a_leftover_stays(tmp_path: Path) -> None:
    (tmp_path / ".w.partial-999999").mkdir()
    (tmp_path / ".w.partial-999999" / "thesis.txt").write_text("mine")
    with artifacts.new_folder(tmp_path / "w", kind="world"):
        pass
    assert (tmp_path / ".w.partial-999999" / "thesis.txt").read_text() == "mine"


def test_a_link_beside_our_files_is_foreign(tmp_path: Path) -> None:
    with artifacts.new_folder(tmp_path / "w", kind="world"):
        pass
    (tmp_path / "w" / "kept").symlink_to(tmp_path)
    with (
        pytest.raises(UserError, match="kept, which is not ours"),
        artifacts.new_folder(tmp_path / "w", kind="world", overwrite=True),
    ):
        pass
    artifacts.remove(tmp_path / "w", "world")
    assert (tmp_path / "w" / "kept").is_symlink()


def test_a_config_that_is_looked_at_imports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_module_of_a_test.py").write_text("raise SystemExit('imported')")
    (tmp_path / "run.yaml").write_text("strategy: {name: 'own_module_of_a_test:X', weight: 2}")
    strategy = load(tmp_path / "run.yaml", own_code=False).strategy
    assert isinstance(strategy, OwnStrategySettings) and strategy.model_dump()["weight"] == 2
    with pytest.raises(UserError, match=r"run.yaml:1: strategy.name: .* cannot be imported: SystemExit: imported"):
        load(tmp_path / "run.yaml")


def test_a_state_is_taken_whole_or_not_at_all(tmp_path: Path) -> None:
    def engine() -> Engine:
        model = Transformer(44, 44, width=8, n_layers=2, n_heads=2, mlp_width=8)
        model.initialise(0.1, torch.Generator().manual_seed(0))
        return Engine(model, TrainingConfig(compile="no"), torch.device("cpu"))

    def forged(change: Callable[[dict[str, torch.Tensor]], object], **facts: object) -> Path:
        file, progress = folder / "state.safetensors", folder / "progress.json"
        tensors = dict(sound)
        change(tensors)
        save_file(tensors, file)
        progress.write_text(json.dumps({"step": 1, "log_bytes": 0, "losses": [1.0]} | facts))
        resealed(folder)
        return folder

    trained, folder = engine(), tmp_path / "state" / "state-1"
    for parameter in trained.trained.values():
        parameter.grad = torch.ones_like(parameter)
    trained.optimizer.step()
    state.save_state(tmp_path, trained, {"step": 1, "log_bytes": 0, "losses": [1.0]})
    sound = load_file(folder / "state.safetensors")
    moment = next(name for name in sound if name.startswith("optimizer.exp_avg."))
    assert state.load_state(forged(lambda tensors: None), engine())["step"] == 1
    for change in (
        lambda tensors: tensors.pop(moment),
        lambda tensors: tensors.update({moment: tensors[moment].double()}),
        lambda tensors: tensors.update({moment: tensors[moment][:1]}),
        lambda tensors: tensors.update({"optimizer.exp_avg.other": torch.zeros(1)}),
    ):
        with pytest.raises(UserError, match="is not the state of this run"):
            state.load_state(forged(change), engine())
    for facts in ({"step": -1}, {"log_bytes": "9"}, {"losses": ["x"]}, {"more": 1}):
        with pytest.raises(UserError, match=r"progress\.json"):
            state.load_state(forged(lambda tensors: None, **facts), engine())
        assert state.usable_state(tmp_path, strict=False) is None, "moved aside, and said"
        next((tmp_path / "state").glob("damaged-*")).rename(folder)


def test_step_numbers_are_plain(tmp_path: Path) -> None:
    for name in ("checkpoint-3", "checkpoint-²", "checkpoint-٣", "checkpoint-03", "checkpoint-x"):
        (tmp_path / name).mkdir()
    assert list(by_step(tmp_path, "checkpoint-")) == [3]
    assert by_step(tmp_path / "none", "checkpoint-") == {}


def test_what_is_printed_is_printable() -> None:
    assert printable("a\x1b[2J\u202eb\n\tc") == "a\\x1b[2J\\u202eb\n\tc"
