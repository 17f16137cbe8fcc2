"""File systems and homes that lack what others have: folders that cannot be flushed, renamed onto, or found."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from atlantis import artifacts
from atlantis.artifacts.disk import NO_FOLDER_FSYNC
from atlantis.artifacts.folders import NO_RENAME_ONTO_A_FOLDER, _rename_onto


def fsync_failing(monkeypatch: pytest.MonkeyPatch, number: int, folders: bool) -> None:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) == folders:
            raise OSError(number, os.strerror(number))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


def make(path: Path) -> None:
    with artifacts.new_folder(path, kind="world") as folder:
        (folder / "a").write_text("a")


@pytest.mark.parametrize("number", sorted(NO_FOLDER_FSYNC))
def test_a_folder_that_cannot_be_flushed(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync_failing(monkeypatch, number, folders=True)
    make(tmp_path / "deep" / "world")
    artifacts.write_text(tmp_path / "b" / "a.txt", "a")
    artifacts.append_text(tmp_path / "b" / "log", "a")
    assert artifacts.is_whole(tmp_path / "deep" / "world")
    assert artifacts.set_aside(tmp_path / "deep" / "world").is_dir()


@pytest.mark.parametrize(("number", "folders"), [(errno.EIO, True), (errno.EIO, False), (errno.EINVAL, False)])
def test_what_the_disk_fails_to_write_is_an_error(
    number: int, folders: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "b").mkdir()
    fsync_failing(monkeypatch, number, folders)
    with pytest.raises(OSError) as error:
        make(tmp_path / "world")
    assert error.value.errno == number and not (tmp_path / "world").exists()
    with pytest.raises(OSError):
        artifacts.write_text(tmp_path / "b" / "a.txt", "a")


@pytest.mark.parametrize("number", sorted(NO_RENAME_ONTO_A_FOLDER))
def test_a_file_system_that_renames_onto_no_folder(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.rename

    def rename(source: Path, target: Path) -> None:
        if os.path.isdir(target):
            raise OSError(number, os.strerror(number), str(source))
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    (tmp_path / "world").mkdir()
    make(tmp_path / "world")
    assert artifacts.is_whole(tmp_path / "world") and os.listdir(tmp_path) == ["world"]
    make(tmp_path / "other")
    with pytest.raises(OSError) as error:
        _rename_onto(tmp_path / "other", tmp_path / "world")
    assert error.value.errno == number and artifacts.is_whole(tmp_path / "world")
