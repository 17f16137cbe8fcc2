"""Bare names of runs, bases and configs, in every command alike, and what is said of a name that nothing has."""

from __future__ import annotations

import os
import webbrowser
from pathlib import Path

import pytest

from atlantis import cli, load_config, lookup, trust
from atlantis.errors import UserError
from tests.planted_run import make_run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the current one, with a run `mine` below outputs/ and one `theirs` below other/."""
    monkeypatch.chdir(tmp_path)
    for root, name in (("outputs", "mine"), ("other", "theirs")):
        make_run(tmp_path / root / "experiments" / name, name=name)
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_path_wins_then_runs_bases_and_configs(here: Path) -> None:
    assert lookup.anything("mine") == Path("outputs/experiments/mine")
    assert lookup.anything("theirs", "other") == Path("other/experiments/theirs")
    assert lookup.anything("warm_start").parts[-2:] == ("pretrained", "warm_start")
    assert lookup.anything("demo").name == "demo.yaml"
    assert lookup.anything("configs/demo.yaml").name == "demo.yaml"
    assert lookup.anything("study_2025/cross").parts[-2:] == ("study_2025", "cross.yaml")
    Path("demo").mkdir()
    assert lookup.anything("demo") == Path("demo")
    assert lookup.base_folder("pretrained/warm_start") == lookup.base_folder("warm_start")
    assert lookup.model_folder("warm_start") == lookup.base_folder("warm_start")
    Path("outputs/experiments/warm_start").mkdir()  # one's own run comes before what is shipped
    assert lookup.model_folder("warm_start") == lookup.anything("warm_start") == Path("outputs/experiments/warm_start")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "mien"], "mien: there is nothing there, and no run, base or config of this name; did you mean mine?"),
        (["show", "worm_start"], "did you mean warm_start? There is mine, city_dist_100k"),
        (["report", "min"], "min: no such folder, and no run of this name in outputs/experiments; did you mean mine?"),
        (["report", "mine", "--output-root", "other"], "of this name in other/experiments. There is theirs"),
        (["interpolate", "min"], "did you mean mine? There is mine"),
        (["evaluate", "warmstart"], "and no run or base of this name; did you mean warm_start? There is mine, city"),
        (["probe", "theirz", "--output-root", "other"], "did you mean theirs?"),
        (["train", "dem"], "dem: no such config file; did you mean demo?"),
        (["show", "../mine"], "../mine: there is nothing there"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_name_that_nothing_has_gets_the_nearest(
    arguments: list[str], message: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, error = said(capsys, *arguments)
    assert code == 2 and message in error and error.count("\n") == 1


def test_show_and_report_take_names_below_any_output_root(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "outputs/experiments/mine" in said(capsys, "show", "mine")[1]
    assert "other/experiments/theirs" in said(capsys, "show", "theirs", "--output-root", "other")[1]
    assert "1,588,096" in said(capsys, "show", "warm_start")[1]
    assert "max_steps: 200" in said(capsys, "show", "demo")[1]
    code, out, _ = said(capsys, "report", "theirs", "--output-root", "other", "--out", "x.htm")
    assert code == 0 and out.splitlines()[-1] == "x.htm" and Path("x.htm").read_text().startswith("<!DOCTYPE html>")


def test_a_report_is_no_pdf(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, error = said(capsys, "report", "mine", "--out", "x.pdf")
    assert code == 2 and "x.pdf: a report is not written as .pdf; give a folder" in error and not Path("x.pdf").exists()


def test_a_report_is_opened(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or len(opened) == 1)
    assert said(capsys, "report", "mine", "--out", "p.html", "--open")[0] == 0
    assert opened == [(here / "p.html").as_uri()]
    code, out, error = said(capsys, "report", "mine", "--out", "p.html", "--open")
    assert code == 2 and "--open: there is no browser" in error and out.splitlines()[-1] == "p.html"


def test_load_config_takes_a_name(here: Path) -> None:
    assert load_config("demo", ["training.max_steps=3"]).training.max_steps == 3
    with pytest.raises(UserError, match="dmeo: no such config file; did you mean demo"):
        load_config("dmeo")


def test_output_root_is_the_setting_of_a_config(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("s.yaml").write_text("seeds: [1]\nbase: theirs")
    code, _, error = said(capsys, "sweep", "s.yaml", "--dry-run", "--output-root", "my: root")
    assert code == 2 and "no finished run in my: root/experiments" in error
    code, _, error = said(capsys, "train", "demo", "base=nope", "--output-root", "else", "training.max_steps=1")
    assert code == 2 and "no finished run in else/experiments" in error and not Path("else").exists()


def test_another_tools_folder_is_no_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("foreign").mkdir()
    Path("foreign/metrics.jsonl").write_text('{"step": 1, "loss": 0.5}\n')
    Path("foreign/run.json").write_text('{"status": "done", "id": 3}')
    code, _, error = said(capsys, "report", "foreign")
    assert code == 2 and "not the folder of a run" in error
    assert sorted(os.listdir("foreign")) == ["metrics.jsonl", "run.json"]


def test_a_run_is_evaluated_on_its_own_questions(small_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(small_run.parent.parent)
    code, out, error = said(capsys, "evaluate", "small", "--output-root", root)
    assert code == 0, error
    assert "64" in out and "world-world" in out
    digest = trust.read_record(small_run)["digests"]["dataset"]
    (folder,) = (small_run.parent.parent / "datasets").glob(f"*-{digest}")
    assert said(capsys, "evaluate", "small", folder.name, "--output-root", root)[1] == out
    code, _, error = said(capsys, "evaluate", "small", "nowhere", "--output-root", root)
    assert code == 2 and "nowhere" in error
