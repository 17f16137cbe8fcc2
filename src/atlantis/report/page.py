"""The HTML page of one run or several: one file that opens from disk, with no network and nothing to install.

- All data are in the file as JSON, in which `<`, `>`, `&` and every non-ASCII character are escaped, so that no text of
  the user's can end the element it sits in. The script puts text in by `textContent` only.
- A strict content-security policy: the one script and the one style sheet are named by their SHA-256, images may only
  be data, and everything else is refused. No request leaves the page.
- Places are sent as tenths of a degree and errors as whole km, in base64 of little-endian int16: 8 characters
  for each city and checkpoint.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
import shlex
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from atlantis.artifacts import write_text
from atlantis.errors import UserError
from atlantis.report.run_data import Probe, Run, load, rows_where
from atlantis.report.tables import run_rows, slice_title
from atlantis.sphere import wrap_longitude
from atlantis.world.coastlines import land
from atlantis.world.regions import colours

MISSING = -32768
MAX_TRAINING_POINTS = 300
PROTOCOL_TITLES = {"seed": "the study's (degrees)", "sphere": "on the unit sphere"}
FIGURES = ("dynamics.png", "dynamics.svg", "map_final.png", "map_final.svg", "evolution.gif")


def write_report(
    runs: Sequence[Run | Path | str] | Run | Path | str, out: Path | None = None, figures: bool = True
) -> Path:
    """Write the page for one run or several, and return its path.

    Before it, unless `figures` is false, the pictures of each run that has been probed (see `write_figures`).

    `out` is the file (`*.html`) or the folder it goes to (as `index.html`). By default one run gets
    `<run>/report/index.html`, several get `<first run>/report/comparison.html`.

    Raises:
        UserError: no run given, or one of them cannot be read (see `run_data.load`).
    """
    given = [runs] if isinstance(runs, Run | Path | str) else list(runs)
    if not given:
        raise UserError("report: give at least one run's folder")
    loaded = [run if isinstance(run, Run) else load(run) for run in given]
    name = "index.html" if len(loaded) == 1 else "comparison.html"
    target = loaded[0].path / "report" / name if out is None else out if out.suffix == ".html" else out / "index.html"
    if figures:
        from atlantis.report.figures import write_figures

        for run in loaded:
            if "seed" in run.probes:
                write_figures(run)
    write_text(target, page(loaded, target.parent))
    return target


def page(runs: Sequence[Run], folder: Path | None = None) -> str:
    """The page as text. Pictures are linked that lie in a run's `analysis/figures/`, if `folder` is in that run."""
    title = " and ".join(run.name for run in runs)
    data = {
        "title": title,
        "version": _version(),
        "land": [_tenths(np.column_stack(ring).ravel()) for ring in land()],
        "runs": [_run(run, folder) for run in runs],
    }
    style, script = _template("page.css"), _template("page.js")
    policy = (
        f"default-src 'none'; script-src 'sha256-{_sha256(script)}'; style-src 'sha256-{_sha256(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    parts = {
        "policy": policy,
        "title": html.escape(f"{title}: atlantis"),
        "style": style,
        "script": script,
        "data": embedded_json(data),
    }
    # One pass, so that nothing inside a part is taken for a place to fill.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match.group(1)], _template("page.html"))


def embedded_json(obj: Any) -> str:
    """JSON that can stand inside an HTML `<script>` element: ASCII only, with `<`, `>` and `&` as escapes too."""
    text = json.dumps(obj, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _template(name: str) -> str:
    return files("atlantis.report").joinpath(name).read_text(encoding="utf-8")


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _version() -> str:
    try:
        return version("atlantis-lab")
    except PackageNotFoundError:
        return ""


# --- numbers, small


def _number(value: Any, digits: int = 5) -> float | None:
    """A number with so many significant digits; null for one that JSON does not have."""
    return float(f"{float(value):.{digits}g}") if value is not None and math.isfinite(value) else None


def _numbers(values: Any) -> list[float | None]:
    return [_number(value) for value in values]


def _tenths(degrees: np.ndarray) -> list[int]:
    return [int(value) for value in np.round(degrees * 10)]


def _int16(values: np.ndarray) -> str:
    """Base64 of little-endian int16; what is not finite becomes `MISSING`."""
    whole = np.where(np.isfinite(values), np.round(np.nan_to_num(values)).clip(-32767, 32767), MISSING)
    return base64.b64encode(whole.astype("<i2").tobytes()).decode()


# --- one run


def _run(run: Run, folder: Path | None) -> dict[str, Any]:
    regions = _regions(run)
    return {
        "name": run.name,
        "finding": finding(run),
        "regions": regions,
        "table": _table(run),
        "panels": _panels(run, regions),
        "probes": {name: _probe(probe, [r["name"] for r in regions]) for name, probe in run.probes.items()},
        "about": _about(run),
        "config": run.config,
        "files": _files(run, folder),
    }


def finding(run: Run, protocol: str = "seed") -> str:
    """What became of the map, in two sentences of numbers: step 0 against the last checkpoint."""
    rows = run_rows(run, protocol)
    if len(rows) < 2:
        return "One checkpoint so far." if len(rows) else "No checkpoint has been evaluated yet."
    first, last = rows.iloc[0], rows.iloc[-1]
    sentences = []
    if "real km" in rows and pd.notna(first["real km"]) and pd.notna(last["real km"]):
        sentences.append(
            f"Held-out real cities: from R² {first['lon R2']:.3f} longitude, {first['lat R2']:.3f} latitude and "
            f"{first['real km']:,.0f} km at step {first['step']:,.0f} to {last['lon R2']:.3f}, {last['lat R2']:.3f} "
            f"and {last['real km']:,.0f} km at step {last['step']:,.0f}."
        )
    for column in rows.columns:
        if column.endswith(" km") and column != "real km" and pd.notna(first[column]) and pd.notna(last[column]):
            name = column.removesuffix(" km")
            name = f"Answers on {name.removeprefix('task ')} pairs" if name.startswith("task ") else f"{name}'s places"
            sentences.append(f"{name}: {first[column]:,.0f} → {last[column]:,.0f} km.")
    return " ".join(sentences)


def _regions(run: Run) -> list[dict[str, Any]]:
    """Real regions by size, then virtual ones, in any of the run's probes."""
    real = list(dict.fromkeys(name for probe in run.probes.values() for name in probe.real_regions))
    virtual = list(dict.fromkeys(name for probe in run.probes.values() for name in probe.virtual_regions))
    palette = colours([*real, *virtual])
    return [{"name": name, "colour": palette[name], "virtual": name in virtual} for name in [*real, *virtual]]


def _table(run: Run) -> dict[str, Any]:
    rows = run_rows(run)
    columns = [
        {"title": name.replace("R2", "R²"), "digits": 0 if name == "step" or name.endswith(" km") else 3}
        for name in rows.columns
    ]
    return {"columns": columns, "rows": [_numbers(values) for values in rows.itertuples(index=False)]}


def _series(label: str, steps: Any, rows: pd.DataFrame, column: str, **look: Any) -> dict[str, Any]:
    series = {"label": label, "steps": [int(step) for step in steps], "values": _numbers(rows[column]), **look}
    if {f"{column}_low", f"{column}_high"} <= set(rows.columns):
        series |= {"low": _numbers(rows[f"{column}_low"]), "high": _numbers(rows[f"{column}_high"])}
    return series


def _panels(run: Run, regions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Always the same four, so that several runs can share them: R2, probe km, task error, loss."""
    probe = run.probes.get("seed") or next(iter(run.probes.values()), None)
    r2, km, task, loss = [], [], [], []
    if probe:
        real = probe.group("real")
        r2 = [
            _series("longitude", real.index, real, "lon_r2", hue=0),
            _series("latitude", real.index, real, "lat_r2", hue=1),
        ]
        km = [_series("real cities, held out", real.index, real, "mean_km", hue=0)]
        palette = {region["name"]: region["colour"] for region in regions}
        for name in probe.virtual_regions:
            rows = probe.group(name)
            km.append(_series(name, rows.index, rows, "mean_km", colour=palette[name]))
    for k, name in enumerate(run.slices):
        rows = rows_where(run.task, run.task["slice"] == name)
        task.append(_series(slice_title(name, run).replace("-", "–"), rows["step"], rows, "mean_km", hue=k))
    if len(run.train):
        binned = _binned(run.train)
        loss.append(_series("training batches", binned["step"], binned, "loss", faint=True))
    loss.append(_series("validation", run.evaluations["step"], run.evaluations, "loss", hue=0))
    return [
        {
            "title": "Probe of held-out real cities: R²",
            "digits": 3,
            "floor": 0,
            "ceiling": 1,
            "lowest": -1,
            "series": r2,
        },
        {"title": "Probe: distance from the true place, mean km", "floor": 0, "series": km},
        {"title": "Task: error of the answered distance, mean km", "floor": 0, "series": task},
        {"title": "Loss, nats per token", "digits": 3, "series": loss},
    ]


def _binned(train: pd.DataFrame) -> pd.DataFrame:
    """At most `MAX_TRAINING_POINTS` points: means of bins that are even on the chart's axis, log(1 + step)."""
    if len(train) <= MAX_TRAINING_POINTS:
        return train
    place = np.log1p(train["step"].to_numpy(np.float64))
    bins = np.floor(place / place[-1] * (MAX_TRAINING_POINTS - 1)).astype(int)
    return pd.DataFrame(train[["step", "loss"]].groupby(bins).mean())


def _probe(probe: Probe, regions: list[str]) -> dict[str, Any]:
    cities = probe.predictions.drop_duplicates("id").sort_values("id").set_index("id")
    index = {name: k for k, name in enumerate(regions)}
    seen = set(probe.shown()["id"])
    placed = {column: _by_step(probe, column) for column in ("pred_lon", "pred_lat", "error_km")}
    groups = [_group(probe, "real", virtual=False)]
    groups += [_group(probe, name, virtual=True) for name in probe.virtual_regions]
    by_region = [_group(probe, name, virtual=name in probe.virtual_regions) for name in regions]
    return {
        "title": PROTOCOL_TITLES.get(probe.protocol, probe.protocol),
        "steps": probe.steps,
        "ids": [int(i) for i in cities.index],
        "names": [str(name) for name in cities["name"]],
        "region": [index[name] for name in cities["region"]],
        "held": "".join("1" if i in seen else "0" for i in cities.index),
        "lon": _int16(10 * cities["lon"].to_numpy(np.float64)),
        "lat": _int16(10 * cities["lat"].to_numpy(np.float64)),
        "pred_lon": _int16(10 * wrap_longitude(placed["pred_lon"])),
        "pred_lat": _int16(10 * placed["pred_lat"].clip(-90, 90)),
        "error_km": _int16(placed["error_km"]),
        "groups": groups,
        "by_region": [group for group in by_region if any(km is not None for km in group["mean_km"])],
    }


def _by_step(probe: Probe, column: str) -> np.ndarray:
    """One number per step and city, [steps, cities], cities by id; NaN where a step has none."""
    unique = probe.predictions.drop_duplicates(["step", "id"], keep="last")
    return unique.pivot(index="step", columns="id", values=column).sort_index(axis=0).sort_index(axis=1).to_numpy()


def _group(probe: Probe, name: str, virtual: bool) -> dict[str, Any]:
    rows = probe.group(name)
    n = int(rows["n"].iloc[0]) if "n" in rows and len(rows) else None
    rows = rows.reindex(probe.steps)
    numbers = {column: _numbers(rows[column]) for column in ("lon_r2", "lat_r2", "mean_km")}
    return {"name": name, "virtual": virtual, "n": n, **numbers}


# --- what was run


def _about(run: Run) -> list[dict[str, Any]]:
    """Label and text of what `run.json` says; each part of it is optional."""
    about = run.about
    command = about.get("command")
    command = shlex.join(map(str, command)) if isinstance(command, list) else command
    dataset, base = _mapping(about.get("dataset")), _mapping(about.get("base"))
    base_parts = [_short_path(base.get("path")), base.get("note")]
    base_text = ", ".join(str(part) for part in base_parts if part) or about.get("base")
    lines = [
        ("Command", command),
        ("Again", "atlantis train config.yaml" if run.config else None),
        ("Started from", base_text if isinstance(base_text, str) else None),
        ("Dataset", dataset.get("name")),
        ("Pairs", _pairs(dataset.get("counts"))),
        ("Notes", "\n".join(map(str, notes)) if isinstance(notes := dataset.get("notes"), list) else notes),
        ("Device", _text(about.get("device"))),
        ("Commit", about.get("commit")),
        ("Begun", about.get("created")),
        ("Finished", about.get("finished")),
        ("Seeds", _pairs(about.get("seeds"))),
        ("Versions", _pairs(about.get("versions"))),
        ("Digests", _pairs(about.get("digests"))),
    ]
    code = {"Command", "Again"}
    return [{"label": label, "value": str(value), "code": label in code} for label, value in lines if value]


def _short_path(path: Any) -> Any:
    """An absolute path's last three parts: a page that is shared need not tell where its maker keeps things."""
    absolute = isinstance(path, str) and Path(path).is_absolute()
    return Path(*Path(path).parts[-3:]).as_posix() if absolute else path


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> Any:
    return _pairs(value) if isinstance(value, dict) else value


def _pairs(value: Any) -> str | None:
    """{"a": 1, "b": {"c": 2}} as "a 1, b (c 2)"."""
    if not isinstance(value, dict):
        return None if value is None else str(value)
    texts = []
    for key, inner in value.items():
        if isinstance(inner, dict):
            texts.append(f"{key} ({_pairs(inner)})")
        else:
            large = isinstance(inner, int) and inner >= 10_000
            texts.append(f"{key} {inner:,}" if large else f"{key} {inner}")
    return ", ".join(texts)


def _files(run: Run, folder: Path | None) -> list[str]:
    """Relative links to the run's pictures, if the page lies inside the run's folder (so that they move together)."""
    if folder is None:
        return []
    root, folder = run.path.resolve(), folder.resolve()
    if not folder.is_relative_to(root):
        return []
    up = "../" * len(folder.relative_to(root).parts)
    found = [f"analysis/figures/{name}" for name in FIGURES]
    return [quote(f"{up}{path}") for path in found if (root / path).is_file()]
