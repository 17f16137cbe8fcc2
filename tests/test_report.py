"""The report against a run whose numbers are planted: predictions drift east by 1 degree of longitude a checkpoint."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import io
import json
import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageSequence
from rich.console import Console

from atlantis.errors import UserError
from atlantis.report import page, run_data, tables
from atlantis.sphere import haversine_km
from atlantis.world.coastlines import coastlines, land

STEPS = (0, 1, 10)
EVIL = "<script>alert(1)</script>"
NAME = rf"demo {EVIL} $\frac$"
SEPARATOR = "\u2028 & </script><!-- {{script}} [bold]x[/bold]"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def make_run(folder: Path, drift: float = 1.0) -> Path:
    """Six real cities (four of them fitted on), two of Atlantis; checkpoint k is `drift` x k degrees too far east."""
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
    predictions, dynamics, metrics = [], [], []
    for k, step in enumerate(STEPS):
        table = cities.assign(step=step, pred_lon=cities["lon"] + drift * k, pred_lat=cities["lat"])
        table["error_km"] = haversine_km(table["lon"], table["lat"], table["pred_lon"], table["pred_lat"])
        predictions.append(table)
        for group, split, km in (
            ("real", "train", 1),
            ("real", "test", 100),
            ("Atlantis", "all", 7000),
            ("Africa", "test", 5),
        ):
            r2 = {"lon_r2": 0.9 - 0.1 * k, "lat_r2": 0.8 - 0.1 * k}
            row = {"step": step, "group": group, "split": split, "n": 2, **r2, "lon_mae": 0, "lat_mae": 0}
            dynamics.append(row | {"mean_km": km * (1 + drift * k), "median_km": km})
        slices = {
            name: {"n": 4, "mean_km": 50.0 * (i + 1) * (k + 1)} for i, name in enumerate([*run_data.SLICES, "all"])
        }
        metrics.append({"step": step, "kind": "eval", "loss": 2.0 - 0.5 * k, "slices": slices})
    for step in range(1, 11):
        metrics.append({"step": step, "kind": "train", "loss": 2.0 - 0.1 * step, "lr": 1e-4})
    for protocol in ("seed", "sphere"):
        (folder / "analysis" / protocol).mkdir(parents=True)
        pd.concat(predictions).to_parquet(folder / "analysis" / protocol / "predictions.parquet", index=False)
        pd.DataFrame(dynamics).to_csv(folder / "analysis" / protocol / "representation_dynamics.csv", index=False)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in metrics))
    (folder / "config.yaml").write_text(f"name: demo\ndescription: '{EVIL}'\n")
    about = {
        "name": NAME,
        "command": ["atlantis", "train", "my config.yaml"],
        "versions": {"torch": "2"},
        "base": {"path": "/home/me/runs/base/checkpoints/final"},
    }
    (folder / "run.json").write_text(json.dumps(about | {"dataset": {"name": "d", "counts": {"train": 100_000}}}))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "demo")


# --- coastlines


def test_coastlines_stay_on_the_map_and_never_jump_across_it():
    lines = coastlines()
    assert 100 < len(lines) < 300
    for lon, lat in lines:
        assert len(lon) == len(lat) >= 2
        assert np.abs(lon).max() <= 180 and np.abs(lat).max() < 90
        assert np.abs(np.diff(lon)).max() < 15
        assert not np.any((np.abs(lon[1:]) == 180) & (np.abs(lon[:-1]) == 180))


def test_land_rings_are_closed_and_tell_land_from_sea():
    inside = {"Madrid": (-3.7, 40.4), "Manaus": (-60.0, -3.1), "Chukotka": (-175.0, 67.0), "South pole": (10.0, -89.0)}
    outside = {"Atlantis": (-35.0, 35.0), "Pacific": (-150.0, 0.0), "Caspian": (51.0, 41.0)}
    for lon, lat in land():
        assert lon[0] == lon[-1] and lat[0] == lat[-1]
    for expected, places in ((1, inside), (0, outside)):
        for name, (x, y) in places.items():
            assert sum(_crossings(lon, lat, x, y) for lon, lat in land()) % 2 == expected, name


def _crossings(lon: np.ndarray, lat: np.ndarray, x: float, y: float) -> int:
    """How often a ray to the east meets the ring."""
    above = lat > y
    k = np.flatnonzero(above[1:] != above[:-1])
    meets = lon[k] + (y - lat[k]) / (lat[k + 1] - lat[k]) * (lon[k + 1] - lon[k])
    return int((meets > x).sum())


# --- reading a run


def test_a_run_is_read_as_it_was_written(run):
    found = run_data.load(run)
    assert found.name == NAME
    assert list(found.evaluations["loss"]) == [2.0, 1.5, 1.0]
    assert len(found.train) == 10 and found.slices == list(run_data.SLICES)
    probe = found.probe("seed")
    assert probe.steps == list(STEPS) and probe.virtual_regions == ["Atlantis"]
    assert list(probe.group("real")["mean_km"]) == [100, 200, 300]  # the test split, not the one fitted on
    assert set(probe.shown()["id"]) == {0, 1, 6, 7}
    assert set(probe.shown(held_out=False)["id"]) == set(range(8))


def test_a_line_cut_off_by_a_crash_is_skipped_and_a_step_written_twice_counts_once(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    with open(copy / "metrics.jsonl", "a") as file:
        file.write('{"step": 10, "kind": "eval", "loss": 0.25, "slices": {}}\n{"step": 11, "kind": "tra')
    found = run_data.load(copy)
    assert list(found.evaluations["loss"]) == [2.0, 1.5, 0.25] and len(found.train) == 10


def test_only_metrics_are_needed(tmp_path):
    folder = tmp_path / "young"
    folder.mkdir()
    (folder / "metrics.jsonl").write_text('{"step": 0, "kind": "eval", "loss": 3.5}\n')
    assert tables.markdown(folder) == "| step | loss |\n|---:|---:|\n| 0 | 3.500 |\n"
    assert page.write_report(folder).is_file()
    with pytest.raises(UserError, match=r"no probe by the seed protocol.*run `atlantis probe"):
        run_data.load(folder).probe()


def _broken(run: Path, target: Path, name: str, text: str | None) -> Path:
    copy = shutil.copytree(run, target)
    (copy / name).unlink() if text is None else (copy / name).write_text(text)
    return copy


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("metrics.jsonl", None, r"no metrics\.jsonl in it"),
        ("metrics.jsonl", '{"step": 0}\n{oops\n{"step": 1}\n', r"metrics\.jsonl, line 2: not JSON"),
        ("metrics.jsonl", '{"step": "0"}\n', r"line 1: must be a JSON object with a whole number `step`"),
        ("metrics.jsonl", "[1]\n", r"line 1: must be a JSON object"),
        ("run.json", "{", r"run\.json, line 1: not JSON"),
        ("run.json", "[]", r"run\.json: must hold one JSON object"),
        (
            "analysis/seed/predictions.parquet",
            None,
            r"predictions\.parquet: missing, though .*seed is there; run `atlantis",
        ),
        ("analysis/seed/predictions.parquet", "oops", r"predictions\.parquet: cannot be read as Parquet"),
        (
            "analysis/seed/representation_dynamics.csv",
            "step,group\n0,real\n",
            r"no column split, lon_r2, lat_r2, mean_km",
        ),
        ("analysis/seed/representation_dynamics.csv", "", r"representation_dynamics\.csv: cannot be read as CSV"),
    ],
)
def test_what_cannot_be_understood_is_named(run, tmp_path, name, text, message):
    with pytest.raises(UserError, match=message):
        run_data.load(_broken(run, tmp_path / "copy", name, text))


def test_no_folder_and_no_run_are_named(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        run_data.load(tmp_path / "nowhere")
    with pytest.raises(UserError, match="at least one run"):
        page.write_report([])


# --- tables


def test_the_table_holds_the_planted_numbers_step_0_first(run):
    rows = tables.run_rows(run)
    task = [f"task {pair} km" for pair in ("world-world", "world-Atlantis", "Atlantis-Atlantis")]
    assert list(rows.columns) == ["step", "loss", *task, "lon R2", "lat R2", "real km", "Atlantis km"]
    assert rows.iloc[0].tolist() == pytest.approx([0, 2.0, 50, 100, 150, 0.9, 0.8, 100, 7000])
    assert rows.iloc[2].tolist() == pytest.approx([10, 1.0, 150, 300, 450, 0.7, 0.6, 300, 21000])


def test_the_terminal_table_fits_100_columns_and_shows_markup_as_text(run):
    file = io.StringIO()
    Console(file=file, width=100).print(tables.run_table(run))
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= 100 and "…" not in file.getvalue()
    assert lines[0].strip() == NAME
    assert any("21,000" in line for line in lines)


def test_csv_and_markdown_hold_the_same_rows(run):
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(tables.csv(run))), tables.run_rows(run), check_dtype=False)
    assert "| 10 | 1.000 | 150 | 300 | 450 | 0.700 | 0.600 | 300 | 21,000 |\n" in tables.markdown(run)


# --- figures


@pytest.fixture(scope="module")
def figures(run) -> dict[str, Path]:
    page.write_report(run)
    return {path.name: path for path in sorted((run / "analysis" / "figures").iterdir())}


def test_figures_are_written_with_the_report_and_are_pictures(figures):
    assert set(figures) == set(page.FIGURES)
    for name in ("dynamics.png", "map_final.png"):
        with Image.open(figures[name]) as image:
            assert image.width > 1200 and len(image.convert("RGB").getcolors(1 << 24) or []) > 50
    assert EVIL not in figures["dynamics.svg"].read_text()


def test_the_animation_has_a_frame_for_each_checkpoint_and_moves(figures):
    with Image.open(figures["evolution.gif"]) as image:
        frames = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)]
    assert len(frames) == len(STEPS) and frames[0].shape[1] == 900
    assert all((a != b).any() for a, b in pairwise(frames))
    assert figures["evolution.gif"].stat().st_size < 3_000_000


def test_the_same_run_gives_the_same_pictures(run, figures, tmp_path):
    from atlantis.report.figures import write_figures

    for path in write_figures(run, tmp_path):
        assert path.read_bytes() == figures[path.name].read_bytes(), path.name


# --- the page


class Elements(html.parser.HTMLParser):
    """Tags with their attributes, and the text inside each script and style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self._raw = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._raw = f"{tag} {dict(attrs).get('type', '')}".strip() if tag in ("script", "style", "title") else ""

    def handle_endtag(self, tag: str) -> None:
        self._raw = ""

    def handle_data(self, data: str) -> None:
        if self._raw:
            self.texts[self._raw] = self.texts.get(self._raw, "") + data


@pytest.fixture(scope="module")
def written(run, figures) -> str:
    path = page.write_report(run, figures=False)
    assert path == run / "report" / "index.html"
    return path.read_text(encoding="utf-8")


def page_data(text: str) -> dict[str, Any]:
    return json.loads(Elements(text).texts["script application/json"])


def unpacked(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<i2")


def test_the_policy_names_exactly_the_script_and_the_style_of_the_page(written):
    elements = Elements(written)
    policy = next(a["content"] for tag, a in elements.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy and policy.startswith("default-src 'none'; ") and "unsafe" not in policy
    for kind in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(elements.texts[kind].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}';" in policy


def test_the_page_asks_for_nothing_and_sets_no_html(written):
    elements = Elements(written)
    assert [tag for tag, _ in elements.tags].count("script") == 2
    for tag, attributes in elements.tags:
        assert tag not in ("img", "iframe", "object", "base", "form")
        assert not any(name.startswith("on") or name in ("src", "style") for name in attributes), (tag, attributes)
        assert tag != "link" or attributes["href"] == "data:,"
    script = elements.texts["script"]
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|fetch\(|XMLHttp|import\(", script
    )
    assert set(re.findall(r"https?://[^\s\"']+", written)) == {"http://www.w3.org/2000/svg"}


def test_names_are_data_and_never_markup(written):
    assert EVIL not in written and "\u2028" not in written
    run = page_data(written)["runs"][0]
    assert run["probes"]["seed"]["names"][:2] == [EVIL, SEPARATOR]
    assert run["name"] == NAME and EVIL in run["config"]
    assert Elements(written).texts["title"] == f"{NAME}: atlantis"


@given(
    st.recursive(
        st.text() | st.integers(-9, 9) | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_embedded_json_is_the_same_data_without_a_character_that_html_knows(data):
    text = page.embedded_json(data)
    assert json.loads(text) == data
    assert not set(text) & set("<>&\u2028\u2029") and text.isascii()


def test_places_are_sent_in_tenths_of_a_degree_on_the_globe(written):
    probe = page_data(written)["runs"][0]["probes"]["seed"]
    lon = unpacked(probe["pred_lon"]).reshape(len(STEPS), 8)
    assert lon[:, 0].tolist() == [30, 40, 50]
    assert lon[:, 3].tolist() == [1795, -1795, -1785]  # Suva drifts east across the 180th meridian
    assert unpacked(probe["lat"]).tolist()[:2] == [65, 357]
    assert unpacked(probe["error_km"]).reshape(len(STEPS), 8)[1, 0] == round(float(haversine_km(3, 6.5, 4, 6.5)))
    assert probe["held"] == "11000011" and probe["steps"] == list(STEPS)


def test_a_city_without_a_finite_prediction_is_marked_and_the_page_is_still_json(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    path = copy / "analysis" / "seed" / "predictions.parquet"
    table = pd.read_parquet(path)
    table.loc[(table["step"] == 10) & (table["id"] == 0), ["pred_lon", "pred_lat", "error_km"]] = np.nan
    table[~((table["step"] == 1) & (table["id"] == 1))].to_parquet(path)
    probe = page_data(page.write_report(copy, figures=False).read_text(encoding="utf-8"))["runs"][0]["probes"]["seed"]
    lon = unpacked(probe["pred_lon"]).reshape(len(STEPS), 8)
    assert lon[2, 0] == lon[1, 1] == page.MISSING and (lon == page.MISSING).sum() == 2


def test_the_page_says_what_became_of_the_map_and_what_was_run(written):
    run = page_data(written)["runs"][0]
    assert (
        "from R² 0.900 longitude, 0.800 latitude and 100 km at step 0 to 0.700, 0.600 and 300 km at step 10"
        in run["finding"]
    )
    assert "Atlantis's places: 7,000 → 21,000 km." in run["finding"]
    about = {row["label"]: row["value"] for row in run["about"]}
    assert about["Command"] == "atlantis train 'my config.yaml'" and about["Pairs"] == "train 100,000"
    assert about["Started from"] == "base/checkpoints/final"
    assert [panel["series"][0]["values"][0] for panel in run["panels"]] == [0.9, 100, 50, 1.9]
    assert run["files"] == [f"../analysis/figures/{name}" for name in page.FIGURES]


def test_several_runs_share_one_page_and_only_files_that_move_along_are_linked(run, tmp_path):
    other = make_run(tmp_path / "other", drift=0.1)
    path = page.write_report([run, other], tmp_path / "out", figures=False)
    assert path == tmp_path / "out" / "index.html"
    data = page_data(path.read_text(encoding="utf-8"))
    assert len(data["runs"]) == 2 and [r["files"] for r in data["runs"]] == [[], []]
    assert page.write_report([other, run], figures=False).name == "comparison.html"


def test_the_page_is_small(run):
    loaded = run_data.load(run)
    n, steps = 5_000, 30
    probe = loaded.probe("seed")
    one = pd.concat([probe.predictions.head(1)] * n).assign(
        id=range(n), name=[f"City of Somewhere {i}" for i in range(n)]
    )
    many = pd.concat([one.assign(step=step) for step in range(steps)])
    probes = {"seed": run_data.Probe("seed", probe.dynamics, many)}
    large = run_data.Run(**{**vars(loaded), "probes": probes})
    assert len(page.page([large])) < 2_500_000


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: apt-get install chromium)")
def test_in_a_browser_the_page_draws_itself_without_an_error(written, run, tmp_path):
    assert CHROMIUM is not None
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--dump-dom"]
    logging = ["--enable-logging=stderr", "--virtual-time-budget=2000", f"--user-data-dir={tmp_path}"]
    address = (run / "report" / "index.html").resolve().as_uri()
    done = subprocess.run([CHROMIUM, *options, *logging, address], capture_output=True, text=True, timeout=60)
    assert "CONSOLE" not in done.stderr
    elements = Elements(done.stdout)
    assert [tag for tag, _ in elements.tags].count("script") == 2
    assert done.stdout.count("<polyline") == 9  # 2 of R2, 2 of km, 3 slices, 2 losses
    assert '<h1 id="title">demo &lt;script&gt;alert(1)&lt;/script&gt; $\\frac$</h1>' in done.stdout
    assert "step 10</output>" in done.stdout
