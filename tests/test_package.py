"""The distributions, as a stranger has them: made, installed apart, and used from an empty folder.

The sdist is made first and the wheel from it, so that both are known to be whole. Nothing is fetched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "src", "pretrained")
BUILT = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "dist")

pytestmark = pytest.mark.wheel


def run(*command: str, cwd: Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A command in a folder; `path`: where modules are looked for first, and no module of this checkout is."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"OMP_NUM_THREADS": "1", "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def made(*command: str, cwd: Path) -> None:
    result = run(*command, cwd=cwd)
    assert result.returncode == 0, result.stdout + result.stderr


def wheel_of(folder: Path, out: Path) -> Path:
    """The wheel of the project in a folder."""
    options = ("--no-build-isolation", "--no-deps", "--quiet", "--wheel-dir", str(out))
    made(sys.executable, "-m", "pip", "wheel", *options, ".", cwd=folder)
    return max(out.glob("*.whl"), key=lambda file: file.stat().st_mtime_ns)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources, copied, so that nothing is built inside the checkout."""
    folder = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=BUILT)
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(copy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package's wheel, made from its sdist."""
    out = tmp_path_factory.mktemp("dist")
    made(sys.executable, "-c", f"from setuptools.build_meta import build_sdist; build_sdist({str(out)!r})", cwd=copy)
    (sdist,) = out.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(out, filter="data")
    return wheel_of(out / sdist.name.removesuffix(".tar.gz"), out)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the wheel is installed in."""
    folder = tmp_path_factory.mktemp("installed")
    install(wheel, folder)
    return folder


def install(wheel: Path, folder: Path) -> None:
    options = ("--no-deps", "--quiet", "--upgrade", "--no-compile", "--target", str(folder))
    made(sys.executable, "-m", "pip", "install", *options, str(wheel), cwd=folder)


def atlantis(installed: Path, empty: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, "-m", "atlantis", *arguments, cwd=empty, path=installed)


def test_the_wheel_holds_what_the_package_needs(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    package = ROOT / "src" / "atlantis"
    files = [file for file in package.rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    assert {f"atlantis/{file.relative_to(package).as_posix()}" for file in files} <= held
    assert not [name for name in held if name.startswith(("tests/", "configs/", "pretrained/"))]
    assert wheel.stat().st_size < 10_000_000
    (metadata,) = (name for name in held if name.endswith(".dist-info/METADATA"))
    facts = zipfile.ZipFile(wheel).read(metadata).decode().splitlines()
    assert "Requires-Python: >=3.11" in facts  # pip refuses an older one, in a line that says so
    assert "Classifier: Operating System :: MacOS" in facts and "License-Expression: MIT AND CC-BY-4.0" in facts


def test_the_demo_and_the_study_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    where = "import atlantis, atlantis.artifacts; print(atlantis.__file__, atlantis.artifacts.version())"
    result = run(sys.executable, "-c", where, cwd=tmp_path, path=installed)
    assert result.stdout.split() == [str(installed / "atlantis" / "__init__.py"), version()]
    result = atlantis(installed, tmp_path, "train", "demo", "training.max_steps=2")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "outputs/experiments/demo/report/index.html"
    assert (tmp_path / "outputs/experiments/demo/report/index.html").stat().st_size > 100_000
    assert "pretrained/dist_100k_1M_20epochs, shipped with the project" in result.stderr
    shown = atlantis(installed, tmp_path, "show", "demo")
    assert shown.returncode == 0 and "finished" in shown.stdout
    listed = atlantis(installed, tmp_path, "list")
    assert listed.returncode == 0 and "study_2025/cross" in listed.stdout, listed.stderr
    listed = atlantis(installed, tmp_path, "study", "--base", "shipped", "--dry-run", "--seeds", "42")
    assert listed.returncode == 0 and "atlantis_cross_finetune" in listed.stdout, listed.stderr


def test_configs_by_name(installed: Path, tmp_path: Path) -> None:
    names = ["atlantis_cross_finetune", "study_2025/cross", "configs/demo.yaml"]
    code = f"import atlantis; print([atlantis.load_config(name).dataset.kind for name in {names}])"
    result = run(sys.executable, "-c", code, cwd=tmp_path, path=installed)
    assert result.stdout == "['cross', 'cross', 'cross']\n", result.stderr


def test_the_other_bases_are_a_package_of_their_own(copy: Path, installed: Path, tmp_path: Path) -> None:
    train = ("train", "atlantis_cross_finetune", "base=warm_start", "training.max_steps=0", "--no-report")
    result = atlantis(installed, tmp_path, *train)
    assert result.returncode == 2 and "atlantis-lab-models" in result.stderr
    models = wheel_of(copy / "pretrained", tmp_path)
    held = zipfile.ZipFile(models).namelist()
    assert "atlantis_lab_models/warm_start/model.safetensors" in held
    assert "atlantis_lab_models/city_dist_100k/README.md" in held
    both = tmp_path / "both"
    shutil.copytree(installed, both)
    install(models, both)
    shown = atlantis(both, tmp_path, "show", "warm_start")
    assert shown.returncode == 0 and "1,588,096" in shown.stdout, shown.stderr


def version() -> str:
    import tomllib

    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
