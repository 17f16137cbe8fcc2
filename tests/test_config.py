"""Configs: what loads, what is refused and in which words, and that what is written loads back equal."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlantis import config, yaml12
from atlantis.errors import UserError
from atlantis.settings import (
    AnchorsConfig,
    EvaluationConfig,
    ProbeConfig,
    RunConfig,
    TrainingConfig,
    VirtualRegionConfig,
    WorldConfig,
)
from atlantis.training.base import config_of_base

CONFIGS = Path(__file__).parents[1] / "src" / "atlantis" / "configs"


def write(folder: Path, text: str | bytes, name: str = "run.yaml") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        config.load(path, overrides)
    return str(caught.value)


# --- the shipped configs


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_config_loads_and_its_base_exists(path):
    run = config.load(path)
    assert run.name == path.stem and run.description
    if run.base is not None:
        assert run.base_config is not None
        base = config.load(run.base_config)
        assert base.name == run.base
        assert base.base is None and base.world.regions == []
        assert (base.tokenizer, base.model) == (run.tokenizer, run.model)


def test_the_study_is_what_spec_says():
    runs = {path.stem: config.load(path) for path in CONFIGS.glob("*.yaml")}
    rows = {
        name: (run.dataset.kind, run.dataset.sizes, t.batch_size, t.epochs, t.learning_rate, t.warmup_steps)
        for name, run in runs.items()
        for t in [run.training]
    }
    assert rows["dist_100k_1M_20epochs"] == ("distance", (1_000_000, 128, 10_000), 512, 20, 3e-4, 50)
    assert rows["atlantis_inter_finetune"] == ("inter", (4_000, 128, 500), 512, 50, 1e-4, 20)
    assert rows["atlantis_inter_finetune_bs64"] == ("inter", (4_000, 128, 500), 64, 50, 1e-4, 20)
    assert rows["atlantis_cross_finetune"] == ("cross", (100_000, 128, 10_000), 512, 10, 5e-5, 50)
    assert rows["atlantis_cross_finetune_bs64"] == ("cross", (100_000, 128, 10_000), 64, 10, 5e-5, 50)
    assert rows["mixed_dist20k_cross100k_finetune"][:2] == ("mixed", (120_000, 128, 0))
    assert runs["demo"].evaluation.steps == [0, 1, 2, 5, 10, 20, 50, 100, 200]
    assert runs["demo"].training.max_steps == 200


# --- reading


def test_numbers_are_those_of_yaml_12(tmp_path):
    text = "\n".join(["a: 1e-4", "b: NO", "c: 012", "d: 1_000", "e: 0x1F", "f: .5", "g: 12:30", "h: 2024-01-01"])
    text += "\ni: [yes, ~, Null, TRUE, '1', \"x\", -3, +4., 0o17, .inf]\n<<: 1\n=: 2"
    data, lines = yaml12.parse(text, "x")
    assert data == {
        "a": 1e-4, "b": "NO", "c": 12, "d": "1_000", "e": 31, "f": 0.5, "g": "12:30", "h": "2024-01-01",
        "i": ["yes", None, None, True, "1", "x", -3, 4.0, 15, float("inf")], "<<": 1, "=": 2,
    }  # fmt: skip
    assert lines["c",] == 3 and lines["i", 3] == 9


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn", "Co"]), max_size=40))
def test_any_text_survives_writing(text):
    data = {"description": text, "list": [text, 1, None, 0.5, True], text: {"inner": [{"a": text}]}}
    assert yaml12.parse(yaml12.dump(data), "x")[0] == data


def test_what_was_read_may_be_changed_and_is_read_again_as_it_stands() -> None:
    data, lines = yaml12.parse("a: [1]\n", "x")
    data["a"].append(2)
    lines.clear()
    assert yaml12.parse("a: [1]\n", "x") == ({"a": [1]}, {(): 1, ("a",): 1, ("a", 0): 1})


@given(st.floats(allow_nan=False), st.integers())
def test_any_number_survives_writing(real, whole):
    assert yaml12.parse(yaml12.dump([real, whole]), "x")[0] == [real, whole]


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_in_one_line(text):
    try:
        yaml12.parse(text, "x.yaml")
    except UserError as error:
        assert str(error).startswith("x.yaml")


def test_extends_and_overrides(tmp_path):
    (tmp_path / "sub").mkdir()
    write(
        tmp_path, "name: root\ndescription: d\ntraining: {epochs: 3, batch_size: 8}\nbase_config: a.yaml", "root.yaml"
    )
    path = write(tmp_path / "sub", "extends: ../root.yaml\ntraining: {batch_size: 9}", "leaf.yaml")
    run = config.load(path, ["training.learning_rate=1e-3", "world.regions.0.count=1e1", "trackers=[tensorboard]"])
    assert (run.name, run.description) == ("leaf", "")
    assert (run.training.epochs, run.training.batch_size, run.training.learning_rate) == (3, 9, 1e-3)
    assert run.base_config == str(tmp_path / "a.yaml")
    assert [region.count for region in run.world.regions] == [10] and run.world.regions[0].name == "Atlantis"
    assert config.load(path, ["name=other", "world.regions=[]"]).world.regions == []
    assert run.trackers == ["tensorboard"]


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    path = write(tmp_path, "output_root: ~/big\nbase: ~/runs/a\nworld: {cities: ~/c.csv}")
    run = config.load(path)
    home = f"{tmp_path}/home"
    assert (run.output_root, run.base, run.world.cities) == (f"{home}/big", f"{home}/runs/a", f"{home}/c.csv")
    over = config.load(path, ["output_root=~/other", "base=~/b", "world.cities=~no_such_user/c.csv"])
    assert (over.output_root, over.base) == (f"{home}/other", f"{home}/b")
    assert str(over.world.cities).endswith("/~no_such_user/c.csv")
    assert config.load(path, ["output_root=a~b", "base=a"]).output_root == "a~b"


def test_paths_are_relative_to_the_config_and_overrides_to_the_current_folder(tmp_path, monkeypatch):
    path = write(tmp_path, "world: {cities: my.csv}")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert config.load(path).world.cities == str(tmp_path / "my.csv")
    assert config.load("../run.yaml") == config.load(path)
    assert config.load(path, ["world.cities=my.csv"]).world.cities == str(tmp_path / "elsewhere" / "my.csv")


def test_steps_start_at_zero():
    assert EvaluationConfig(steps=[5, 2, 5]).steps == [0, 2, 5]


# --- refusing


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("training:\n  batch_sise: 3", "run.yaml:2: training.batch_sise: unknown key; did you mean training.batch"),
        ("batch_size: 3", "run.yaml:1: batch_size: unknown key; did you mean training.batch_size?"),
        ("zzz: 3", "run.yaml:1: zzz: unknown key; known here: name, description"),
        ("training: {epochs: many}", 'run.yaml:1: training.epochs: must be a number, not "many"'),
        ("training: {epochs: .inf}", "training.epochs: must be a finite number, not Infinity"),
        ("training: {batch_size: 1.5}", "training.batch_size: must be a whole number, not 1.5"),
        ("training: {batch_size: true}", "training.batch_size: must be a whole number, not true"),
        ("training: {batch_size: 0}", "training.batch_size: must be greater than or equal to 1, not 0"),
        ("training:\n", "run.yaml:1: training: must be a group of keys, not null"),
        ("training: {betas: [0.9, 2]}", "training.betas.1: must be less than 1, not 2"),
        ("training: {betas: [0.9]}", "training.betas.1: is missing; give it a value"),
        ("training: {betas: [0.9, 0.9, 0.9]}", "training.betas: must have at most 2 items, not [0.9, 0.9, 0.9]"),
        ("probe: {layers: []}", "probe.layers: must have at least 1 item, not []"),
        ("training: {schedule: linaer}", "did you mean linear?"),
        ("name: 12", "name: must be text (in quotes if it looks like a number), not 12"),
        ("name: ../x", "name: use up to 120 letters"),
        ("name: .", "name: use up to 120 letters"),
        (f"name: {'é' * 110}", "name: use up to 120 letters"),
        ("evaluation: {probe: yes}", 'evaluation.probe: must be true or false, not "yes"'),
        ("evaluation: {steps: 3}", "evaluation.steps: must be a list"),
        ("model: {n_heads: 3}", "run.yaml:1: model: hidden_size (128) must be a multiple of 2 * n_heads (6)"),
        ("probe: {layers: [6]}", "probe.layers asks for block 6"),
        ("probe: {n_train: 5000}", "probe: n_train (5000) must be less than n_cities (5000)"),
        ("world: {regions: [{}, {code: XX1}]}", "world.regions: two regions have the name 'Atlantis'"),
        ("world:\n  regions:\n  - lat: 91", "run.yaml:3: world.regions.0.lat: must be less than or equal to 90"),
        ("dataset: {kind: cross}\nworld: {regions: []}", "dataset.kind is cross, which needs a virtual region"),
        ("dataset: {kind: mixed, n_train: 7}", "n_distance + n_cross is 120000"),
        ("a: 1\na: 2", "run.yaml:2: not valid YAML: the key 'a' is given twice"),
        ("a: &x 1\nb: *x", "run.yaml:1: not valid YAML: aliases and anchors"),
        ("a: !!python/object:os.system x", "run.yaml:1: not valid YAML: the tag tag:yaml.org,2002:python"),
        ("? [a]\n: 1", "a key must be a word"),
        ("a: [1", "run.yaml:1: not valid YAML"),
        ("a: 1\n---\nb: 2", "run.yaml:2: not valid YAML"),
        ("[" * 5000, "nested too deeply"),
        ("", "is empty"),
        ("{}", "is empty; write at least one setting"),
        ("- 1", "must hold `key: value` lines, not [1]"),
        (b"name: a\nx: \xff", "run.yaml:2: is not UTF-8"),
        (b"#" * 200_001, "is larger than 200,000 bytes"),
        ("extends: nowhere.yaml", "run.yaml:1: extends: there is no file"),
        ("extends: [a]", "run.yaml:1: extends: must be the name of one config file"),
        ("extends: run.yaml", "extends itself: run.yaml -> run.yaml"),
    ],
)  # fmt: skip
def test_a_mistake_is_named(tmp_path, text, message):
    assert message in refusal(write(tmp_path, text))


def test_all_mistakes_at_once_in_the_order_of_the_file(tmp_path):
    write(tmp_path, "training:\n  epochs: x\n", "below.yaml")
    path = write(tmp_path, "extends: below.yaml\nmodel: {n_layers: 0}\ndataset: {seed: -1}")
    lines = refusal(path, "probe.alpha=-1", "training.compile=maybe").split("\n")
    assert lines[0] == "5 mistakes:"
    found = [os.path.basename(line).rpartition(": must")[0] for line in lines[1:4]]
    assert found == ["below.yaml:2: training.epochs", "run.yaml:2: model.n_layers", "run.yaml:3: dataset.seed"]
    assert lines[4] == "  probe.alpha=-1: must be greater than or equal to 0, not -1"
    assert lines[5] == "  training.compile=maybe: must be 'auto', 'yes' or 'no', not \"maybe\""


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training", "training: write key=value"),
        ("=3", "=3: write key=value"),
        ("a..b=3", "a..b=3: write key=value"),
        ("training.epochs.x=3", "training.epochs is 3 and has no x inside"),
        ("world.regions.1.count=3", "world.regions.1.count=3: world.regions has items 0 to 0, not 1"),
        ("training.betas.x=3", "training.betas has items 0 to 1, not x"),
        ("trainin.epochs=3", "trainin.epochs=3: trainin: unknown key; did you mean training?"),
        ("epoch=3", "epoch=3: unknown key; did you mean training.epochs?"),
        ("training.steps=3", "unknown key; did you mean training.max_steps or training.warmup_steps?"),
        ("model.layers=3", "unknown key; did you mean model.n_layers?"),
        ("kind=inter", "unknown key; did you mean world.regions.kind or dataset.kind or tokenizer.kind?"),
        ("training.anchors.citys=3", "unknown key; did you mean training.anchors.cities?"),
        ("description=[1", "description=[1: not valid YAML"),
        ("dataset.parts[0].n_train=3", "an item's number stands after a dot: dataset.parts.0.n_train=3"),
        ("dataset.parts.0.n_train=3", "dataset.parts.0.n_train=3: dataset.parts has no items yet; give the whole list"),
    ],
)
def test_a_wrong_override_is_named(tmp_path, override, message):
    assert message in refusal(write(tmp_path, "training: {epochs: 3}"), override)


@pytest.mark.parametrize(
    ("overrides", "start", "message"),
    [
        (["dataset.kind=cross", "dataset.parts=[{n_train: 5}]"], "dataset.kind=cross dataset.parts=[{", "a kind alone"),
        (["dataset.parts=[distance]"], "dataset.parts=[distance]: dataset.parts.0: ", "must be a group of keys"),
        (["dataset.parts={n_train: 5}"], "dataset.parts={n_train: 5}: must be a list", "n_train"),
        (["dataset.parts=[{n_train: 5, n_tst: 1}]"], "dataset.parts=[", "did you mean dataset.parts.n_test?"),
        (["dataset.parts=[{n_train: 5, citys: world}]"], "dataset.parts=[", "did you mean dataset.parts.cities?"),
        (["dataset.kind=mixed", "dataset.n_train=7"], "dataset.kind=mixed dataset.n_train=7: dataset: n", ""),
        (["model.n_heads=3"], "model.n_heads=3: model: ", "hidden_size (128) must be a multiple"),
        (["dataset.kind=cross", "world.regions=[]"], "dataset.kind=cross world.regions=[]: ", "which needs a virtual"),
        (["probe.layers=[9]", "dataset.seed=1"], "probe.layers=[9]: probe.layers asks for block 9", ""),
        (["dataset=3"], "dataset=3: must be a group of keys", ""),
    ],
)  # fmt: skip
def test_an_override_that_clashes_with_the_file_is_to_blame(tmp_path, overrides, start, message):
    path = write(tmp_path, "dataset:\n  n_val: 16\nmodel: {hidden_size: 128}\nworld: {seed: 3}")
    assert (said := refusal(path, *overrides)).startswith(start) and message in said, said
    with pytest.raises(UserError) as caught:
        config.changed(config.load(path), overrides)
    assert str(caught.value).startswith(start)


def test_an_override_is_not_to_blame_for_what_the_file_has_wrong(tmp_path):
    path = write(tmp_path, "dataset: {kind: mixed, n_train: 7}\nworld: {regions: [{}, {}]}")
    lines = refusal(path, "dataset.seed=3", "world.regions.1.count=5", "training.epochs=x").split("\n  ")
    assert [line.partition(": ")[0].rpartition("/")[2] for line in lines[1:]] == [
        "run.yaml:1", "run.yaml:2", "training.epochs=x"
    ]  # fmt: skip


def test_find(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    write(tmp_path / "configs", "name: a", "demo.yaml")
    assert config.find("demo") == Path("configs/demo.yaml")
    assert config.find("configs/demo.yaml") == Path("configs/demo.yaml")
    for name, message in [("demmo", "did you mean demo"), ("xyz", "there is .*demo"), ("configs", "is a folder")]:
        with pytest.raises(UserError, match=message):
            config.find(name)
    with pytest.raises(UserError, match="no such config file"):
        config.load("nowhere.yaml")
    with pytest.raises(UserError, match="is a folder"):
        config.load("configs")


def test_a_base_config_may_be_a_known_one_in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs" / "mine").mkdir(parents=True)
    write(tmp_path / "configs" / "mine", "training: {max_steps: 3}", "start.yaml")
    write(tmp_path, "base: start\nbase_config: mine/start", "run.yaml")
    assert config_of_base(config.load("run.yaml")).training.max_steps == 3
    study = ["base=study_2025_base", "base_config=study_2025/base"]
    assert config_of_base(config.load("run.yaml", study)).name == "study_2025_base"
    with pytest.raises(UserError, match=r"bse: no such config file; there is .*mine/start, .*study_2025/base"):
        config_of_base(config.load("run.yaml", ["base_config=mine/bse"]))


# --- writing and comparing


def test_what_is_written_loads_back_equal(tmp_path):
    run = RunConfig(
        name="a",
        description="1e5",
        base_config=str(tmp_path / "deep" / "b.yaml"),
        world=WorldConfig(regions=[VirtualRegionConfig(name="NO", code="012", lon=-0.0)]),
        training=TrainingConfig(betas=(0.5, 0.25), learning_rate=1e-7, max_grad_norm=None),
    )
    assert config.load(write(tmp_path, config.dump(run))) == run
    text = config.dump(run, tmp_path)
    assert "base_config: deep/b.yaml" in text and str(tmp_path) not in text
    assert config.load(write(tmp_path, text)) == run


def test_digest_and_difference():
    run = RunConfig(name="a")
    assert config.digest(run) == config.digest(RunConfig(name="b", output_root="x", trackers=["wandb"]))
    assert config.difference(run, RunConfig(name="b")) == []
    other = RunConfig(
        training=TrainingConfig(batch_size=64),
        world=WorldConfig(regions=[VirtualRegionConfig(count=3), VirtualRegionConfig(name="B", code="XX1")]),
    )
    assert config.digest(run) != config.digest(other)
    lines = config.difference(run, other)
    assert "training.batch_size: 512 -> 64" in lines and "world.regions.0.count: 100 -> 3" in lines
    assert 'world.regions.1.name: (absent) -> "B"' in lines


def test_a_run_without_anchors_counts_as_before_there_were_any(tmp_path: Path):
    run, other = RunConfig(name="a"), RunConfig(name="a", training=TrainingConfig(anchors=AnchorsConfig(cities=7)))
    assert not any(key.startswith("training.anchors") for key in config.flat(run))
    assert "training.anchors.cities: (absent) -> 7" in config.difference(run, other)
    assert config.digest(run) != config.digest(other)
    assert config.load(write(tmp_path, config.dump(other))) == other
    assert config.changed(run, ["training.anchors.cities=7"]) == other


def test_settings_do_not_change():
    with pytest.raises(ValueError, match="frozen"):
        RunConfig().name = "b"


def test_a_run_with_the_measures_of_the_map_counts_as_before_there_was_a_choice(tmp_path: Path):
    run, other = RunConfig(name="a"), RunConfig(name="a", probe=ProbeConfig(measures=False))
    assert "probe.measures" not in config.flat(run)
    assert config.difference(run, other) == ["probe.measures: (absent) -> false"]
    assert config.load(write(tmp_path, config.dump(other))) == other
