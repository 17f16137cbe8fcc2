"""Which runs of a report are seeds of one setup, by their settings and by the base that they started from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from atlantis import config as configs
from atlantis.report.run_data import RunData, load
from atlantis.report.seeds import mean_panels, seed_groups
from atlantis.settings import RunConfig
from atlantis.trust import config_digest, config_facts
from tests.planted_run import make_run

Start = Callable[..., RunData]


def base_config(seed: int, *overrides: str) -> RunConfig:
    seeds = [f"{stage}.seed={seed}" for stage in ("dataset", "model", "training")]
    return configs.changed(RunConfig(name=f"base_seed{seed}"), [*seeds, *overrides])


@pytest.fixture
def start(tmp_path) -> Start:
    """A run by its seed, and by the config and the weights of its base, whose folder is there if it is `kept`."""
    plain = load(make_run(tmp_path / "run"))

    def started(seed: int, base: RunConfig, weights: str, kept: bool = True, checkpoint: str = "final") -> RunData:
        folder = tmp_path / "elsewhere" / f"{len(list(tmp_path.glob('elsewhere/*')))}" / str(base.name)
        if kept:
            (folder / "checkpoints" / checkpoint).mkdir(parents=True)
            (folder / "config.yaml").write_text(configs.dump(base))
        about = {
            "config": config_facts(RunConfig(base=base.name)) | {"training.seed": seed},
            "seeds": {"order": seed},
            "digests": {"base": weights, "base_config": config_digest(base)},
            "base": {"path": str(folder / "checkpoints" / checkpoint), "note": ""},
        }
        return replace(plain, name=f"s{seed}", about=about)

    return started


def n_setups(*runs: RunData) -> int:
    return len(seed_groups(runs))


def test_bases_that_differ_in_their_seeds_alone_are_one_setup(start):
    runs = [start(seed, base_config(seed), f"weights {seed}") for seed in (1, 2, 3)]
    assert n_setups(*runs) == 1
    means = mean_panels(runs)
    assert means is not None and means["n"] == 3


@pytest.mark.parametrize("key", ["model.hidden_size=64", "training.learning_rate=1", "training.max_steps=9"])
def test_bases_of_other_settings_are_another_setup(start, key):
    runs = [start(1, base_config(1), "weights 1"), start(2, base_config(2, key), "weights 2")]
    assert n_setups(*runs) == 2 and mean_panels(runs) is None


def test_how_a_base_was_read_does_not_make_another_one(start):
    read = ["evaluation.n_items=7", "probe.alpha=3", "training.device=cpu"]
    assert n_setups(start(1, base_config(1), "weights 1"), start(2, base_config(2, *read), "weights 2")) == 1


def test_another_checkpoint_of_the_base_is_another_setup(start):
    later = start(2, base_config(1), "weights 2", checkpoint="step_100")
    assert n_setups(start(1, base_config(1), "weights 1"), later) == 2


def test_without_the_bases_configs_their_weights_tell_and_then_their_names(start):
    rate = base_config(2, "training.learning_rate=1")
    gone = [start(1, base_config(1), "weights 1", kept=False), start(2, base_config(2), "weights 2", kept=False)]
    assert n_setups(*gone) == 1, "base_seed1 and base_seed2"
    renamed = rate.model_copy(update={"name": "other_seed=2"})
    assert n_setups(gone[0], start(2, renamed, "weights 2", kept=False)) == 2
    assert n_setups(gone[0], start(2, renamed, "weights 1", kept=False)) == 1, "the same weights under another name"


def test_a_base_that_was_made_anew_since_is_not_what_the_run_started_from(start):
    old, new = start(1, base_config(1), "weights 1"), base_config(1, "training.learning_rate=1")
    Path(old.about["base"]["path"]).parents[1].joinpath("config.yaml").write_text(configs.dump(new))
    assert n_setups(old, start(2, base_config(2), "weights 2")) == 1, "its name decides, not the new config"


def test_a_base_beside_the_run_is_found_where_its_recorded_path_is_gone(start, tmp_path):
    runs = [start(1, base_config(1), "weights 1", kept=False)]
    runs.append(start(2, base_config(2, "training.learning_rate=1"), "weights 2", kept=False))
    assert n_setups(*runs) == 1, "by the names"
    for run, config in zip(runs, (base_config(1), base_config(2, "training.learning_rate=1")), strict=True):
        (run.path.parent / str(config.name)).mkdir()
        (run.path.parent / str(config.name) / "config.yaml").write_text(configs.dump(config))
    assert n_setups(*runs) == 2


def test_a_run_from_scratch_is_another_setup_than_one_from_a_base(start):
    run = start(2, base_config(2), "weights 2")
    scratch = replace(run, about={"config": config_facts(RunConfig()), "seeds": {"order": 1}})
    assert n_setups(scratch, run) == 2
