"""Caches where there is no home, or one that cannot be written to."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from atlantis import cli, home

SHIMS = Path(__file__).with_name("inputs") / "shims"
SOURCE = Path(cli.__file__).parents[2]


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    home.cache_folder.cache_clear()
    home.private_folder.cache_clear()
    yield
    home.cache_folder.cache_clear()
    home.private_folder.cache_clear()


def test_the_usual_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert home.cache_folder() == tmp_path / "home" / ".cache" / "atlantis"
    home.cache_folder.cache_clear()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert home.cache_folder() == tmp_path / "xdg" / "atlantis"
    home.cache_folder.cache_clear()
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # does not count
    assert home.cache_folder() == tmp_path / "home" / ".cache" / "atlantis" and capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({"HOME": "/proc"}, "/proc/.cache cannot be written to"),
        ({"HOME": "some/where"}, "there is no home folder"),
        ({"HOME": "/proc/nobody"}, "there is no home folder"),
        ({"XDG_CACHE_HOME": "FILE"}, "FILE cannot be written to"),
        ({"XDG_CACHE_HOME": "/proc/nothing"}, "/proc/nothing cannot be written to"),
    ],
)
def test_without_one_a_private_temporary_folder_serves_and_that_is_said_once(
    variables: dict[str, str], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "file").touch()
    for name, value in variables.items():
        monkeypatch.setenv(name, value.replace("FILE", str(tmp_path / "file")))
    folder = home.cache_folder()
    assert folder == home.cache_folder() == tmp_path / "tmp" / f"atlantis-{os.geteuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700
    said = capsys.readouterr().err
    assert said.count("is kept in") == 1 and why.replace("FILE", str(tmp_path / "file")) in said
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != "/proc" and access(path, mode))  # root may, there
    environment = {"XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", ""), "HF_HOME": "/mine"}
    home.prepare(environment)
    assert environment["HF_HOME"] == "/mine" and environment["MPLCONFIGDIR"] == str(folder / "matplotlib")


@pytest.mark.parametrize("kind", ["link", "open", "file", "foreign"])
def test_a_name_that_another_user_has_taken_is_not_used(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = tmp_path / "tmp" / f"atlantis-{os.geteuid()}"
    (tmp_path / "elsewhere").mkdir()
    if kind == "link":
        taken.symlink_to(tmp_path / "elsewhere")
    elif kind == "file":
        taken.touch()
    else:
        taken.mkdir(mode=0o700)
        if kind == "open":
            taken.chmod(0o777)
        else:
            monkeypatch.setattr(os, "geteuid", lambda uid=os.geteuid(): uid + 1)
            taken.rename(taken.with_name(f"atlantis-{os.geteuid()}"))
    folder = home.private_folder()
    assert folder != taken and folder.parent == tmp_path / "tmp" and folder.stat().st_mode & 0o777 == 0o700
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_good_home_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LOGNAME", "me")
    environment = {"HOME": str(tmp_path / "home")}
    home.prepare(environment)
    assert environment == {"HOME": str(tmp_path / "home")} and not list((tmp_path / "home").iterdir())


@pytest.mark.parametrize(
    "heavy",
    [
        "matplotlib.pyplot",
        pytest.param("torch, torch._dynamo.config, datasets", marks=pytest.mark.whole),
    ],
)
def test_nobody_by_that_number(heavy: str, tmp_path: Path) -> None:
    """Neither HOME nor a name: what the heavy libraries ask for while they are imported is there."""
    code = f"""
from atlantis import cli
import sys
assert cli.main(["--version"]) == 0
import {heavy}
from atlantis.home import cache_folder
print(cache_folder())
"""
    lacking = ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "XDG_CACHE_HOME", "MPLCONFIGDIR")
    environment = {name: value for name, value in os.environ.items() if name not in lacking}
    path = os.pathsep.join([str(SHIMS / "nopasswd"), str(SOURCE)])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment | {"PYTHONPATH": path, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(tmp_path / f"atlantis-{os.geteuid()}")
    assert "there is no home folder" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "module", ["atlantis.world.card", pytest.param("atlantis.report.style", marks=pytest.mark.whole)]
)
def test_a_full_disk_under_the_list_of_fonts_is_no_news(module: str, tmp_path: Path) -> None:
    code = f"""
import builtins, os, pathlib
def full(*arguments, **options):
    if "fontlist" in str(arguments[0]) and "w" in str(arguments[1:]):
        raise OSError(28, os.strerror(28))
    return opened(*arguments, **options)
opened, builtins.open = open, full
import {module}
from atlantis.world import World
getattr({module}, "draw", lambda *_: None)(World.build(), pathlib.Path("map.png"))
import matplotlib.font_manager
print(len(os.listdir(os.environ["MPLCONFIGDIR"])))
"""
    environment = os.environ | {"PYTHONPATH": str(SOURCE), "MPLCONFIGDIR": str(tmp_path / "mpl")}
    (tmp_path / "mpl").mkdir()
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == "", done.stderr


@pytest.mark.parametrize(("how", "code"), [(["-m", "atlantis", "list"], 1), (["-c", "import atlantis"], 1)])
def test_an_old_python_gets_one_line(how: list[str], code: int, tmp_path: Path) -> None:
    """This one says that it is 3.10, before anything else is imported."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.version_info = (3, 10, 13, 'final', 0)\n")
    path = os.pathsep.join([str(tmp_path), str(SOURCE)])
    done = subprocess.run(
        [sys.executable, *how], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, cwd=tmp_path
    )
    lines = done.stderr.splitlines()
    assert done.returncode == code and "atlantis needs Python 3.11 or newer; this is 3." in lines[-1]
    assert len(lines) == 1 and lines[0].startswith("error: ") if how[0] == "-m" else "ImportError" in lines[-1]


def test_no_place_for_temporary_files_is_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def nowhere() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/a', '/b']")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    monkeypatch.setattr("atlantis.cli.entry.app", lambda **_: tempfile.gettempdir())
    assert cli.main([]) == 2
    said = capsys.readouterr().err
    assert said == (
        "error: No usable temporary directory found in ['/a', '/b']; set TMPDIR to a folder that can be written to\n"
    )
