"""Runs whose numbers are planted: predictions drift east by so many degrees of longitude a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from atlantis.report import run_data
from atlantis.sphere import haversine_km

STEPS = (0, 1, 10)
EVIL = "<script>alert(1)</script>"
NAME = rf"demo {EVIL} $\frac$"
SEPARATOR = "\u2028 & </script><!-- {{script}} [bold]x[/bold]"
LAYERS = ("0", "1", "2", "3", "4", "5", "3+4")


def make_run(
    folder: Path, drift: float = 1.0, name: str = NAME, with_map: bool = False, with_shift: bool = True
) -> Path:
    """Six real cities (four of them fitted on), two of Atlantis; checkpoint k is `drift` x k degrees too far east.

    Without `with_shift`, its analysis is an older one, in which a shift was part of the turn.
    """
    folder.mkdir(parents=True)
    cities = pd.DataFrame(
        {
            "id": range(8),
            "name": [EVIL, SEPARATOR, "São Paulo", "Suva", "Nairobi", "Lima", "Atlantis_001", "Atlantis_002"],
            "region": [
                "Africa",
                "Japan",
                "South America",
                "Oceania",
                "Africa",
                "South America",
                "Atlantis",
                "Atlantis",
            ],
            "is_virtual": [False] * 6 + [True] * 2,
            "split": ["test", "test", *["train"] * 4, "virtual", "virtual"],
            "lon": [3.0, 139.7, -46.6, 179.5, 36.8, -77.0, -35.0, -36.0],
            "lat": [6.5, 35.7, -23.5, -18.1, -1.3, -12.0, 35.0, 36.0],
        }
    )
    for protocol, share in (("degrees", 1.0), ("sphere", 2.0)):
        predictions = pd.concat([predicted(cities, step, share * drift * k) for k, step in enumerate(STEPS)])
        (folder / "analysis" / protocol).mkdir(parents=True)
        predictions.to_parquet(folder / "analysis" / protocol / "predictions.parquet", index=False)
        rows = [row for k, step in enumerate(STEPS) for row in dynamics(step, k, share * drift)]
        pd.DataFrame(rows).to_csv(folder / "analysis" / protocol / "representation_dynamics.csv", index=False)
    metrics = [evaluation(step, k) for k, step in enumerate(STEPS)]
    metrics += [{"step": step, "kind": "train", "loss": 2.0 - 0.1 * step, "lr": 1e-4} for step in range(1, 11)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in metrics))
    (folder / "config.yaml").write_text(f"name: demo\ndescription: '{EVIL}'\n")
    about = {
        "name": name,
        "command": ["atlantis", "train", "my config.yaml"],
        "commit": "abc123",
        "versions": {"torch": "2"},
        "base": {"path": "/home/me/runs/base/checkpoints/final"},
    }
    (folder / "run.json").write_text(json.dumps(about | {"dataset": {"name": "d", "counts": {"train": 100_000}}}))
    if with_map:
        add_map(folder, cities, drift, with_shift)
    return folder


def predicted(cities: pd.DataFrame, step: int, east: float) -> pd.DataFrame:
    table = cities.assign(step=step, pred_lon=cities["lon"] + east, pred_lat=cities["lat"])
    table["error_km"] = haversine_km(table["lon"], table["lat"], table["pred_lon"], table["pred_lat"])
    return table


def dynamics(step: int, k: int, drift: float) -> list[dict[str, Any]]:
    rows = []
    for group, split, km in (
        ("real", "train", 1),
        ("real", "test", 100),
        ("Atlantis", "all", 7000),
        ("Africa", "test", 5),
        ("Japan", "test", 50),
    ):
        r2 = {"lon_r2": 0.9 - 0.1 * k, "lat_r2": 0.8 - 0.1 * k}
        row = {"step": step, "group": group, "split": split, "n": 2, **r2, "lon_mae": 0, "lat_mae": 0}
        rows.append(row | {"mean_km": km * (1 + drift * k), "median_km": km})
    return rows


def evaluation(step: int, k: int) -> dict[str, Any]:
    slices = {name: {"n": 4, "mean_km": 50.0 * (i + 1) * (k + 1)} for i, name in enumerate([*run_data.SLICES, "all"])}
    return {"step": step, "kind": "eval", "loss": 2.0 - 0.5 * k, "slices": slices}


def add_map(folder: Path, cities: pd.DataFrame, drift: float, with_shift: bool) -> None:
    """analysis/map/ and variants.csv: a fall in skill from 0.9 to 0.5, half of it lost, a fifth bent.

    The rest is turned or shifted: a tenth turned and a fifth shifted.
    """
    rows: list[dict[str, Any]] = []

    def add(step: int, metric: str, value: float, group: str = "real", layer: str = "3+4") -> None:
        spread = 0.01 if metric.startswith("skill") else np.nan
        row = {"step": step, "layer": layer, "group": group, "metric": metric, "value": value}
        rows.append(row | {"low": value - spread, "high": value + spread, "n": 2})

    for k, step in enumerate(STEPS):
        fall = 0.2 * k
        skills = {
            "frozen": 0.9 - fall,
            "shifted": 0.9 - 0.8 * fall,
            "turned": 0.9 - 0.7 * fall,
            "refit": 0.9 - 0.5 * fall,
            "mlp": 0.92 - 0.3 * fall,
        }
        shares = {"lost": 0.5, "bent": 0.2, "turned": 0.1, "shifted": 0.2}
        if not with_shift:
            del skills["shifted"], shares["shifted"]
            shares["turned"] = 0.3
        for name, skill in skills.items():
            add(step, f"skill_{name}", skill)
            add(step, f"km_{name}", 6000 * (1 - skill))
        for group, km in (("Africa", 400), ("Atlantis", 5000)):
            add(step, "km_frozen", km * (1 + 3 * drift * k), group)
            if with_shift:
                add(step, "km_shifted", km * (1 + 2 * drift * k), group)
        for name, share in shares.items():
            add(step, name, share * fall)
        if with_shift:
            add(step, "shift_length", 0.3 * k)
            add(step, "shift_share", 0.8)
            add(step, "shift_lon", 40.0)
            add(step, "shift_lat", -20.0)
            add(step, "damage_by_distance_anywhere", 0.0)
        add(step, "integration_km", 4000 - 900 * k, "Atlantis")
        add(step, "integration_reference_km", 1000, "Atlantis")
        add(step, "integration_ratio", 4 - 0.9 * k, "Atlantis")
        add(step, "off_manifold", 0.05)
        add(step, "off_manifold", 0.4 - 0.1 * k, "Atlantis")
        add(step, "constellation_disparity", 0.9 - 0.2 * k, "Atlantis")
        for j, layer in enumerate(LAYERS):
            add(step, "cka", 1 - 0.02 * k * (j + 1), layer=layer)
            add(step, "procrustes", 0.03 * k * (j + 1), layer=layer)
            add(step, "angle_mean", 10.0 * k, layer=layer)
            add(step, "angle_max", 30.0 * k, layer=layer)
        add(step, "kl_old", 0.1 * k, "old", "answers")
        for name, value in (("moved_km", 300), ("radial_km", 120), ("tangential_km", 250), ("tangential_share", 0.4)):
            add(step, name, value * k)
        for name, value in (("distance", -0.3), ("population", 0.05), ("digits", 0.1)):
            add(step, f"damage_by_{name}", value * k)
        add(step, "tangential_share_isotropic", 0.5)
    for name, value in (("km_untrained", 6000), ("km_permuted", 7500)):
        add(0, name, value)
    for name in ("lon_r2_untrained", "lat_r2_untrained", "lon_r2_permuted", "lat_r2_permuted"):
        add(0, name, 0.02)
    (folder / "analysis" / "map").mkdir()
    pd.DataFrame(rows).to_parquet(folder / "analysis" / "map" / "measures.parquet", index=False)
    tables = []
    for k, step in enumerate(STEPS):
        table = cities[["id"]].assign(step=step, radial_km=-100.0 * k, tangential_km=40.0 * k)
        for probe, east in {"frozen": 3 * drift * k, "shifted": 2 * drift * k}.items():
            names = {"pred_lon": f"{probe}_lon", "pred_lat": f"{probe}_lat", "error_km": f"{probe}_error_km"}
            if with_shift or probe == "frozen":
                table = table.assign(**predicted(cities, step, east)[[*names]].rename(columns=names))
        tables.append(table)
    pd.concat(tables).to_parquet(folder / "analysis" / "map" / "cities.parquet", index=False)
    near = [
        (step, i, rank, (i + rank * (1 + k)) % 8) for k, step in enumerate((0, 10)) for i in range(8) for rank in (1, 2)
    ]
    neighbours = pd.DataFrame(near, columns=["step", "id", "rank", "neighbour"])
    neighbours.to_parquet(folder / "analysis" / "map" / "neighbours.parquet", index=False)
    (folder / "analysis" / "map" / "when.csv").write_text(
        "metric,group,first,final,worst,worst_step,half_damage_step,recovered\n"
        "km_frozen,real,226,359,473,100,38.5,0.46\nskill_frozen,real,0.96,0.94,0.92,100,40,\n"
    )
    (folder / "analysis" / "degrees" / "variants.csv").write_text(
        "step,variant,group,n,lon_r2,lat_r2,lon_mae,lat_mae,mean_km,median_km\n"
        + "".join(
            f"{step},virtual in the pool,real,2,0.9,0.9,1,1,{120 + 10 * k},9\n"
            f"{step},region left out,Africa,2,0.9,0.9,1,1,{5000 - 100 * k},9\n"
            for k, step in enumerate(STEPS)
        )
    )
