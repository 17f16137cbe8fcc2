"""What a run says of itself is believed only as it was written: record, config, log, and the compiled kernels."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atlantis import artifacts, cli, trust
from atlantis import config as configs
from atlantis.errors import UserError
from atlantis.model.fast import kernels
from atlantis.settings import RunConfig
from atlantis.training.mend import mend
from atlantis.training.run import RunFolder

RECORD: dict[str, Any] = {"name": "x", "status": "running", "steps": 15, "config": {}, "training_seconds": 1.5}


def planted(folder: Path, **config: Any) -> RunConfig:
    """A run's folder with its config, as it is when it begins."""
    made = RunConfig.model_validate({"name": folder.name, "output_root": str(folder.parent), **config})
    RunFolder(folder, made, resume=False).begin()
    return made


# the record


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    st.sampled_from([*RECORD, "note", "log_sha256", "digests"]),
    st.recursive(st.none() | st.text() | st.integers(), st.lists),
)
def test_a_fact_changed_by_hand_is_found(tmp_path: Path, key: str, value: Any) -> None:
    trust.write_record(tmp_path, RECORD)
    assert trust.read_record(tmp_path) == RECORD | {"seal": trust.seal_of(RECORD)}
    content = json.loads((tmp_path / "run.json").read_text())
    if content.get(key, key) == value:
        return
    (tmp_path / "run.json").write_text(json.dumps(content | {key: value}))
    with pytest.raises(UserError, match=r"run\.json: .*; bring it back, or remove it and go on with"):
        trust.read_record(tmp_path)


def test_a_record_without_a_seal_is_of_an_older_version_or_was_edited(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"name": "old", "status": "finished", "steps": 3}))
    assert trust.read_record(tmp_path)["steps"] == 3
    (tmp_path / "run.json").write_text(json.dumps(RECORD))
    with pytest.raises(UserError, match="has been changed"):
        trust.read_record(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({"steps": "many"}))
    with pytest.raises(UserError, match="steps must be of type int, not str"):
        trust.read_record(tmp_path)


# the config


def test_an_edited_config_is_named_by_its_keys(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    planted(folder)
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("batch_size: 512", "batch_size: 64"))
    edited = configs.load(folder / "config.yaml")
    for read in (lambda: trust.checked_record(folder), lambda: RunFolder(folder, edited, resume=True)):
        with pytest.raises(
            UserError, match=r"has been changed since.*another name=.*\n  training.batch_size: 512 -> 64$"
        ):
            read()


def test_another_place_is_no_other_config(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "cities.csv").write_text("name,lat,lon\n")
    planted(tmp_path / "here" / "a", world={"cities": str(tmp_path / "cities.csv")}, base="/somewhere/base")
    (tmp_path / "here").rename(tmp_path / "there")
    record = trust.read_record(tmp_path / "there" / "a")
    moved = configs.load(tmp_path / "there" / "a" / "config.yaml")
    trust.check_config(tmp_path / "there" / "a", record, moved.model_copy(update={"base": "elsewhere/base"}))


def test_a_setting_that_is_younger_than_the_run_changes_nothing(tmp_path: Path) -> None:
    config = planted(tmp_path / "a")
    before = trust.config_facts(config)
    older = {key: value for key, value in before.items() if key != "training.eps"}
    trust.check_config(tmp_path, {"config": older}, config)
    changed = config.model_copy(update={"training": config.training.model_copy(update={"eps": 0.5})})
    with pytest.raises(UserError, match=r"training\.eps: \(absent\) -> 0\.5"):
        trust.check_config(tmp_path, {"config": older}, changed)


# the log of a finished run

ROWS = [
    {"step": 0, "kind": "eval", "loss": 2.0},
    {"step": 2, "kind": "train", "loss": 1.5, "lr": 0.1},
    {"step": 4, "kind": "train", "loss": 1.0, "lr": 0.1},
    {"step": 4, "kind": "eval", "loss": 0.5},
]


def finished(folder: Path) -> RunFolder:
    """A planted run with a log and its checkpoints."""
    config = planted(folder)
    run = RunFolder(folder, config, resume=True)
    for step in (0, 4):
        with artifacts.new_folder(folder / "checkpoints" / f"checkpoint-{step}", kind="checkpoint") as aside:
            (aside / "model.safetensors").write_bytes(bytes([step]))
            row = next(row for row in ROWS if row["step"] == step and row["kind"] == "eval")
            (aside / "eval_results.json").write_text(json.dumps(row, indent=2) + "\n")
        run.seals[str(step)] = str(trust.checkpoint_seal(folder / "checkpoints" / f"checkpoint-{step}"))
    with artifacts.new_folder(folder / "checkpoints" / "final", kind="checkpoint") as aside:
        (aside / "model.safetensors").write_bytes(bytes([4]))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    run.note(steps=4)
    run.finish()
    return run


def unused() -> None:
    raise UserError("there is no state")


@pytest.mark.parametrize("n_bytes", range(1, 130, 16))
def test_the_end_of_a_finished_log_is_made_again(n_bytes: int, tmp_path: Path) -> None:
    run = finished(tmp_path / "a")
    data = run.metrics.read_bytes()
    run.metrics.write_bytes(data[:-n_bytes])
    with pytest.raises(UserError, match=r"metrics\.jsonl: has been changed since the run was finished"):
        trust.checked_record(run.path)
    lost = n_bytes > len(json.dumps(ROWS[-1])) + 1
    if lost:  # a row of training steps is nowhere else
        with pytest.raises(UserError, match="which nothing else holds"):
            mend(run, unused)
        assert run.metrics.read_bytes() == data[:-n_bytes]
    else:
        mend(run, unused)
        assert run.metrics.read_bytes() == data


def test_final_and_the_last_checkpoint_are_made_of_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished(tmp_path / "a")
    final, last = run.checkpoints / "final", run.checkpoints / "checkpoint-4"
    files = {folder: {file.name: file.read_bytes() for file in folder.iterdir()} for folder in (final, last)}
    for folder in (final, last):
        (folder / "model.safetensors").write_bytes(b"\7")
        strict = RunFolder(run.path, run.config, resume=True, strict=True)
        with pytest.raises(UserError, match=r"model\.safetensors: has been changed"):
            mend(strict, unused)
        mend(run, unused)
        assert {file.name: file.read_bytes() for file in folder.iterdir()} == files[folder]
    assert capsys.readouterr().err.count("damaged: ") == 2
    mend(run, unused)
    assert capsys.readouterr().err == ""


def test_a_repair_that_is_broken_off_leaves_what_there_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = finished(tmp_path / "a")

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    for name in ("final", "checkpoint-4"):
        weights = run.checkpoints / name / "model.safetensors"
        weights.write_bytes(b"\7")
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr("atlantis.training.mend.shutil.copyfile", stopped)
            mend(run, unused)
        assert sorted(path.name for path in run.checkpoints.glob("*[!.]")) == ["checkpoint-0", "checkpoint-4", "final"]
        assert weights.read_bytes() == b"\7"
        mend(run, unused)
        assert weights.read_bytes() == b"\4"
        shutil.rmtree(run.checkpoints / f"damaged-{name}")


def test_a_checkpoint_in_the_middle_is_named_and_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = finished(tmp_path / "a")
    (run.checkpoints / "checkpoint-0" / "model.safetensors").write_bytes(b"\7")
    mend(run, unused)
    assert "checkpoint-0/model.safetensors: has been changed" in capsys.readouterr().err


# a folder that goes away


def test_a_folder_that_was_moved_is_not_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "outputs" / "run"
    artifacts.make_folders(folder)
    with artifacts.watched(folder):
        artifacts.write_text(folder / "a" / "b", "in place")
        folder.parent.rename(tmp_path / "elsewhere")
        for write in (lambda: artifacts.write_text(folder / "c" / "d", ""), lambda: artifacts.refuse_moved(folder)):
            with pytest.raises(UserError, match="moved or removed while"):
                write()
        assert not (tmp_path / "outputs").exists()
    artifacts.make_folders(folder)


# the kernels


@pytest.fixture(scope="module")
def compiled() -> bytes:
    """The kernels' library, compiled once for the tests of this file."""
    if kernels.library() is None:
        pytest.skip("needs a C++ compiler")
    return kernels._compile(str(kernels.compiler()))


@pytest.fixture
def cache(compiled: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache of its own, in which a compiled library lies already; the compiler copies that."""
    monkeypatch.setattr(kernels, "_compile", lambda compiler: compiled)
    digest = kernels._digest
    kernels._trusted("g++", tmp_path / "cache" / "k.so")
    yield tmp_path / "cache" / "k.so"
    kernels._digest = digest


@pytest.mark.parametrize("place", [0.0, 0.3, 0.6, 0.99])
def test_a_library_with_one_flipped_bit_is_compiled_again(
    place: float, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = cache.read_bytes()
    data = bytearray(whole)
    data[int(place * len(data))] ^= 1
    cache.unlink()  # and not in place: this process has mapped the file
    cache.write_bytes(data)
    kernels._trusted("g++", cache)
    assert cache.read_bytes() == whole
    assert "has been changed since it was compiled; the kernels are compiled again" in capsys.readouterr().err
    kernels._trusted("g++", cache)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS])
def test_kernels_that_cannot_be_kept_are_used_all_the_same(
    fault: int, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_bytes = artifacts.write_bytes

    def full(file: Path, data: bytes) -> None:
        if file.parent == cache.parent:
            raise OSError(fault, os.strerror(fault), str(file))
        write_bytes(file, data)

    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(artifacts, "write_bytes", full)
    cache.unlink()
    library = kernels._trusted("g++", cache)
    assert all(hasattr(library, name) for name in kernels.NAMES) and not cache.exists()
    said = capsys.readouterr().err
    assert said == f"{cache.parent}: {os.strerror(fault)}, so the kernels are compiled for this process alone\n"
    assert not list((tmp_path / "tmp").iterdir())


def test_a_cache_that_others_can_write_is_closed(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache.parent.chmod(0o777)
    cache.chmod(0o666)
    kernels._trusted("g++", cache)
    assert cache.parent.stat().st_mode & 0o002 == 0 and cache.stat().st_mode & 0o002 == 0
    assert "others could have written k.so" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("exit 1", "g++ failed with exit code 1)"),
        (
            "echo 'In file k.cpp:\nk.cpp:409:1: fatal error: error writing to /x/c.s: No space left' >&2; exit 1",
            "(error writing to /x/c.s: No space left)",
        ),
        ("printf 'caf\\351\\n' >&2; exit 1", "caf"),
        ("exec sleep 60", "was not done after 1 s"),
        ("kill -9 $$", "was ended by signal 9"),
        ("exit 0", "made no library"),
    ],
)
def test_a_compiler_that_fails_is_said_in_one_line(
    script: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    compiler = tmp_path / "g++"
    compiler.write_text(f"#!/bin/sh\n{script}\n")
    compiler.chmod(0o755)
    monkeypatch.setattr(kernels, "COMPILING_S", 1.0)
    monkeypatch.setattr(kernels, "compiler", lambda: str(compiler))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert kernels.library.__wrapped__() is None
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and says in lines[0] and "plain PyTorch" in lines[0]


# the command line's surroundings


def test_a_current_folder_that_is_gone_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    os.rmdir(tmp_path / "gone")
    assert cli.main(["show", "outputs"]) == 2
    assert "current folder has been removed" in capsys.readouterr().err
