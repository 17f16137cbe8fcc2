"""Put a finished run's last checkpoint into `pretrained/`, with a card made from the run's own records.

    python -m scripts.ship_checkpoint outputs/experiments/scratch_base pretrained/scratch_base --how how.md

The card says what the run was, its curve, its probe's numbers by both protocols and by region, and, in the words of
the file given with --how, how the checkpoint was made. No number on it is typed by hand.

With --half the embedding and output rows (most of the weights with one token per city) are stored in float16; the
card then also has the probe's numbers of the checkpoint as it is shipped. Loading turns them into float32 again.

    python -m scripts.ship_checkpoint --renew pretrained/scratch_base

writes what other tools read of a shipped checkpoint anew, and its manifest; weights and numbers remain.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
from pathlib import Path
from typing import cast

import pandas as pd
from safetensors.torch import load_file, save_file

from atlantis import artifacts
from atlantis import config as configs
from atlantis.markdown import table
from atlantis.model.checkpoint import read_facts, save_reading
from atlantis.model.folder import read_config
from atlantis.readout.analysis import probe_checkpoint
from atlantis.report import run_data
from atlantis.report.record import portable, portable_config
from atlantis.report.tables import ends
from atlantis.vocabulary import Vocabulary
from atlantis.world import World
from scripts.hub_card import completed

FILES = ("config.json", "model.safetensors", "vocabulary.json", "atlantis.json")


def card(run: run_data.RunData, name: str, how: str) -> str:
    """The card's Markdown."""
    degrees, sphere = run.probe("degrees"), run.probe("sphere")
    curve = degrees.group("real")
    loss = run.evaluations.set_index("step")["loss"]
    task = run.task[run.task["slice"] == "world-world"].set_index("step")
    rows = [
        {
            "step": step,
            "validation loss": f"{loss[step]:.3f}",
            "task, mean km": f"{task.loc[step, 'mean_km']:,.0f}",
            "task, median km": f"{task.loc[step, 'median_km']:,.0f}",
            "lon R2": f"{curve.loc[step, 'lon_r2']:.3f}",
            "lat R2": f"{curve.loc[step, 'lat_r2']:.3f}",
            "probe, mean km": f"{curve.loc[step, 'mean_km']:,.0f}",
            "probe, median km": f"{curve.loc[step, 'median_km']:,.0f}",
        }
        for step in curve.index
    ]
    last = sphere.dynamics[sphere.dynamics["step"] == max(sphere.steps)]
    regions = [
        {
            "group": row["group"],
            "cities": f"{row['n']:,}",
            "mean km": f"{row['mean_km']:,.0f}",
            "95 % interval": ends(row["mean_km_low"], row["mean_km_high"]),
            "median km": f"{row['median_km']:,.0f}",
        }
        for row in cast(pd.DataFrame, last).to_dict("records")
    ]
    about = run.about
    counts = about["dataset"]["counts"]["train"]
    command = shlex.join(portable(part) for part in shlex.split(about["command"]))
    versions = ", ".join(f"{key} {value}" for key, value in about["versions"].items() if key != "platform")
    return f"""# {name}

{how.strip()}

## The last run

`{command}`

- Training pairs in its dataset: {sum(counts.values()):,} ({about["dataset"]["name"]}); steps: {about["steps"]:,};
  {about["training_seconds"] / 60:.0f} minutes on {about["device"]["name"]}, {about["device"]["threads"]} threads,
  {about["device"]["precision"]}.
- One seed: {json.dumps(about["seeds"])}.
- Commit {about["commit"]}; {versions}.
- Every setting is in `config.yaml`; the world's digest and what the ids mean are in `atlantis.json`.

## Its curve

Real cities only. Probe: the study's protocol (ridge, alpha 10, 3,000 cities to fit, 2,000 to test, one split). Task:
held-out pairs of real cities, greedy answers, unreadable ones counted at half the Earth's circumference.

{markdown(rows)}

## Its map, by region

Last step, second protocol: unit-sphere targets, every city predicted by a probe that was not fitted on it; intervals
are over the folds (docs/statistics.md says how).

{markdown(regions)}

Weights: MIT. City names and coordinates: GeoNames, CC BY 4.0.
"""


def markdown(rows: list[dict[str, object]]) -> str:
    return table(list(rows[0]), [list(map(str, row.values())) for row in rows], narrow=True)


def store_halves(file: Path) -> None:
    """Store the embedding and output rows of a checkpoint's weights as float16."""
    weights = load_file(file)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        weights[name] = weights[name].half()
    save_file(weights, file, metadata={"format": "pt"})


def write_reading(folder: Path) -> None:
    """Write the tokenizer's files and how to generate answers, for the checkpoint that stands in `folder`."""
    facts = read_facts(folder)
    assert facts is not None
    save_reading(folder, Vocabulary.load(folder), read_config(folder)["max_position_embeddings"], facts.tasks)


def renew(shipped: Path) -> None:
    """Write a shipped checkpoint anew: weights, records and the card's text remain, the rest is as written today."""
    artifacts.verify(shipped)
    kept = [file for file in shipped.iterdir() if file.name != artifacts.MANIFEST]
    with artifacts.new_folder(shipped, kind="pretrained", overwrite=True) as folder:
        for file in kept:
            shutil.copy(file, folder / file.name)
        write_reading(folder)
        text = completed((folder / "README.md").read_text(encoding="utf-8"), shipped.name)
        (folder / "README.md").write_text(text, encoding="utf-8")


def as_shipped(folder: Path, world: World) -> str:
    """A sentence with the probe's numbers of the stored checkpoint."""
    degrees = probe_checkpoint(folder, world)["degrees"].dynamics
    row = degrees[(degrees["group"] == "real") & (degrees["split"] == "test")].iloc[0]
    return (
        "\n\nEmbedding and output rows are stored in half precision. As shipped, the study's protocol reads R2 "
        f"{row['lon_r2']:.3f} / {row['lat_r2']:.3f}, {row['mean_km']:,.0f} km on average."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", help="a finished and probed run")
    parser.add_argument("out", type=Path, help="the folder to write, such as pretrained/<name>")
    parser.add_argument("--renew", action="store_true", help="write again what other tools read; give no run")
    parser.add_argument("--how", type=Path, help="Markdown: what this is and how it was made")
    parser.add_argument("--half", action="store_true", help="store embedding and output rows in half precision")
    options = parser.parse_args()
    if options.renew:
        renew(options.out)
        print(f"wrote {options.out}")
        return
    if options.run is None or options.how is None:
        parser.error("give a run, the folder to write and --how; or --renew and the folder")
    run = run_data.load(options.run)
    config = portable_config(configs.load(options.run / "config.yaml"))
    with artifacts.new_folder(options.out, kind="pretrained", overwrite=True) as folder:
        for name in FILES:
            shutil.copy(options.run / "checkpoints" / "final" / name, folder / name)
        write_reading(folder)
        how = options.how.read_text(encoding="utf-8").strip()
        if options.half:
            store_halves(folder / "model.safetensors")
            how += as_shipped(folder, World.from_config(config.world))
        (folder / "config.yaml").write_text(configs.dump(config, folder), encoding="utf-8")
        (folder / "README.md").write_text(
            completed(card(run, options.out.name, how), options.out.name), encoding="utf-8"
        )
        for protocol in ("degrees", "sphere"):
            table: pd.DataFrame = run.probe(protocol).dynamics
            table.to_csv(folder / f"probe_{protocol}.csv", index=False, float_format="%.6g")
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
