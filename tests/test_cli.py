"""The command line: helps that answer at once, one line for a mistake, and the exit codes of the top-level help."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest

import atlantis.report
from atlantis import cli, study
from atlantis.cli import pages
from atlantis.cli.app import GROUPS
from atlantis.data.dataset import Dataset
from atlantis.errors import UserError
from atlantis.settings import STUDY_SIZES, RunConfig
from atlantis.training.inputs import saved_dataset
from atlantis.world import World

SOURCE = Path(cli.__file__).parents[2]
CONFIGS = Path(__file__).parents[1] / "src" / "atlantis" / "configs"
COMMANDS = [
    [], ["world"], ["world", "build"], ["data"], *(["data", kind] for kind in ("distance", "inter", "cross", "mixed")),
    *([name] for name in ("train", "evaluate", "probe", "interpolate", "report", "show", "study", "sweep")),
]  # fmt: skip


@pytest.fixture(autouse=True)
def in_a_new_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ATLANTIS_DEBUG", raising=False)
    return tmp_path


def fails(capsys, *arguments: str) -> tuple[int, str]:
    code = cli.main(arguments)
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return code, message


def in_process(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "PYTHONPATH": str(SOURCE), **environment}
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=variables)


# --- help


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_help_says_what_and_how(command, capsys):
    assert cli.main([*command, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("Usage: atlantis")
    if command and command not in (["world"], ["data"]):
        assert "Example" in text and f"    atlantis {' '.join(command)} " in text
        assert "rite" in text  # what it writes, or that it writes nothing
    assert "\x1b" not in text and max(map(len, text.splitlines())) < 110


def test_help_imports_nothing_heavy():
    # not pydantic: typer itself converts defaults with it
    heavy = ["numpy", "pandas", "pyarrow", "torch", "transformers", "datasets", "matplotlib", "sklearn"]
    script = f"import sys\nfrom atlantis.cli import main\nfor c in {COMMANDS}: main([*c, '--help'])\n"
    done = in_process(script + f"print([m for m in {heavy} if m in sys.modules], file=sys.stderr)")
    assert done.stderr.strip() == "[]"


def test_the_help_of_all_commands_imports_none_of_them():
    script = "import sys\nfrom atlantis.cli import main\nmain(['--help'])\nprint(*sorted(sys.modules), file=sys.stderr)"
    ours = {name for name in in_process(script).stderr.split() if name.startswith("atlantis.cli.")}
    assert ours == {"atlantis.cli.app", "atlantis.cli.entry", "atlantis.cli.failures"}


def test_exit_codes_are_in_the_help(capsys):
    cli.main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    for said in ("0 done", "1 some part failed", "2 a mistake", "130 stopped by Ctrl-C", "143 stopped by SIGTERM"):
        assert said in text


def test_alone_it_says_what_to_do_first(capsys):
    assert cli.main([]) == 0
    said = capsys.readouterr()
    assert "Begin with:\n  atlantis train demo" in said.out and said.err == ""
    assert max(map(len, said.out.splitlines())) <= 80


def test_a_group_of_commands_without_a_command_is_a_mistake(capsys):
    code, message = fails(capsys, "world")
    assert code == 2 and message.startswith("Usage: atlantis world")


def test_commands_are_in_groups_each_with_a_whole_line(capsys):
    cli.main(["--help"])
    text = capsys.readouterr().out
    last = text.split("Show this message and exit.")[1]
    assert [line for line in last.splitlines() if line.endswith(":")] == [f"{name}:" for name in GROUPS]
    for commands in GROUPS.values():
        for name, (_, line) in commands.items():
            assert f"  {name} " in last and line.rstrip(".") in last
    assert "..." not in last and max(map(len, last.splitlines())) <= 80


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("atlantis ")


# --- mistakes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fly"], "No such command 'fly'; see `atlantis --help`"),
        (["show"], "Missing argument 'PATH'; see `atlantis show --help`"),
        (["show", "nowhere"], "nowhere: there is nothing there, and no run"),
        (["show", "."], ".: not a run, checkpoint, dataset or world"),
        (["train", "nothing"], "nothing: no such config file"),
        (["data", "cross"], "Missing option '--out'; see `atlantis data --help`"),
        (["data", "frog", "--out", "d"], "frog: is no kind of dataset; the kinds are distance, inter, cross, mixed"),
        (["data", "frog.yaml", "--out", "d"], "frog.yaml: no such config file"),
        (["data", "demo", "--seed", "3", "--out", "d"], "--seed: demo says what is drawn; set it there, or leave it"),
        (["data", "distance", "--inter-ratio", "0.1", "--out", "d"], "--inter-ratio: is for cross and mixed, not for"),
        (["data", "cross", "--n-distance", "3", "--out", "d"], "--n-distance: is for mixed, not for cross"),
        (["data", "cross", "--n-train", "x", "--out", "d"], "--n-train"),
        (["data", "inter", "--n-train", "5000", "--out", "d"], "n_train at most 4,322"),
        (["data", "cross", "--world", "nowhere", "--out", "d"], "nowhere: no saved world there"),
        (["data", "mixed", "--n-train", "6", "--n-cross", "3", "--out", "d"], "--n-train: give it, or"),
        (["world", "build", "--region", "a:b", "--out", "w"], "--region a:b: write NAME:CODE"),
        (["world", "build", "--region", "A:XX1:0:91:500:9", "--out", "w"], "lat: must be less than or equal to 90"),
        (["world", "build", "--region", "indian", "--real-only", "--out", "w"], "give one or the other"),
        (["world", "build", "--cities", "nowhere.csv", "--out", "w"], "nowhere.csv"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)  # fmt: skip
def test_a_mistake_is_one_line_and_2(arguments, message, capsys):
    code, said = fails(capsys, *arguments)
    assert code == 2 and said.startswith("error: ") and message in said and said.count("\n") == 1
    assert os.listdir() == []  # nothing was written


def raising(monkeypatch, error: BaseException) -> None:
    def summary(path):
        raise error

    monkeypatch.setattr("atlantis.show.summary", summary)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UserError("x.yaml:3: no"), 2, "error: x.yaml:3: no\n"),
        (FileNotFoundError(2, "No such file or directory", "a.csv"), 2, "error: a.csv: No such file or directory\n"),
        (
            PermissionError(13, "Permission denied", "/root"),
            2,
            "error: /root: Permission denied; change the permissions",
        ),
        (OSError(28, "No space left on device"), 2, "error: No space left on device; make room"),
        (MemoryError(), 1, "error: out of memory"),
        (KeyError("x"), 1, "error: unexpected KeyError: 'x' (test_cli.py:"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_every_way_out(error, code, message, monkeypatch, capsys):
    raising(monkeypatch, error)
    found, said = fails(capsys, "show", ".")
    assert found == code and said.startswith(message)


def test_debug_shows_the_traceback(monkeypatch, capsys):
    raising(monkeypatch, KeyError("x"))
    monkeypatch.setenv("ATLANTIS_DEBUG", "1")
    assert cli.main(["show", "."]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129), *((n, 128 + n) for n in (10, 12))],
)
def test_signals_clean_up_and_have_their_codes(number, code):
    script = """if True:
        import os, signal, sys
        from pathlib import Path
        from atlantis import artifacts, cli, show
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored
        def summary(path):
            with artifacts.new_folder(Path("made"), kind="world"):
                os.kill(os.getpid(), int(sys.stdin.read() or NUMBER))
        show.summary = summary
        sys.exit(cli.main(["show", "."]))"""
    done = in_process(script.replace("sys.stdin.read() or NUMBER", str(int(number))))
    assert done.returncode == code and "Traceback" not in done.stderr
    assert os.listdir() == []


def test_a_closed_pipe_is_no_traceback():
    script = f"{sys.executable} -m atlantis show {CONFIGS / 'demo.yaml'} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(SOURCE)}
    )
    assert done.stderr == "" and done.returncode in (0, 1)


def test_python_m_atlantis():
    done = in_process(
        "import runpy, sys; sys.argv[1:] = ['show', 'x']; runpy.run_module('atlantis', run_name='__main__')"
    )
    assert done.returncode == 2 and done.stderr.startswith("error: x: there is nothing there")


# --- what the commands do


def test_world_and_data_are_built_once_and_shown(capsys):
    assert cli.main(["world", "build", "--region", "L:XX1:75:-20:400:20", "--region", "indian", "--out", "w"]) == 0
    text = capsys.readouterr().out
    assert "5,075, ids 0 to 5074" in text and "ids 5075 to " in text and "\x1b" not in text
    assert {"cities.csv", "world.json", "README.md", "map.png"} <= set(os.listdir("w"))
    command = ["data", "inter", "--world", "w", "--n-train", "100", "--n-val", "5", "--n-test", "7", "--out", "d"]
    assert cli.main(command) == 0
    assert "100" in capsys.readouterr().out
    before = {file: file.stat().st_mtime_ns for file in Path("d").rglob("*")}
    assert cli.main(command) == 0
    assert "already there; nothing to do" in capsys.readouterr().out
    assert before == {file: file.stat().st_mtime_ns for file in Path("d").rglob("*")}
    code, said = fails(capsys, *command[:-1], "w")
    assert code == 2 and "w: already holds a world" in said
    code, said = fails(capsys, *command[:2], "--sibling", "d", "--out", "e")
    assert code == 2 and "dataset of another world" in said
    assert cli.main([*command[:-1], "f", "--seed", "7", "--sibling", "d"]) == 0
    assert "pairs of d" in capsys.readouterr().out
    code, said = fails(capsys, *command, "--sibling", "f")
    assert code == 2 and "d: was made without --sibling f; remove it" in said
    assert sorted(os.listdir()) == ["d", "f", "w"]


def test_the_help_of_data_says_the_sizes_of_every_kind(capsys):
    cli.main(["data", "--help"])
    lines = capsys.readouterr().out.splitlines()
    for kind, (n_train, _, n_test) in STUDY_SIZES.items():
        first = next(line for line in lines if line.startswith(f"  {kind} "))
        assert first.split()[-2:] == [str(n_train), str(n_test)]


def test_mixed_shares_its_pairs_as_the_study_did(capsys):
    assert cli.main(["data", "mixed", "--n-train", "600", "--out", "m"]) == 0
    assert "100 (16.7%)" in capsys.readouterr().out


def test_data_of_a_config(capsys, small_config):
    """The same bytes as the run's own dataset; one part is there for tests alone."""
    parts = [
        {"task": "distance", "n_train": 20},
        {"task": "distance", "cities": {"inside": "Atlantis"}, "n_train": 0, "n_val": 0, "n_test": 5},
    ]
    dataset = {"parts": parts, "n_val": 4, "n_test": 12}
    config = small_config.model_dump(mode="json") | {"dataset": dataset, "output_root": "outputs"}
    Path("mine.yaml").write_text(json.dumps(config))
    assert cli.main(["data", "mine.yaml", "--out", "asked"]) == 0
    assert "atlantis-atlantis" in capsys.readouterr().out
    loaded = RunConfig.model_validate(config)
    trained = saved_dataset(loaded.dataset, World.from_config(loaded.world), "outputs")
    asked = Dataset.load(Path("asked"))
    assert asked.splits["test"] == trained.splits["test"] and len(asked.splits["test"]) == 12
    assert asked.splits["test"].counts()["atlantis-atlantis"] == 5


def test_world_of_a_config(capsys):
    Path("configs").mkdir()
    Path("configs/two.yaml").write_text("world: {seed: 3, regions: [{}, {name: L, code: XX1, count: 5}]}")
    assert cli.main(["world", "build", "two", "--out", "w"]) == 0
    assert "105, ids 5075 to 5179" in capsys.readouterr().out
    assert cli.main(["world", "build", "two", "--real-only", "--seed", "4", "--out", "v"]) == 0
    text = capsys.readouterr().out
    assert "none" in text and "seed            4" in text


def test_show_a_config(capsys):
    assert cli.main(["show", str(CONFIGS / "demo.yaml")]) == 0
    assert "max_steps: 200" in capsys.readouterr().out


def test_train_reports_and_ends_with_the_page(monkeypatch, capsys):
    seen = {}

    def train(config, resume, strict, fork, build_base):
        seen["config"], seen["resume"] = config, resume
        return Path("outputs/experiments") / config.name

    page = Path("somewhere/" + "deep/" * 40 + "index.html")  # wider than any console
    drawn = []
    fakes = {
        "atlantis.training": {"train": train},
        "atlantis.report.page": {
            "left_out": None,
            "load_all": lambda folders: ([types.SimpleNamespace(path=folder) for folder in folders], []),
            "write_report": lambda runs, out: drawn.extend(run.path for run in runs) or page,
        },
        "atlantis.report.tables": {"run_table": lambda run: f"table of {run.path}"},
    }
    for name, content in fakes.items():
        monkeypatch.setitem(sys.modules, name, types.SimpleNamespace(**content))
        package, _, module = name.rpartition(".")
        if package == "atlantis.report":
            monkeypatch.setattr(atlantis.report, module, sys.modules[name], raising=False)
    assert cli.main(["train", str(CONFIGS / "demo.yaml"), "name=mine", "training.max_steps=3", "--resume"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["table of outputs/experiments/mine", str(page)]
    assert seen["config"].training.max_steps == 3 and seen["resume"] and drawn == [Path("outputs/experiments/mine")]


def test_show_a_checkpoint(capsys):
    import numpy as np
    from safetensors.numpy import save_file

    folder = Path("checkpoint-0")
    folder.mkdir()
    save_file({"a": np.zeros((3, 4)), "b": np.zeros(5)}, folder / "model.safetensors")
    (folder / "config.json").write_text('{"model_type": "qwen2", "num_hidden_layers": 6, "hidden_size": 128}')
    (folder / "eval_results.json").write_text(
        '{"loss": 1.5, "slices": {"all": {"n": 9, "mean_km": 98.04, "parsed": 1}}}'
    )
    assert cli.main(["show", "checkpoint-0"]) == 0
    text = capsys.readouterr().out
    assert "17" in text and "6 blocks of 128" in text and "98.0" in text and "1.5" in text
    (folder / "model.safetensors").write_bytes(b"cut")
    code, said = fails(capsys, "show", "checkpoint-0")
    assert code == 2 and "not a whole safetensors file" in said


# --- where results go


@pytest.mark.parametrize(
    ("command", "out", "message"),
    [
        (["evaluate"], "", "--out .: is a folder; give the name of a file"),
        (["evaluate"], "/", "--out /: is a folder; give the name of a file"),
        (["evaluate"], "loop", "--out loop: is there already, and is no file of scores"),
        (["evaluate"], "notes.txt", "--out notes.txt: is there already, and is no file of scores"),
        (["evaluate"], "other.json", "--out other.json: is there already, and is no file of scores"),
        (["data", "inter"], "loop", "loop: is a file; give the name of a folder"),
        (["data", "inter"], "/", "/: holds files that are not ours"),
        (["world", "build"], "loop", "loop: is a file; give the name of a folder"),
        (["report"], "loop", "loop"),
        (["probe"], "loop", "loop: is a file; give the name of a folder"),
    ],
)
def test_a_place_for_results_that_is_none(small_run, small_world, command, out, message, capsys):
    Path("loop").symlink_to("loop")
    Path("notes.txt").write_text("mine")
    Path("other.json").write_text("{}")
    runs = {"evaluate": [str(small_run)], "report": [str(small_run)], "probe": [str(small_run / "checkpoints/final")]}
    if command == ["probe"]:
        small_world.save(Path("world"))
        runs["probe"] += ["--world", "world", "--layers", "0"]
    code, said = fails(capsys, *command, *runs.get(command[0], []), "--out", out)
    assert code == 2 and f"error: {message}" in said.replace(f"{Path.cwd()}/", "") and said.count("\n") == 1
    assert Path("notes.txt").read_text() == "mine" and Path("other.json").read_text() == "{}"


def test_scores_go_to_a_file_of_scores_and_into_no_run(small_run, capsys):
    files = {path: path.read_bytes() for path in small_run.rglob("*") if path.is_file()}
    into = {
        "metrics.jsonl": f"lies in the run {small_run}",
        "new.json": f"lies in the run {small_run}",
        "checkpoints/final/scores.json": f"lies in the checkpoint {small_run}/checkpoints/final",
    }
    for name, message in into.items():
        code, said = fails(capsys, "evaluate", str(small_run), "--out", str(small_run / name))
        assert code == 2 and f"{small_run / name}: {message} and may not; give a file somewhere else" in said
    Path("link").symlink_to(small_run / "analysis")
    assert fails(capsys, "evaluate", str(small_run), "--out", "link/scores.json")[0] == 2
    Path("run.json").write_text("{}")  # of another tool
    assert cli.main(["evaluate", str(small_run), "--out", "scores.json"]) == 0
    capsys.readouterr()
    Path("scores.json").unlink()
    assert {path: path.read_bytes() for path in small_run.rglob("*") if path.is_file()} == files
    for _ in range(2):  # scores may replace scores
        assert cli.main(["evaluate", str(small_run), "--out", "new/scores.json"]) == 0
    assert {score["slice"] for score in json.loads(Path("new/scores.json").read_text())["scores"]}


def test_a_tilde_in_an_option_is_the_home_folder(small_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "big").mkdir(parents=True)
    (tmp_path / "home" / "big" / "experiments").symlink_to(small_run.parent)
    for command in (["show", "small"], ["evaluate", "small", "--out=~/scores.json"]):
        assert cli.main([*command, "--output-root=~/big"]) == 0
    code, said = fails(capsys, "train", "small", "--extend", "0", "--output-root=~/big")
    assert code == 2 and "--extend 0: give at least 1 step more" in said, "the run is found"
    assert (tmp_path / "home" / "scores.json").is_file() and os.listdir() == ["home"]
    runs, planned = study.plan([42], ["base"]), []
    monkeypatch.setattr("atlantis.study.plan", lambda *arguments: planned.extend(arguments) or runs)
    assert cli.main(["study", "--dry-run", "--base=~/big/a", "--output-root=~/big"]) == 0
    assert planned[2:4] == [str(tmp_path / "home" / "big" / "a"), tmp_path / "home" / "big"]
    assert cli.main(["world", "build", "--real-only", "--out=~/world"]) == 0
    assert (tmp_path / "home" / "world" / "world.json").is_file() and os.listdir() == ["home"]


def test_a_page_of_records_replaces_no_other_file(tmp_path, capsys):
    page = pages.page_parser("").parse_args(["records", "-o", "page.md"])
    pages.write_page(page, lambda: "text")
    assert Path("page.md").read_text() == "text"
    Path("record.json").write_text("{}")
    with pytest.raises(SystemExit, match="2"):
        pages.write_page(pages.page_parser("").parse_args(["records", "-o", "record.json"]), lambda: "text")
    assert "error: record.json: is no name of a Markdown file; give one that ends in .md" in capsys.readouterr().err
    assert Path("record.json").read_text() == "{}"


# --- probing one model


def test_a_models_folder_is_probed(small_run, small_world, tmp_path, capsys):
    """It prints what it read, and writes where --out says, and nowhere else."""
    checkpoint, world = small_run / "checkpoints" / "final", tmp_path / "world"
    small_world.save(world)
    before = sorted(small_run.rglob("*"))
    arguments = ["probe", str(checkpoint), "--world", str(world), "--layers", "0,4", "--table"]
    assert cli.main([*arguments, "--out", "found"]) == 0
    said = capsys.readouterr().out
    assert "Atlantis" in said and "embedding" in said and "by layer and position" in said
    found = {str(path.relative_to(tmp_path / "found")) for path in (tmp_path / "found").rglob("*.*")}
    assert {"degrees/variants.csv", "sphere/predictions.parquet", "layers/layers.csv", "manifest.json"} <= found
    assert cli.main(arguments) == 0 and sorted(small_run.rglob("*")) == before
    code, message = fails(capsys, *arguments, "--out", "found")
    assert code == 2 and "found: already holds" in message


def test_each_protocol_has_its_number_of_cities(capsys):
    import pandas as pd

    from atlantis.cli.output import print_shown
    from atlantis.show import reading_table

    row = {"group": "Western Europe", "split": "test", "lon_r2": 0.9, "lat_r2": 0.95, "mean_km": 614.0}
    ends = {"mean_km_low": 603.0, "mean_km_high": 662.0}
    counts = {"degrees": 2_000, "sphere": 5_075}
    tables = {name: pd.DataFrame([row | ends | {"n": n}]) for name, n in counts.items()}
    readings = {name: types.SimpleNamespace(dynamics=table) for name, table in tables.items()}
    print_shown(reading_table(readings, "final"))
    said = capsys.readouterr().out
    headings, line = (
        [part.strip() for part in line.replace("┃", "│").strip("│").split("│")]
        for line in said.splitlines()
        if "group" in line or "Western Europe" in line
    )
    lower = ["group", "tested", "R²", "R²", "km", "cities", "sphere", "interval"]
    assert headings == lower, "in one table of 80 columns"
    assert line == ["Western Europe", "2,000", "0.900", "0.950", "614", "5,075", "614", "603 to 662"]


def test_a_runs_layers_and_the_change_by_region(small_run, capsys):
    import shutil

    import pandas as pd

    run = small_run.with_name("a_copy")  # its config names its cities relative to itself
    shutil.copytree(small_run, run)
    for step in (3, 10):  # two checkpoints are enough
        shutil.rmtree(run / "checkpoints" / f"checkpoint-{step}")
    assert cli.main(["probe", str(run), "--table"]) == 0
    said = capsys.readouterr().out
    assert "mean km by group" in said and "change" in said
    table = pd.read_csv(run / "analysis" / "layers" / "layers.csv")
    assert sorted(set(table["step"])) == sorted(int(p.name[11:]) for p in (run / "checkpoints").glob("checkpoint-*"))
    assert list(table["layer"].unique()) == ["embedding", "0", "1", "2", "3", "4", "norm"]
    dynamics = pd.read_csv(run / "analysis" / "degrees" / "representation_dynamics.csv")
    km = dynamics[(dynamics["group"] == "real") & (dynamics["split"] == "test")].sort_values("step")["mean_km"]
    line = next(line for line in said.splitlines() if line.split("│")[1:2] and line.split("│")[1].strip() == "real")
    assert f"{km.iloc[-1] - km.iloc[0]:+,.0f}" in line


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--layers", "5"], "there is no layer 5 in"),
        (["--layers", "three"], "layers"),
        (["--world", "nowhere"], "nowhere"),
        ([], "trained on another world"),
    ],
)
def test_what_cannot_be_probed_is_one_line(small_run, small_world, extra, message, capsys):
    world = Path("world")
    small_world.save(world)
    given = extra if "--world" in extra or not extra else [*extra, "--world", str(world)]
    code, said = fails(capsys, "probe", str(small_run / "checkpoints" / "final"), *given, "--out", "found")
    assert code == 2 and message in said and len(said.strip().splitlines()) == 1
    assert not [path for path in Path.cwd().iterdir() if "found" in path.name]


def test_options_for_one_model_are_refused_for_a_run(small_run, capsys):
    code, said = fails(capsys, "probe", str(small_run), "--layers", "1")
    assert code == 2 and "--layers: is for the folder of one model" in said
