"""The report against a run whose numbers are planted (see `planted_run.py`)."""

from __future__ import annotations

import base64
import csv
import hashlib
import html.parser
import io
import json
import re
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image, ImageSequence
from rich.console import Console

from atlantis.errors import PartFailed, UserError
from atlantis.progress import printable
from atlantis.report import export, maps, page, page_data, probe_data, run_data, tables
from atlantis.report.about import cards
from atlantis.report.figures import dynamics_figure, forgetting_figure, write_figures
from atlantis.report.panels import panels, regions_of
from atlantis.report.run_data import load
from atlantis.report.series import BLOCKS, block_colour, numbers
from atlantis.report.style import new_figure, rendered, style
from atlantis.sphere import haversine_km
from atlantis.world.coastlines import coastlines, land
from scripts.demo_pages import run_markdown
from tests.planted_run import EVIL, NAME, SEPARATOR, STEPS, make_run

FIGURES = [f"figures/{name}" for name in ("dynamics.png", "dynamics.svg", "map_final.png", "map_final.svg")]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "demo")


# --- coastlines


def test_the_finer_outlines_are_closed_rings_on_the_map():
    rings = land(fine=True)
    assert sum(len(lon) for lon, _ in rings) > 4 * sum(len(lon) for lon, _ in land())
    for lon, lat in rings:
        assert (lon[0], lat[0]) == (lon[-1], lat[-1]) and len(lon) > 3
        assert np.abs(lon).max() <= 180 and np.abs(lat).max() <= 90
        assert max(np.ptp(lon), np.ptp(lat)) > 0.15


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
    probe = found.probe("degrees")
    assert probe.steps == list(STEPS) and probe.virtual_regions == ["Atlantis"]
    assert list(probe.group("real")["mean_km"]) == [100, 200, 300]  # the test split, not the one fitted on
    assert set(probe.shown()["id"]) == {0, 1, 6, 7}
    assert set(probe.shown(held_out=False)["id"]) == set(range(8))


def test_a_run_whose_protocol_has_its_old_name_is_read_the_same(tmp_path):
    new_names, old_names = (make_run(tmp_path / name, with_map=True) for name in ("new", "old"))
    (old_names / "analysis" / "degrees").rename(old_names / "analysis" / "seed")
    old, new = run_data.load(old_names), run_data.load(new_names)
    assert list(old.probes) == list(new.probes) and old.probe().protocol == "degrees"
    assert old.probe("seed").dynamics.equals(new.probe("degrees").dynamics)
    assert old.variants.equals(new.variants) and len(old.variants)


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
    assert as_markdown(folder) == "| step | loss |\n|---:|---:|\n| 0 | 3.500 |\n"
    assert page.write_report(folder).is_file()
    with pytest.raises(UserError, match=r"no probe by the degrees protocol.*run `atlantis probe"):
        run_data.load(folder).probe()


def _broken(run: Path, target: Path, name: str, text: str | None) -> Path:
    copy = shutil.copytree(run, target)
    (copy / name).unlink() if text is None else (copy / name).write_text(text)
    return copy


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("metrics.jsonl", None, r"no metrics\.jsonl in it"),
        (
            "metrics.jsonl",
            '{"step": 0}\n{oops\n{"step": 1}\n',
            r"metrics\.jsonl, line 2:1: not valid JSON .*; remove the line or restore it",
        ),
        ("metrics.jsonl", '{"step": "0"}\n', r"line 1: must be a JSON object with a whole number `step`"),
        ("metrics.jsonl", "[1]\n", r"line 1: must be a JSON object"),
        ("run.json", "{", r"run\.json:1: not valid JSON"),
        ("run.json", "[]", r"run\.json: must hold one JSON object"),
        (
            "analysis/degrees/predictions.parquet",
            None,
            r"predictions\.parquet: missing, though .*degrees is there; run `atlantis",
        ),
        ("analysis/degrees/predictions.parquet", "oops", r"predictions\.parquet: cannot be read as Parquet"),
        (
            "analysis/degrees/representation_dynamics.csv",
            "step,group\n0,real\n",
            r"no column split, lon_r2, lat_r2, mean_km",
        ),
        ("analysis/degrees/representation_dynamics.csv", "", r"representation_dynamics\.csv: cannot be read as CSV"),
    ],
)
def test_what_cannot_be_understood_is_named(run, tmp_path, name, text, message):
    with pytest.raises(UserError, match=message):
        run_data.load(_broken(run, tmp_path / "copy", name, text))


def test_a_probe_that_is_not_there_is_named_with_what_makes_it(run, analysed):
    measured = load(analysed)
    with pytest.raises(UserError, match=r"not measured; run `atlantis probe .* --measures`$"):
        load(run).probe("frozen")
    older = replace(measured, probes={name: measured.probes[name] for name in ("degrees", "sphere", "frozen")})
    with pytest.raises(UserError, match=r"analysis/map/ does not have the places of the shifted probe; run `atlantis"):
        older.probe("shifted")
    with pytest.raises(UserError, match=r"no probe is called 'new'; there is degrees, sphere, frozen, shifted$"):
        measured.probe("new")


def test_no_folder_and_no_run_are_named(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        run_data.load(tmp_path / "nowhere")
    with pytest.raises(UserError, match="at least one run"):
        page.write_report([])


# --- tables


def as_markdown(run) -> str:
    sheet = tables.run_sheet(run)
    return run_markdown(list(sheet.rows.columns), list(sheet.cells())) + "\n"


def test_the_table_holds_the_planted_numbers_step_0_first(run):
    rows = tables.run_sheet(run).rows
    task = [f"task {pair} km" for pair in ("world-world", "world-Atlantis", "Atlantis-Atlantis")]
    assert list(rows.columns) == ["step", "loss", *task, "lon R2", "lat R2", "real km", "Atlantis km"]
    assert rows.iloc[0].tolist() == pytest.approx([0, 2.0, 50, 100, 150, 0.9, 0.8, 100, 7000])
    assert rows.iloc[2].tolist() == pytest.approx([10, 1.0, 150, 300, 450, 0.7, 0.6, 300, 21000])


def test_a_run_that_is_not_probed_yet_names_its_region_by_its_settings(run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("analysis", "report"))
    begun = load(copy)
    assert "task world-Atlantis km" in tables.run_sheet(begun).rows, "an older record does not say"
    for names, expected in ((["Lemuria"], "Lemuria"), (["Lemuria", "Mu"], "virtual")):
        config = {f"world.regions.{k}.name": name for k, name in enumerate(names)}
        named = replace(begun, about=begun.about | {"config": config})
        assert f"task world-{expected} km" in tables.run_sheet(named).rows
        assert tables.pair_title("world-atlantis", named) == f"real–{expected}"


def test_slices_are_explained_in_words_that_hold_for_every_task(run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("report"))
    score = {"task": "angle", "n": 8}
    rows = [
        {**score, "slice": name, "metric": metric, "value": 0.5, "unit": unit}
        for name in run_data.SLICES
        for metric, unit in (("mean", "degrees"), ("skill", None))
    ]
    lines = [json.dumps({"step": step, "kind": "eval", "loss": 1.0, "scores": rows}) for step in STEPS]
    (copy / "metrics.jsonl").write_text("\n".join(lines))
    loaded = load(copy)
    (panel,) = panels(loaded, regions_of(loaded), only=("answer_skill",))
    kinds = ["only real cities", "real and virtual cities", "only virtual cities"]
    assert [words["what"] for words in panel["words"]][-3:] == kinds
    answers = [column for column in tables.run_columns(loaded) if column.source == "answers"]
    assert [column.explanation.endswith(kind) for column, kind in zip(answers, kinds, strict=True)] == [True] * 3


def test_the_terminal_table_fits_100_columns_and_shows_markup_as_text(run):
    file = io.StringIO()
    Console(file=file, width=100).print(tables.run_table(run))
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= 100 and "…" not in file.getvalue()
    assert lines[0].strip() == NAME
    assert any("21,000" in line for line in lines)


def test_csv_and_markdown_hold_the_same_rows(run):
    pd.testing.assert_frame_equal(
        pd.read_csv(io.StringIO(export.csv_text(tables.run_sheet(run).rows))),
        tables.run_sheet(run).rows,
        check_dtype=False,
    )
    assert "| 10 | 1.000 | 150 | 300 | 450 | 0.700 | 0.600 | 300 | 21,000 |\n" in as_markdown(run)


# --- figures


@pytest.fixture(scope="module")
def figures(run) -> dict[str, Path]:
    page.write_report(run)
    return {path.name: path for path in sorted((run / "report" / "figures").iterdir())}


def test_figures_are_written_with_the_report_and_are_pictures(figures):
    assert set(figures) == {Path(name).name for name in FIGURES} | {"evolution.gif"}
    for name in ("dynamics.png", "map_final.png"):
        with Image.open(figures[name]) as image:
            assert image.width > 1200 and len(image.convert("RGB").getcolors(1 << 24) or []) > 50
    assert EVIL not in figures["dynamics.svg"].read_text()


def test_a_run_without_a_finite_r2_has_a_report_and_no_chart_of_it(tmp_path):
    run = make_run(tmp_path / "run")
    for protocol in ("degrees", "sphere"):
        file = run / "analysis" / protocol / "representation_dynamics.csv"
        pd.read_csv(file).assign(lon_r2=np.nan, lat_r2=np.nan).to_csv(file, index=False)
    data = data_of(page.write_report(run).read_text(encoding="utf-8"))
    assert [panel["id"] for panel in data["runs"][0]["panels"]] == ["km", "task", "loss"]
    assert (run / "report" / "figures" / "dynamics.png").is_file()


def test_the_animation_has_a_frame_for_each_checkpoint_and_moves(figures):
    with Image.open(figures["evolution.gif"]) as image:
        frames = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)]
    assert len(frames) == len(STEPS) and frames[0].shape[1] == 900
    assert all((a != b).any() for a, b in pairwise(frames))
    assert figures["evolution.gif"].stat().st_size < 3_000_000


def test_the_animation_draws_the_world_once_for_each_map(run, monkeypatch):
    drawn: list[object] = []
    world = maps._draw_world
    monkeypatch.setattr(maps, "_draw_world", lambda ax, shown: drawn.append(ax) or world(ax, shown))
    with Image.open(io.BytesIO(maps.evolution_gif(list(load(run).probes.values())))) as image:
        assert image.n_frames == len(STEPS) and len(set(drawn)) == len(drawn) == 2  # type: ignore[attr-defined]


def test_the_same_run_gives_the_same_pictures(run, figures, tmp_path):
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
    return (run / "report" / "index.html").read_text(encoding="utf-8")


def data_of(text: str) -> dict[str, Any]:
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
    run = data_of(written)["runs"][0]
    assert run["cities"]["names"][:2] == [EVIL, printable(SEPARATOR)]
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
    run = data_of(written)["runs"][0]
    probe = run["probes"]["degrees"]
    lon = unpacked(probe["lon"]).reshape(len(STEPS), 8)
    assert lon[:, 0].tolist() == [30, 40, 50]
    assert lon[:, 3].tolist() == [1795, -1795, -1785]  # Suva drifts east across the 180th meridian
    assert unpacked(run["cities"]["lat"]).tolist()[:2] == [65, 357]
    assert unpacked(probe["error_km"]).reshape(len(STEPS), 8)[1, 0] == round(float(haversine_km(3, 6.5, 4, 6.5)))
    assert probe["held"] == "11000011" and probe["steps"] == list(STEPS)


def test_a_city_without_a_finite_prediction_is_marked_and_the_page_is_still_json(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    path = copy / "analysis" / "degrees" / "predictions.parquet"
    table = pd.read_parquet(path)
    table.loc[(table["step"] == 10) & (table["id"] == 0), ["pred_lon", "pred_lat", "error_km"]] = np.nan
    table[~((table["step"] == 1) & (table["id"] == 1))].to_parquet(path)
    probe = data_of(page.write_report(copy, figures=False).read_text(encoding="utf-8"))["runs"][0]["probes"]["degrees"]
    lon = unpacked(probe["lon"]).reshape(len(STEPS), 8)
    assert lon[2, 0] == lon[1, 1] == page_data.MISSING and (lon == page_data.MISSING).sum() == 2


def test_the_page_says_what_became_of_the_map_and_what_was_run(written):
    run = data_of(written)["runs"][0]
    shown = {card["label"]: (card["value"], card["remark"]) for card in run["cards"]}
    real = ("100 → 300 km", "step 0 → 10; R² 0.900 / 0.800 → 0.700 / 0.600")
    assert shown["Held-out real cities, new probe (degrees)"] == real
    assert shown["Atlantis, new probe (degrees)"] == ("7,000 → 21,000 km", "step 0 → 10")
    assert shown["Answers, real–Atlantis"][0] == "100 → 300 km" and len(shown) == 5
    about = {row["label"]: row["value"] for row in run["about"]}
    assert about["To reproduce"] == "git checkout abc123\natlantis train 'my config.yaml'"
    assert about["Questions"] == "train 100,000" and about["Started from"] == "base/checkpoints/final"
    assert [(p["id"], p["series"][0]["values"][0]) for p in run["panels"]] == [
        ("r2", 0.9),
        ("km", 100),
        ("task", 50),
        ("loss", 1.9),
    ]
    assert run["when"] is None and run["variants"] is None
    assert run["files"][:5] == [*FIGURES, "figures/evolution.gif"] and "tables/checkpoints.tex" in run["files"]


def test_every_link_of_the_page_is_a_file_beside_it(written, run):
    for link in data_of(written)["runs"][0]["files"]:
        assert (run / "report" / link).is_file()


def test_several_runs_share_one_folder_and_each_has_its_own_in_it(run, tmp_path):
    other = make_run(tmp_path / "other", drift=0.1, name="../other: b")
    path = page.write_report([run, other, other], tmp_path / "out", figures=False)
    assert path == tmp_path / "out" / "index.html"
    data = data_of(path.read_text(encoding="utf-8"))
    for shown in data["runs"]:
        assert shown["files"] and all((path.parent / unquote(link)).is_file() for link in shown["files"])
    assert len({shown["files"][0] for shown in data["runs"]}) == 3 and not (tmp_path / "other: b").exists()
    columns = [column["title"] for column in data["comparison"]["columns"]]
    rows = [dict(zip(columns, row, strict=True)) for row in data["comparison"]["rows"]]
    assert [row["real km"] for row in rows] == pytest.approx([300, 120, 120])
    assert rows[1]["change of real km"] == pytest.approx(20) and rows[0]["run"] == NAME
    assert pd.read_csv(path.parent / "comparison.csv")["real km"].tolist() == pytest.approx([300, 120, 120])
    assert page.write_report([other, run], figures=False) == other / "report" / "comparison" / "index.html"


def test_a_run_called_as_another_would_be_numbered_keeps_its_own_tables(tmp_path):
    runs = [make_run(tmp_path / str(k), drift=k, name=name) for k, name in enumerate(("demo_2", "demo", "demo"), 1)]
    path = page.write_report(runs, tmp_path / "out", figures=False)
    names = sorted(file.name for file in path.parent.iterdir() if file.is_dir())
    assert names == ["demo", "demo_2", "demo_3"]
    tables_of = [path.parent / name / "tables" / "checkpoints.csv" for name in ("demo_2", "demo", "demo_3")]
    assert [pd.read_csv(file)["real km"].iloc[-1] for file in tables_of] == [300, 500, 700]


def test_a_run_called_as_a_file_of_the_report_has_a_folder_of_another_name(tmp_path):
    names = ("index.html", "comparison.csv", "Comparison.tex")
    runs = [make_run(tmp_path / str(k), name=name) for k, name in enumerate(names)]
    path = page.write_report(runs, tmp_path / "out", figures=False)
    assert path.is_file() and {f"{name}_2" for name in names} <= {file.name for file in path.parent.iterdir()}


def test_steps_are_never_rounded(tmp_path):
    steps, runs = (0, 123_456, 1_234_567), [tmp_path / name for name in ("long", "short", "begun")]
    for run, n in zip(runs, (3, 2, 0), strict=True):
        run.mkdir()
        rows = [{"step": step, "kind": "eval", "loss": 123.4567} for step in steps[:n]]
        (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = page.write_report(runs, tmp_path / "out")
    data = data_of(path.read_text(encoding="utf-8"))
    assert data["runs"][0]["table"]["rows"] == [[step, 123.46] for step in steps]
    assert [row[1] for row in data["comparison"]["rows"]] == [1_234_567, 123_456, None]
    lines = (path.parent / "comparison.csv").read_text().splitlines()
    assert lines[1:] == ["long,1234567,123.457", "short,123456,123.457", "begun,,"]


def test_a_number_keeps_all_digits_before_its_point():
    values = (123456, 123456.7, 99999.96, -1234567.0, 0.123456, 1e300, np.nan, np.inf, None)
    expected = [123456, 123457, 100000, -1234567, 0.12346, 1e300, None, None, None]
    assert numbers(values) == expected


def test_a_file_html_is_the_page_alone(run, tmp_path):
    assert page.write_report(run, str(tmp_path / "alone" / "page.html")).is_file()
    assert [path.name for path in (tmp_path / "alone").iterdir()] == ["page.html"]
    assert data_of((tmp_path / "alone" / "page.html").read_text())["runs"][0]["files"] == []


def test_all_runs_that_cannot_be_read_are_named_and_the_others_are_written(run, tmp_path):
    broken = _broken(run, tmp_path / "broken", "run.json", "[]")
    with pytest.raises(PartFailed) as caught:
        page.write_report([run, broken, tmp_path / "nowhere"], tmp_path / "out", figures=False)
    head, *lines = str(caught.value).splitlines()
    named = [str(broken / "run.json"), str(tmp_path / "nowhere")]
    assert [line.strip().split(":")[0] for line in lines] == named and str(tmp_path / "out" / "index.html") in head
    assert len(data_of((tmp_path / "out" / "index.html").read_text())["runs"]) == 1
    with pytest.raises(UserError) as caught:
        page.write_report([broken, tmp_path / "nowhere"], tmp_path / "none")
    assert not isinstance(caught.value, PartFailed) and not (tmp_path / "none").exists()
    assert [line.strip().split(":")[0] for line in str(caught.value).splitlines()] == named


def test_a_page_of_somebody_else_is_left_alone(run, tmp_path):
    (tmp_path / "index.html").write_text("<h1>mine</h1>")
    with pytest.raises(UserError, match="not written by atlantis"):
        page.write_report(run, tmp_path)
    assert (tmp_path / "index.html").read_text() == "<h1>mine</h1>" and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(UserError, match="is a file; give a folder"):
        page.write_report(run, run / "config.yaml")


@pytest.mark.parametrize("n", [500, pytest.param(5_175, marks=pytest.mark.whole)])
def test_the_page_is_small(run, n):
    """Under 7 MB with the 5,175 cities of the study; of fewer cities smaller to match."""
    loaded = run_data.load(run)
    steps = 30
    degrees = loaded.probe("degrees")
    rng = np.random.default_rng(0)
    one = pd.concat([degrees.predictions.head(1)] * n).assign(
        id=range(n), name=[f"City of Somewhere {i}" for i in range(n)]
    )
    places = {"pred_lon": (-180, 180), "pred_lat": (-90, 90), "radial_km": (-900, 900), "tangential_km": (-900, 900)}
    many = pd.concat(
        [one.assign(step=step, **{k: rng.uniform(*limits, n) for k, limits in places.items()}) for step in range(steps)]
    )
    placed = many.drop(columns=["radial_km", "tangential_km"])
    probes = {name: run_data.Probe(name, degrees.dynamics, placed) for name in ("degrees", "sphere", "frozen")}
    probes["shifted"] = run_data.Probe("shifted", degrees.dynamics, many)
    large = run_data.RunData(**{**vars(loaded), "probes": probes})
    assert len(page.page([large])) < 350_000 + 1_285 * n


# --- what became of the map


@pytest.fixture(scope="module")
def analysed(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("analysed") / "run", with_map=True)


@pytest.fixture(scope="module")
def shown(analysed) -> dict[str, Any]:
    path = page.write_report(analysed, figures=False)
    return data_of(path.read_text(encoding="utf-8"))["runs"][0]


def test_the_kept_probe_is_a_probe_like_the_others(shown):
    frozen, shifted = (shown["probes"][name] for name in ("frozen", "shifted"))
    assert list(shown["probes"]) == ["degrees", "sphere", "frozen", "shifted"]
    assert unpacked(frozen["lon"]).reshape(len(STEPS), 8)[:, 0].tolist() == [30, 60, 90]
    assert unpacked(shifted["lon"]).reshape(len(STEPS), 8)[:, 0].tolist() == [30, 50, 70]
    assert unpacked(shifted["radial_km"]).reshape(len(STEPS), 8)[2].tolist() == [-200] * 8
    assert "radial_km" not in frozen, "the parts of a displacement go with the places that it leads to"
    groups = {group["name"]: group["mean_km"] for group in frozen["by_region"]}
    assert groups["Africa"] == pytest.approx([400, 1600, 2800]) and groups["all real cities"][0] == pytest.approx(600)
    assert frozen["held"] == "11111111"  # each by the probe of a fold that it was not in


def test_the_parts_of_the_fall_are_bands_between_the_readings(shown):
    panels = {panel["id"]: panel for panel in shown["panels"]}
    bands = {band["label"]: (band["low"][-1], band["high"][-1]) for band in panels["skill"]["bands"]}
    assert bands["lost"] == pytest.approx((0.7, 0.9)) and bands["bent"] == pytest.approx((0.62, 0.7))
    assert bands["turned"] == pytest.approx((0.58, 0.62)) and bands["shifted"] == pytest.approx((0.5, 0.58))
    assert panels["skill"]["series"][0]["low"][0] == pytest.approx(0.89)
    card = shown["cards"][-1]
    assert card["value"] == "skill 0.900 → 0.500"
    assert card["remark"] == "step 0 → 10; of the fall 50 % lost, 20 % bent, 10 % turned, 20 % shifted"


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_a_figure_that_is_drawn_once_is_what_matplotlib_saves(suffix: str) -> None:
    def figure() -> Figure:
        with style():
            made = new_figure("a title", (6, 3))
            axes = made.subplots(1, 2)
            axes[0].plot([0, 1], [2, 3], label="a curve")
            axes[0].set_ylabel("a label that the layout makes room for")
            made.legend(loc="outside lower center")
        return made

    file = io.BytesIO()
    with style():
        saved = figure()
        metadata = {"Date": None} if suffix == "svg" else {"Software": None}
        saved.savefig(file, format=suffix, dpi=150, metadata=metadata)
    assert rendered(figure(), suffix) == file.getvalue()


def test_an_older_analysis_says_that_it_does_not_tell_a_turn_from_a_shift(tmp_path):
    run = make_run(tmp_path / "older", with_map=True, with_shift=False)
    shown = data_of(page.write_report(run, figures=False).read_text(encoding="utf-8"))["runs"][0]
    panels = {panel["id"]: panel for panel in shown["panels"]}
    assert [band["label"] for band in panels["skill"]["bands"]] == ["lost", "bent", "turned or shifted"]
    assert shown["cards"][-1]["remark"] == "step 0 → 10; of the fall 50 % lost, 20 % bent, 30 % turned or shifted"
    assert "shift" not in panels and "moved" not in panels, "numbers of another meaning share no panel"
    assert "the shift included" in panels["moved_with_shift"]["title"]
    assert list(shown["probes"]) == ["degrees", "sphere", "frozen"]
    assert unpacked(shown["probes"]["frozen"]["radial_km"])[-1] == -200
    text = rendered(forgetting_figure(load(run)), "svg").decode()
    assert ">turned or shifted</text>" in text and "the shift included" in text


def test_every_measure_has_its_panel_and_chance_its_line(shown):
    panels = {panel["id"]: panel for panel in shown["panels"]}
    last = {key: {s["label"]: s["values"][-1] for s in panel["series"]} for key, panel in panels.items()}
    assert last["integration"] == pytest.approx({"Atlantis": 2200, "real regions left out": 1000})
    assert last["ratio"]["Atlantis"] == pytest.approx(2.2) and last["shape"]["Atlantis"] == pytest.approx(0.5)
    assert last["off"] == pytest.approx({"real cities, held out": 0.05, "Atlantis": 0.2})
    assert last["cka"]["block 0"] == pytest.approx(0.96) and last["cka"]["blocks 3 and 4"] == pytest.approx(0.72)
    assert last["angles"] == pytest.approx({"largest": 60, "mean": 20})
    assert last["kl"] == pytest.approx({"prompts of real cities": 0.2})
    assert last["moved"] == pytest.approx({"whole way": 600, "radial": 240, "tangential": 500})
    assert last["shift"] == {"length, in radii of the Earth": 0.6, "share of the mean squared change": 0.8}
    assert last["causes"]["with distance to the virtual region"] == pytest.approx(-0.6)
    assert last["causes"]["with distance to any place"] == 0
    rules = {key: [(r["label"], r["value"]) for r in panel.get("rules", [])] for key, panel in panels.items()}
    assert rules["km"] == [("untrained model", 6000), ("permuted places", 7500)] and len(rules["r2"]) == 4
    assert last["share"] == {"no direction preferred": 0.5, "tangential share": 0.8}


def test_every_block_has_a_colour_of_its_own(shown):
    assert [block_colour(k, 7) for k in range(7)] == list(BLOCKS)
    assert [block_colour(k, 3) for k in range(3)] == list(BLOCKS[:3])
    for n in (8, 24):
        colours = [block_colour(k, n) for k in range(n)]
        assert len(set(colours)) == n and (colours[0], colours[-1]) == (BLOCKS[0], BLOCKS[-1])
    panel = next(panel for panel in shown["panels"] if panel["id"] == "cka")
    assert [curve["colour"] for curve in panel["series"] if "colour" in curve] == list(BLOCKS[:6])


def test_variants_and_when_are_tables(shown):
    rows = {(row["variant"], row["group"]): row["mean_km"] for row in shown["variants"]["rows"]}
    assert rows["virtual in the pool", "all real cities"] == [120, 130, 140]
    assert rows["region left out", "Africa"] == [5000, 4900, 4800]
    assert shown["when"]["rows"][0] == ["km first probe", "real", 226, 359, 473, 100, 38.5, 0.46]
    assert shown["when"]["rows"][1][-1] is None
    assert tables.significant(-1e-15) == "0.000" and tables.significant(-12.34) == "-12.3"


def test_where_the_answers_went_is_a_table(run, tmp_path):
    copy = tmp_path / "stitched"
    shutil.copytree(run, copy)
    (copy / "analysis" / "stitching").mkdir(parents=True)
    file = copy / "analysis" / "stitching" / "stitched.csv"
    rows = [
        (20, "tuned", cut, kind, group, "km", km)
        for group, factor in (("world-world", 1), ("world-atlantis", 7))
        for kind, base in (("nothing", 100), ("affine", 50))
        for cut, km in ((-1, base * factor), (0, 2 * base * factor))
    ]
    rows += [(20, "base", 0, "affine", "world-world", "km", 900), (10, "tuned", 0, "affine", "world-world", "km", 1)]
    pd.DataFrame(rows, columns=run_data.STITCHED_COLUMNS).to_csv(file, index=False)
    shown = page_data.data_of(load(copy), [])["answers"]
    assert shown["step"] == 20
    titles = [
        "cut after block",
        "fine-tuned below: as it is",
        "fine-tuned below: an affine map",
        "base below: an affine map",
    ]
    assert [column["title"] for column in shown["columns"]] == titles
    assert shown["rows"] == [["embedding", 100, 50, None], ["0", 200, 100, 900]]
    assert page_data.data_of(load(run), [])["answers"] is None
    file.write_text("step,lower\n20,tuned\n")
    with pytest.raises(UserError, match=r"no column cut, between.*atlantis stitch"):
        load(copy)


def test_the_figure_of_forgetting_is_drawn(analysed, tmp_path, monkeypatch):
    text = rendered(forgetting_figure(load(analysed)), "svg").decode()
    for label in ("lost", "bent", "turned", "shifted", "real regions left out", "blocks 3 and 4", "tangential"):
        assert f">{label}</text>" in text
    monkeypatch.setattr("atlantis.report.figures.rendered", lambda figure, suffix: suffix.encode())
    monkeypatch.setattr("atlantis.report.figures.evolution_gif", lambda probes: b"")
    names = [path.name for path in write_figures(analysed, str(tmp_path))]
    assert {"forgetting.png", "forgetting.svg"} < set(names)


def test_the_curves_have_chance_as_it_was_measured(analysed):
    r2, km, *_ = dynamics_figure(analysed).axes
    levels = {ax: [float(np.asarray(line.get_ydata())[0]) for line in ax.lines] for ax in (r2, km)}
    assert levels[r2][2:] == [0.02] * 4
    assert r2.get_legend_handles_labels()[1][2:] == [
        "untrained model: 0.02, 0.02, below",
        "permuted places: 0.02, 0.02, below",
    ]
    assert levels[km][-2:] == [6000, 7500]
    assert km.lines[-1].get_linestyle() != km.lines[-2].get_linestyle()


@pytest.mark.filterwarnings("error")
def test_a_map_that_did_not_fall_is_not_taken_apart(analysed):
    run = load(analysed)
    assert run.map is not None
    still = run.map.measures.copy()
    kept = {"skill_frozen": 0.9, "lost": 0.0, "bent": 0.0, "turned": 0.0, "shifted": 0.0}
    for name, value in kept.items():
        still.loc[still["metric"] == name, "value"] = value
    card = cards(replace(run, map=replace(run.map, measures=still)))[-1]
    assert (card["value"], card["remark"]) == ("skill 0.900 → 0.900", "step 0 → 10; hardly a fall to take apart")


@pytest.mark.parametrize("missing", ["measures.parquet", "cities.parquet", "when.csv"])
def test_what_is_absent_from_the_map_analysis_is_absent_from_the_page(analysed, tmp_path, missing):
    copy = shutil.copytree(analysed, tmp_path / "copy")
    (copy / "analysis" / "map" / missing).unlink()
    shown = data_of(page.write_report(copy, figures=False).read_text())["runs"][0]
    assert ({"frozen", "shifted"} <= set(shown["probes"])) == (missing != "cities.parquet")
    assert (len(shown["panels"]) > 4) == (missing != "measures.parquet")
    assert (shown["when"] is None) == (missing == "when.csv")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("map/measures.parquet", "oops", r"measures\.parquet: cannot be read .*; run `atlantis probe .*copy` again"),
        ("map/when.csv", "metric\nx\n", r"when\.csv: no column group, first, final"),
        ("degrees/variants.csv", "step\n0\n", r"variants\.csv: no column variant"),
    ],
)
def test_a_map_analysis_that_cannot_be_understood_is_named(analysed, tmp_path, name, text, message):
    with pytest.raises(UserError, match=message):
        run_data.load(_broken(analysed, tmp_path / "copy", f"analysis/{name}", text))


# --- tables for papers


FORMULAS = {"=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@SUM(A1)": "'@SUM(A1)", "\t=1": "' =1", "\r=1": "' =1"}


def test_a_csv_holds_nothing_that_a_spreadsheet_would_run():
    rows = pd.DataFrame({"=name": [*FORMULAS, "Lima, Peru"], "km": [-1.5, *[2.0] * 6]})
    read = list(csv.reader(io.StringIO(export.csv_text(rows), newline="")))
    assert [row[0] for row in read] == [
        "'=name",
        *(f"'{text.replace(chr(9), ' ').replace(chr(13), ' ')}" for text in FORMULAS),
        "Lima, Peru",
    ]
    assert read[1][1] == "-1.5"


@given(st.text(max_size=20))
def test_a_csv_cell_is_the_text_or_the_text_made_harmless(text):
    _, (cell, number) = csv.reader(io.StringIO(export.csv_text(pd.DataFrame({"a": [text], "b": [1]})), newline=""))
    assert cell.removeprefix("'") == re.sub(r"[\t\r\n\0]", " ", text).removeprefix("'") and number == "1"
    assert not cell.lstrip().startswith(("=", "+", "-", "@", "\t", "\r"))


def test_a_latex_table_shows_every_character_as_itself():
    rows = pd.DataFrame(
        {"lon R2": [0.5, np.nan], "real km": [1234.4, -5.0], "name": [r"50% of_#1 {a} \b~^", "A & B $x$\n<y>"]}
    )
    text = export.latex_text(tables.Sheet(rows, {"lon R2": 3, "real km": 0}, "two\nlines"))
    assert text.splitlines() == [
        "% two lines",
        r"% \usepackage{booktabs}",
        r"\begin{tabular}{rrl}",
        r"\toprule",
        r"lon $R^2$ & real km & name \\",
        r"\midrule",
        r"0.500 & 1{,}234 & 50\% of\_\#1 \{a\} \textbackslash{}b\textasciitilde{}\textasciicircum{} \\",
        r"-- & $-$5 & A \& B \$x\$ \textless{}y\textgreater{} \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_r2_is_a_symbol_at_the_end_of_a_heading_alone():
    sheet = tables.Sheet(pd.DataFrame({"lon R2": [0.5], "R2D2 km": [1.0]}), {"lon R2": 3, "R2D2 km": 0})
    assert r"lon $R^2$ & R2D2 km \\" in export.latex_text(sheet)
    assert [column["title"] for column in page_data.table(sheet)["columns"]] == ["lon R²", "R2D2 km"]


def test_intervals_of_older_versions_that_pass_a_bound_are_not_shown() -> None:
    columns = ["lon_r2", "lon_r2_low", "lon_r2_high", "mean_km", "mean_km_low", "mean_km_high"]
    old = pd.DataFrame(
        [[0.98, 0.95, 1.01, 300.0, -20.0, 620.0], [0.9, 0.8, 0.95, 300.0, 200.0, 400.0]], columns=columns
    )
    kept = probe_data._within_bounds(old)
    assert kept[["lon_r2", "mean_km"]].equals(old[["lon_r2", "mean_km"]])
    assert kept.iloc[0].isna().tolist() == [False, True, True, False, True, True]
    assert kept.iloc[1].equals(old.iloc[1])


def test_no_page_of_the_documentation_has_an_r2_above_one():
    found = 0
    for path in sorted((Path(__file__).parents[1] / "docs").glob("*.md")):
        columns: list[int] = []
        for line in path.read_text(encoding="utf-8").splitlines():
            cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
            if not cells:
                columns = []
            elif any(cell.endswith("R²") for cell in cells):
                columns = [k for k, cell in enumerate(cells) if cell.endswith("R²")]
            for k in columns if len(cells) > max(columns, default=0) else ():
                for high in re.findall(r" to (-?[\d.]+)\)", cells[k]):
                    found += 1
                    assert float(high) <= 1, f"{path.name}: {line}"
    assert found > 30
