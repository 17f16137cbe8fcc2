"""Artifacts: complete or absent, never half; what is not ours is never touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlantis import artifacts
from atlantis.errors import UserError

DEAD = 2**22 + 1  # above Linux's largest pid


def make(path: Path, text: str = "hello", **options) -> None:
    with artifacts.new_folder(path, kind=options.pop("kind", "world"), **options) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "a.txt").write_text(text)


def beside(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.parent.iterdir())


def test_a_folder_appears_whole_with_its_manifest(tmp_path):
    path = tmp_path / "deep" / "world"
    make(path, digest="abc")
    found = artifacts.manifest(path)
    assert found is not None and found["kind"] == "world" and found["digest"] == "abc"
    assert found["files"]["sub/a.txt"]["bytes"] == 5
    assert artifacts.is_complete(path) and artifacts.is_complete(path, "abc") and not artifacts.is_complete(path, "abd")
    artifacts.verify(path)
    assert beside(path) == ["world"]


def test_same_content_gives_the_same_bytes(tmp_path):
    make(tmp_path / "a")
    make(tmp_path / "b")
    assert (tmp_path / "a" / "manifest.json").read_bytes() == (tmp_path / "b" / "manifest.json").read_bytes()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_nothing_remains_of_a_failure(tmp_path, error):
    with pytest.raises(error), artifacts.new_folder(tmp_path / "world", kind="world") as folder:
        (folder / "half").write_text("half")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_failed_overwrite_keeps_the_old(tmp_path):
    make(tmp_path / "world", "old")
    with pytest.raises(RuntimeError), artifacts.new_folder(tmp_path / "world", kind="world", overwrite=True):
        raise RuntimeError
    assert (tmp_path / "world" / "sub" / "a.txt").read_text() == "old"


def test_an_existing_artifact_is_replaced_only_when_asked(tmp_path):
    make(tmp_path / "world", "old")
    with pytest.raises(UserError, match="already holds a world"):
        make(tmp_path / "world", "new")
    make(tmp_path / "world", "new", overwrite=True)
    assert (tmp_path / "world" / "sub" / "a.txt").read_text() == "new"
    assert beside(tmp_path / "world") == ["world"]


def test_what_is_not_ours_is_left_alone(tmp_path):
    path = tmp_path / "mine"
    path.mkdir()
    make(path)  # an empty folder is welcome
    (path / "notes.txt").write_text("precious")
    with pytest.raises(UserError, match=r"notes\.txt"):
        make(path, overwrite=True)
    with pytest.raises(UserError, match="holds a world, which a dataset does not replace"):
        make(path, overwrite=True, kind="dataset")
    (path / "manifest.json").unlink()
    with pytest.raises(UserError, match="not ours"):
        make(path, overwrite=True)
    (path / "manifest.json").write_text('{"name": "a web page"}')
    with pytest.raises(UserError, match="not ours"):
        make(path, overwrite=True)
    assert (path / "notes.txt").read_text() == "precious"
    with pytest.raises(UserError, match="is a file"):
        make(path / "notes.txt")


def test_the_current_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="current folder"):
        make(Path("."))


def test_leftovers_of_the_dead_are_removed_and_of_the_living_kept(tmp_path):
    for name in (f".world.partial-{DEAD}", f".world.partial-{os.getppid()}", f".world2.partial-{DEAD}"):
        (tmp_path / name).mkdir()
    make(tmp_path / "world")
    assert beside(tmp_path / "world") == sorted([f".world.partial-{os.getppid()}", f".world2.partial-{DEAD}", "world"])


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="only Linux tells")
def test_a_process_that_nobody_waits_for_is_dead(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    ended.stdout.read()
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)  # it stays as a zombie
    (tmp_path / f".notes.txt.tmp-{ended.pid}").touch()
    (tmp_path / f".notes.txt.tmp-{os.getppid()}").touch()
    artifacts.clear_leftovers(tmp_path)
    assert os.listdir(tmp_path) == [f".notes.txt.tmp-{os.getppid()}"]
    ended.communicate()


def test_an_artifact_moved_aside_by_a_dead_process_comes_back(tmp_path):
    make(tmp_path / "world", "old")
    os.rename(tmp_path / "world", tmp_path / f".world.replaced-{DEAD}")
    with pytest.raises(UserError, match="already holds"):
        make(tmp_path / "world", "new")
    assert (tmp_path / "world" / "sub" / "a.txt").read_text() == "old"


def test_two_at_once(tmp_path):
    with (
        artifacts.new_folder(tmp_path / "world", kind="world"),
        pytest.raises(UserError, match="being made by another process"),
        artifacts.new_folder(tmp_path / "world", kind="world"),
    ):
        pass
    with pytest.raises(UserError, match="already holds"), artifacts.new_folder(tmp_path / "b", kind="world"):
        other = (
            "import sys; sys.path.insert(0, sys.argv[2]); from pathlib import Path; from atlantis import artifacts\n"
        )
        other += "with artifacts.new_folder(Path(sys.argv[1]), kind='world') as f: (f / 'winner').touch()"
        source = Path(artifacts.__file__).parents[2]
        subprocess.run([sys.executable, "-c", other, tmp_path / "b", source], check=True)
    assert (tmp_path / "b" / "winner").exists()


def test_a_killed_process_leaves_nothing_at_the_target(tmp_path):
    script = (
        "import os, sys; sys.path.insert(0, sys.argv[2]); from pathlib import Path; from atlantis import artifacts\n"
    )
    script += (
        "with artifacts.new_folder(Path(sys.argv[1]), kind='world') as f: (f / 'half').touch(); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "world", Path(artifacts.__file__).parents[2]])
    assert done.returncode == -9 and not (tmp_path / "world").exists()
    make(tmp_path / "world")
    assert beside(tmp_path / "world") == ["world"]


def test_verify_names_the_file(tmp_path):
    path = tmp_path / "world"
    make(path)
    (path / "sub" / "a.txt").write_text("hellO")  # same size
    assert artifacts.is_complete(path)
    with pytest.raises(UserError, match=r"a\.txt: has been changed"):
        artifacts.verify(path)
    (path / "sub" / "a.txt").unlink()
    assert not artifacts.is_complete(path)
    with pytest.raises(UserError, match=r"a\.txt: is missing"):
        artifacts.verify(path)
    with pytest.raises(UserError, match="not a complete artifact"):
        artifacts.verify(tmp_path / "nowhere")


def test_files_are_written_whole(tmp_path):
    path = tmp_path / "deep" / "a.json"
    artifacts.write_json(path, {"b": np.float32(0.5), "a": [float("nan"), np.int64(3)], "c": np.arange(2), "d": "é"})
    assert json.loads(path.read_text()) == {"b": 0.5, "a": [None, 3], "c": [0, 1], "d": "é"}
    with pytest.raises(TypeError):
        artifacts.write_json(path, {"b": object()})
    assert json.loads(path.read_text())["b"] == 0.5
    artifacts.write_text(path, "x\n")
    artifacts.write_bytes(path, path.read_bytes() * 2)
    assert path.read_bytes() == b"x\nx\n" and beside(path) == ["a.json"]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    artifacts.write_text(tmp_path / "a", "old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        artifacts.write_text(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "old" and beside(tmp_path / "a") == ["a"]


def test_lock(tmp_path):
    with artifacts.lock(tmp_path / "run"):
        with pytest.raises(UserError, match=f"pid {os.getpid()}"), artifacts.lock(tmp_path / "run"):
            pass
        assert (tmp_path / "run" / ".lock").read_text().splitlines()[0] == str(os.getpid())
    with artifacts.lock(tmp_path / "run"):
        pass


@given(st.dictionaries(st.text(alphabet=st.characters(codec="utf-8")), st.integers(), max_size=5))
def test_digest_ignores_the_order_of_keys(values):
    assert artifacts.digest_of(values) == artifacts.digest_of(dict(reversed(values.items())))


def test_digest_is_fixed():
    assert artifacts.digest_of({"b": 1, "a": [1.5, "x"]}) == "27edd5497e48"
    assert artifacts.digest_of({}) == "44136fa355b3"
    with pytest.raises(ValueError):
        artifacts.digest_of(float("nan"))


def test_a_link_of_the_users_may_have_the_name_of_a_runs_folder(tmp_path):
    """Only in a run's own folder is nothing written through a link."""
    (tmp_path / "big").mkdir()
    (tmp_path / "analysis").symlink_to(tmp_path / "big")
    with artifacts.new_folder(tmp_path / "analysis" / "llama", kind="analysis") as aside:
        (aside / "a.txt").write_text("a")
    assert (tmp_path / "big" / "llama" / "a.txt").read_text() == "a"
    (tmp_path / "config.yaml").write_text("name: run")
    with (
        pytest.raises(UserError, match="is a symbolic link"),
        artifacts.new_folder(tmp_path / "analysis" / "b", kind="a"),
    ):
        pass
