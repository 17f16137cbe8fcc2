"""Where the cases of `inputs` and `hostile` take place: a few small artifacts, and files of somebody else beside them.

work/                the current folder: cities.csv, tiny.yaml, outputs/ with a run, its world and its dataset
outside/             precious.txt and kept/: nothing may ever change here
"""

from __future__ import annotations

import os
from pathlib import Path

RUN = Path("work/outputs/experiments/tiny")
CITIES = 12
GIGABYTE = "gigabyte"
"""A file of that size, most of it a hole, beside the template."""
CONFIG = """\
description: the smallest run
world: {cities: cities.csv, regions: [{count: 4}]}
dataset: {kind: distance, n_train: 40, n_val: 8, n_test: 12}
model: {hidden_size: 8, n_layers: 2, n_heads: 2, mlp_size: 8}
training: {batch_size: 16, max_steps: 2, warmup_steps: 1, device: cpu}
evaluation: {n_items: 4, steps: [0], fractions: [1.0]}
probe: {n_cities: 12, n_train: 8, layers: [0, 1], repeats: 1}
"""


def csv_text(n: int = CITIES) -> str:
    rows = [f"City {k},{(37 * k) % 160 - 80}.5,{(71 * k) % 340 - 170}.25,FR,{1000 + k}\n" for k in range(n)]
    return "name,lat,lon,country,population\n" + "".join(rows)


def build(scene: Path) -> None:
    """Make the scene; in a process of its own, for libraries that start threads do not survive a later fork."""
    (scene / "outside" / "kept").mkdir(parents=True)
    (scene / "outside" / "precious.txt").write_text("precious\n" * 1000)
    (scene / "outside" / "kept" / "thesis.txt").write_text("the only copy\n")
    (scene / "work").mkdir()
    (scene / "work" / "cities.csv").write_text(csv_text())
    (scene / "work" / "tiny.yaml").write_text(CONFIG)
    if (pid := os.fork()) == 0:
        os.chdir(scene / "work")
        from atlantis import cli

        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        os._exit(cli.main(["train", "tiny.yaml"]))
    _, status = os.waitpid(pid, 0)
    if status:
        raise RuntimeError("the scene could not be built")


def gigabyte(scene: Path, name: str) -> None:
    """Put a link to the large file into the current folder: a copy of it for each case would take too long."""
    (scene / "work" / name).symlink_to(scene.parent.parent / GIGABYTE)


def world_of(scene: Path) -> Path:
    return next((scene / "work" / "outputs" / "worlds").iterdir())


def dataset_of(scene: Path) -> Path:
    return next((scene / "work" / "outputs" / "datasets").iterdir())


def checkpoint_of(scene: Path) -> Path:
    return scene / RUN / "checkpoints" / "final"


def state_of(scene: Path) -> Path:
    return next((scene / RUN / "state").iterdir())


def imported() -> None:
    """Import what the commands use, once, before the first fork."""
    import pyarrow as pa
    import typer

    import atlantis.readout.analysis
    import atlantis.report.figures
    import atlantis.report.page
    import atlantis.sweep
    import atlantis.training  # noqa: F401
    from atlantis.cli import entry
    from atlantis.model.fast.kernels import library

    entry.app = typer.main.get_command(entry.app)  # pyright: ignore  # once, not for every case
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    library()


def resealed(folder: Path) -> None:
    """Write a manifest that agrees with the folder as it is: a forger can compute hashes, too."""
    from atlantis import artifacts

    found = artifacts.manifest(folder)
    assert found is not None
    files = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.name != "manifest.json" and file.stat().st_size < 1 << 26:
            name = file.relative_to(folder).as_posix()
            files[name] = {"sha256": artifacts.sha256(file), "bytes": file.stat().st_size}
    artifacts.write_text(folder / "manifest.json", artifacts.sealed(found | {"files": files}))
