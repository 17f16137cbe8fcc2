"""A batch that does not fit in memory: the message names one that does, and it does. And freed memory is given back."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import atlantis
from atlantis import config as configs
from atlantis.errors import UserError
from atlantis.model.checkpoint import checkpoint_steps
from atlantis.settings import RunConfig
from atlantis.training import saving, train
from atlantis.training import step as engine
from atlantis.training.state import state_steps

LIMITED = """
import resource, sys
from pathlib import Path
from atlantis import cli
from atlantis.training.step import Engine

step = Engine.step


def limited(self, *arguments):
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + HEADROOM, resource.RLIM_INFINITY))
    return step(self, *arguments)


Engine.step = limited
sys.exit(cli.main(["train", *sys.argv[1:]]))
"""

PIECES = """
from pathlib import Path
import torch
from atlantis.training.device import keep_freed_memory, release_freed_memory


def held():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 // 2**20


keep_freed_memory()
tensors = [torch.zeros((1 + i % 7) << 18) for i in range(100)]  # 1 to 7 MiB
full = held()
del tensors[:-1]
kept = held()
release_freed_memory()
print(full, kept, held())
"""


def change(config: RunConfig, name: str, **training: object) -> RunConfig:
    """The same run under another name, with other settings of training, and without probes, which take longest."""
    evaluation = config.evaluation.model_copy(update={"probe": False})
    settings = config.training.model_copy(update=training)
    return config.model_copy(update={"name": name, "training": settings, "evaluation": evaluation})


@pytest.mark.parametrize(
    ("limit", "advice"), [(20, "a batch of 16 does"), (1, "a batch of 1 does"), (0, "nor does a batch of 1")]
)
def test_out_of_memory_names_a_batch_that_fits(
    small_config: RunConfig, monkeypatch: pytest.MonkeyPatch, limit: int, advice: str
) -> None:
    original, tried = engine.Engine.loss, []

    def limited(self: engine.Engine, batch):
        total = original(self, batch)
        tried.append(None)
        if len(tried) > 4 and len(batch.tokens) > limit:  # the fifth step, and what is tried then
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ...")
        return total

    monkeypatch.setattr(engine.Engine, "loss", limited)
    config = change(small_config, f"limit_{limit}")
    with pytest.raises(UserError, match=rf"training\.batch_size: 64 does not fit in the memory of cpu; {advice}"):
        train(config)
    run = Path(config.output_root) / "experiments" / f"limit_{limit}"
    assert list(checkpoint_steps(run)) == [0, 3] and list(state_steps(run)) == [0, 3]
    monkeypatch.setattr(engine.Engine, "loss", original)
    train(config, resume=True)  # with more memory it goes on
    assert list(checkpoint_steps(run)) == [0, 3, 10, 20]


def test_another_error_is_not_taken_for_it(small_config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self, batch):
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(engine.Engine, "loss", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        train(change(small_config, "broken"))


@pytest.mark.usefixtures("warm")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs RLIMIT_AS and /proc")
def test_a_real_limit(small_config: RunConfig, tmp_path: Path) -> None:
    config = change(small_config, "real", batch_size=16384, max_steps=1, compile="no")
    (tmp_path / "real.yaml").write_text(configs.dump(config, tmp_path))

    def limited(headroom: int, *overrides: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "limited.py").write_text(LIMITED.replace("HEADROOM", str(headroom)))
        command = [sys.executable, "limited.py", "real.yaml", "output_root=out", *overrides]
        env = os.environ | {"PYTHONPATH": str(Path(atlantis.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)

    done = limited(400_000_000)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    named = re.search(r"a batch of (\d+) does \(tried", done.stderr)
    assert named is not None, done.stderr
    assert list(checkpoint_steps(tmp_path / "out" / "experiments" / "real")) == [0]
    # Some room more: what the two processes hold besides the step differs by what the allocator has kept.
    done = limited(500_000_000, f"training.batch_size={named[1]}", "name=smaller")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "out" / "experiments" / "smaller" / "run.json").read_text())
    assert record["status"] == "finished"


@pytest.mark.usefixtures("warm")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs glibc and /proc")
def test_freed_memory_is_given_back() -> None:
    env = os.environ | {"PYTHONPATH": str(Path(atlantis.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", PIECES], env=env, capture_output=True, text=True, timeout=120)
    full, kept, left = map(int, done.stdout.split())
    assert kept > full - 50, "it is kept for the next step"
    assert left < full - 300, "until it is released"


def test_every_saved_state_gives_memory_back(small_config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    released = []
    monkeypatch.setattr(saving, "release_freed_memory", lambda: released.append(None))
    train(change(small_config, "releases"))
    assert len(released) == 4  # steps 0, 3, 10 and 20
