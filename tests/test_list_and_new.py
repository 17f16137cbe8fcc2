"""`atlantis list` and `atlantis new`, and the shell's completion."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from atlantis import cli, lookup, strategies, tasks
from atlantis import config as configs
from atlantis.cli.new import SETTINGS
from atlantis.readout.catalogue import METRICS
from atlantis.strategies import registry
from atlantis.world import OCEANS


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with nothing in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


NAMES = {
    "configs": ["demo", "study_2025/cross", "atlantis_cross_finetune"],
    "bases": ["dist_100k_1M_20epochs", "warm_start", "city_dist_100k"],
    "strategies": registry.known(),
    "tasks": tasks.known(),
    "regions": list(OCEANS),
    "metrics": list(METRICS),
}


@pytest.mark.parametrize("kind", NAMES)
def test_every_name_has_its_line(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(capsys, "list", kind)
    lines = out.splitlines()
    assert code == 0 and lines[0].strip() == kind and max(map(len, lines)) <= 80
    for name in NAMES[kind]:
        line = next(line for line in lines if line.split()[:1] == [name])
        assert len(line.split()) > 1, f"{name} has no description"


def test_one_s_own_configs_are_listed_and_damaged_ones_stop_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    Path("configs").mkdir()
    Path("configs/mine.yaml").write_text("extends: demo\ndescription: what I try\nstrategy: {name: nowhere:Mine}\n")
    Path("configs/odd.yaml").write_text("a: [")
    code, out, _ = said(capsys, "list", "configs")
    assert code == 0 and "what I try" in out and "cannot be read" in out and "demo " in out


def test_other_tools_files_stop_no_list(empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (empty / "configs" / ".ipynb_checkpoints").mkdir(parents=True)
    (empty / "configs" / ".ipynb_checkpoints" / "mine-checkpoint.yaml").write_text("extends: demo\n")
    (empty / "configs" / ".#mine.yaml").symlink_to("somebody@host.123")
    (empty / "pretrained" / "bert").mkdir(parents=True)
    (empty / "pretrained" / "bert" / "config.json").write_text('{"model_type": "bert"}')
    code, out, _ = said(capsys, "list")
    assert code == 0 and "checkpoint" not in " ".join(configs.known_configs()) and ".#" not in out
    assert "bert" in out and "cannot be read" in out


def test_a_kind_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = said(capsys, "list", "strategy")
    assert code == 2 and "did you mean strategies? There is configs, bases, strategies" in err


def test_a_base_that_is_not_here_says_where_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    roots = [lookup.PACKAGE / "pretrained"]
    monkeypatch.setattr(lookup, "_base_roots", lambda: roots)
    code, out, _ = said(capsys, "list", "bases")
    assert code == 0 and "not here; `pip install ./pretrained` in a clone" in out
    for command in (["show", "warm_start"], ["train", "demo", "base=warm_start"], ["evaluate", "warm_start"]):
        code, _, err = said(capsys, *command)
        assert code == 2 and "the package atlantis-lab-models: `pip install ./pretrained`" in err


# --- new


@pytest.mark.parametrize("parent", ["demo", "study_2025/cross", "configs/quick_base.yaml"])
def test_a_new_config_is_the_one_it_extends_until_it_is_changed(
    parent: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = said(capsys, "new", "mine", "--extends", parent)
    assert code == 0 and out == "configs/mine.yaml\nchange it, then: atlantis train mine\n"
    before, made = configs.load(parent), configs.load("mine")
    assert made.name == "mine" and made.description == "What mine is to show, in one line"
    assert configs.difference(before, made) == []
    file = Path("configs/mine.yaml")
    text = file.read_text().partition("# Keep old knowledge")[0]
    settings = re.findall(r"^#  \w+: .*", text, flags=re.MULTILINE)
    assert len(settings) == len(SETTINGS) and all(re.search(r"  # \w", line) for line in settings)
    opened = re.sub(r"^#(?! \S|$| {5})", "", text, flags=re.MULTILINE)
    file.write_text(opened)
    assert "\ntraining:\n  max_steps: " in opened and configs.difference(before, configs.load("mine")) == []


def test_the_strategy_of_a_new_config_can_be_taken(capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "new", "mine")
    file = Path("configs/mine.yaml")
    text = file.read_text()
    for line in ("strategy:", "  name: replay", "  share: 0.2"):
        assert f"#{line}\n" in text
        text = text.replace(f"#{line}\n", f"{line}\n")
    file.write_text(text)
    assert [strategy.name for strategy in configs.load("mine").strategies] == ["replay"]


def test_a_new_config_from_one_of_one_s_own(capsys: pytest.CaptureFixture[str]) -> None:
    Path("first.yaml").write_text("extends: demo\ntraining: {max_steps: 7}\n")
    assert said(capsys, "new", "second", "--extends", "first.yaml")[0] == 0
    assert configs.load("second").training.max_steps == 7


def test_a_new_config_extends_one_whose_name_looks_like_a_number(capsys: pytest.CaptureFixture[str]) -> None:
    for name, extends in (("2026", "demo"), ("b", "2026")):
        assert said(capsys, "new", name, "--extends", extends)[0] == 0
    assert configs.load("b").training == configs.load("demo").training


def test_a_config_that_is_shown_can_be_used(empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (empty / "shown.yaml").write_text(said(capsys, "show", "study_2025/cross")[1])
    assert configs.load("shown.yaml") == configs.load("study_2025/cross")


def test_nothing_is_written_over_or_outside(empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "new", "mine")[0] == 0
    Path("configs/mine.yaml").write_text("mine")
    code, _, err = said(capsys, "new", "mine")
    assert code == 2 and "is there already" in err and Path("configs/mine.yaml").read_text() == "mine"
    for name in ("../up", "a b", "", "/tmp/x"):
        code, _, err = said(capsys, "new", name)
        assert code == 2 and "is no name for a config" in err
    for arguments in (("demo",), ("demo", "--extends", "configs/demo"), ("demo", "--extends", "configs/demo.yaml")):
        code, _, err = said(capsys, "new", *arguments)
        assert code == 2 and "demo: would extend itself" in err
    code, _, err = said(capsys, "new", "other", "--extends", "demmo")
    assert code == 2 and "did you mean demo?" in err
    assert [path.name for path in empty.rglob("*")] == ["configs", "mine.yaml"]


def test_what_is_extended_and_nowhere_gets_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.yaml").write_text("extends: demmo\n")
    code, _, err = said(capsys, "train", "mine.yaml")
    assert code == 2 and "mine.yaml:1: extends: there is no file demmo; did you mean demo?" in err


# --- completion


@pytest.mark.parametrize(("words", "expected"), [("atlantis tr", "train"), ("atlantis list st", "strategies")])
def test_the_shell_completes(words: str, expected: str) -> None:
    settings = {"_ATLANTIS_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    heavy = "import sys; from atlantis import cli\ntry: cli.main()\nfinally: assert 'torch' not in sys.modules"
    result = subprocess.run([sys.executable, "-c", heavy], env=os.environ | settings, capture_output=True, text=True)
    assert result.stdout.split() == [expected] and result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("train dem", "demo demo_mine"),
        ("train mi", "mixed_dist20k_cross100k_finetune"),
        ("show demo", "demo_mine demo"),
        ("show wa", "warm_start"),
        ("evaluate dist", "dist_100k_1M_20epochs"),
        ("probe demo", "demo_mine"),
        ("report demo_mine de", "demo_mine"),
        ("stitch de", "demo_mine"),
        ("interpolate de", "demo_mine"),
        ("probe --output-root elsewhere th", "theirs"),
        ("report demo", "demo_mine"),
        ("report xyz", ""),
    ],
)
def test_the_shell_completes_names(
    words: str, expected: str, empty: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for root, name in (("outputs", "demo_mine"), ("elsewhere", "theirs")):
        (empty / root / "experiments" / name).mkdir(parents=True)
        (empty / root / "experiments" / name / "config.yaml").touch()
    typed = f"atlantis {words}"
    for name, value in {"COMPLETE": "complete_bash"}.items():
        monkeypatch.setenv(f"_ATLANTIS_{name}", value)
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(typed.count(" ")))
    with pytest.raises(SystemExit) as ended:
        cli.main([])
    assert ended.value.code == 0 and capsys.readouterr().out.split() == expected.split()


def test_completion_is_installed_for_a_shell(empty: Path) -> None:
    # Below a shell, for the shell is looked for among the processes above; `exit` keeps bash from becoming Python.
    command = ["bash", "-c", f"'{sys.executable}' -m atlantis --install-completion; exit $?"]
    result = subprocess.run(command, env=os.environ | {"HOME": str(empty)}, capture_output=True, text=True)
    assert result.returncode == 0 and ".bash_completions/atlantis.sh" in (empty / ".bashrc").read_text()


def test_listing_imports_nothing_heavy() -> None:
    code = "import sys; from atlantis import cli; cli.main(['list', 'strategies']); print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.splitlines()[-1] == "False" and strategies.__name__ == "atlantis.strategies"
