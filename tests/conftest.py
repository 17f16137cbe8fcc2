"""Small worlds and runs that the tests share."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the processors; before PyTorch is imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import pytest
from jaxtyping import config as jaxtyping_config
from jaxtyping import install_import_hook

from tests import maps, shapes
from tests.chromium import Tab
from tests.warm import Warm

# PyTorch and atlantis are imported late in this file: the process that only hands tests to workers needs neither.
if TYPE_CHECKING:
    from atlantis.settings import RunConfig
    from atlantis.world import World

# Shapes in annotations are checked by the first calls of a function in a test; outside of tests they cost nothing. This
# comes before the modules are imported. torch.compile cannot see through the checks: see `unchecked`.
shapes.check_first_calls()
install_import_hook(["atlantis.model", "atlantis.readout"], "tests.shapes.shapes_only")

hypothesis.settings.register_profile("any machine", deadline=None)  # a busy one is no fault
hypothesis.settings.load_profile("any machine")

SHARED_WARM = "ATLANTIS_TESTS_WARM_PYTHON"
"""The environment variable that tells the workers of one interpreter for all of them."""

LONGEST_FIRST = (
    "faults", "bench", "strategies", "measures", "readers", "training", "sweep", "benchmarks", "report", "hostile",
    "page_browser", "study", "page_inputs", "extend", "page_views", "inputs", "distributed", "stitching",
)  # fmt: skip
"""Files of tests that take longest. Workers get them first, so that none is left with one of them at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {f"test_{name}.py": place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


def pytest_configure(config: pytest.Config) -> None:
    """Workers share the maps that they draw, and a warm interpreter, which imports nothing before it is needed."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    folder = tempfile.TemporaryDirectory(prefix="warm-")  # a socket's address must be short
    config.add_cleanup(folder.cleanup)
    os.environ[maps.FOLDER] = folder.name
    if config.getoption("numprocesses", None):
        server = Warm(Path(folder.name))
        os.environ[SHARED_WARM] = str(server.python)
        config.add_cleanup(server.close)  # before the folder's


@cache
def has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.hookimpl(tryfirst=True)  # before what is made for several tests
def pytest_runtest_setup() -> None:
    shapes.calls.clear()


@pytest.fixture(autouse=True)
def unchecked(request: pytest.FixtureRequest) -> Iterator[None]:
    """Shapes are not checked in tests marked `compiled`, and where there is a GPU, which compiles by default."""
    compiled = request.node.get_closest_marker("compiled") is not None
    jaxtyping_config.update("jaxtyping_disable", compiled or has_gpu())
    yield
    jaxtyping_config.update("jaxtyping_disable", has_gpu())


@pytest.fixture(scope="session", autouse=True)
def maps_are_drawn_once() -> None:
    maps.remember()


@pytest.fixture(scope="session", autouse=True)
def hangups_are_heard() -> Iterator[None]:
    """Under nohup, SIGHUP is ignored by the tests and all that they start; some tests are about that signal."""
    before = signal.getsignal(signal.SIGHUP)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(scope="session")
def warm_python() -> Iterator[str]:
    """A program that does what `sys.executable` does, and starts in milliseconds: see warm.py."""
    if SHARED_WARM in os.environ:
        yield os.environ[SHARED_WARM]
        return
    with tempfile.TemporaryDirectory(prefix="warm-") as folder:  # a socket's address must be short
        server = Warm(Path(folder))
        yield str(server.python)
        server.close()


@pytest.fixture
def warm(warm_python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What this test starts as `sys.executable`, and what that starts, begins in milliseconds."""
    monkeypatch.setattr(sys, "executable", warm_python)


@pytest.fixture(scope="session")
def thirty_cities(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's CSV with the 30 largest cities."""
    from atlantis.world import cities

    file = tmp_path_factory.mktemp("cities") / "thirty.csv"
    cities.shipped_cities().head(30).to_csv(file, index=False)
    return file


@pytest.fixture(scope="session")
def small_config(thirty_cities: Path, tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """A run of 20 steps on 30 cities, from scratch, with 8 virtual ones in the world."""
    from atlantis.settings import RunConfig

    return RunConfig.model_validate(
        {
            "name": "small",
            "output_root": str(tmp_path_factory.mktemp("outputs")),
            "world": {"cities": str(thirty_cities), "regions": [{"count": 8}]},
            "dataset": {"kind": "distance", "n_train": 300, "n_val": 32, "n_test": 64},
            "model": {"hidden_size": 32, "n_layers": 5, "n_heads": 2, "mlp_size": 64},
            "training": {"batch_size": 64, "epochs": 4.0, "learning_rate": 3e-3, "warmup_steps": 5},
            "evaluation": {"n_items": 16, "steps": [0, 3], "fractions": [0.5, 1.0]},
        }
    )


@pytest.fixture(scope="session")
def small_world(small_config: RunConfig) -> World:
    from atlantis.world import World

    return World.from_config(small_config.world)


@pytest.fixture(scope="session")
def small_run(small_config: RunConfig) -> Path:
    """The folder of the small run, trained and probed."""
    from atlantis.training import train

    return train(small_config)


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    """A browser's tab."""
    with Tab(tmp_path_factory.mktemp("profile")) as tab:
        yield tab
