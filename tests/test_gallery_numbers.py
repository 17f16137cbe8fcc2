"""The numbers in the gallery's text are its record's, and the page's scripts are still as large as it says."""

from __future__ import annotations

import json
from pathlib import Path

from atlantis.markdown import table
from atlantis.report.page import SCRIPTS

ROOT = Path(__file__).parents[1]
RECORD = json.loads((ROOT / "experiments" / "2026-11-28_page_libraries" / "record.json").read_text())
TEXT = " ".join((ROOT / "docs" / "gallery" / "README.md").read_text(encoding="utf-8").split())


def test_the_table_of_libraries_is_the_records() -> None:
    header, rows = list(RECORD["rows"][0]), [list(map(str, row.values())) for row in RECORD["rows"]]
    bare = table(header, rows).splitlines()[2:]
    assert all(line.replace(" ", "") in TEXT.replace(" ", "") for line in bare)


def test_times_are_the_records() -> None:
    flat, globe = RECORD["land_ms"]["flat map"], RECORD["land_ms"]["globe"]
    assert f"{flat['ours']} ms to draw on the flat map and {globe['ours']} ms on the globe" in TEXT
    assert f"With d3-geo it takes {flat['d3-geo']} and {globe['d3-geo']} ms" in TEXT
    least, most = RECORD["frame_ms"]
    assert f"a frame in {least} to {most} ms at best" in TEXT
    quiet, rates = RECORD["quiet"], RECORD["quiet"]["frames_a_second"]
    assert f"plays at {rates['as it opens']} frames a second, the globe at {rates['globe']}" in TEXT
    assert f"script has finished after {quiet['script_has_run_after_ms']:,} ms" in TEXT


def test_the_scripts_are_as_large_as_the_text_says() -> None:
    web = ROOT / "src" / "atlantis" / "report" / "web"
    size = sum((web / name).stat().st_size for name in SCRIPTS) / 1_000
    assert f"{RECORD['scripts_kB']} kB of plain JavaScript" in TEXT and abs(size / RECORD["scripts_kB"] - 1) < 0.1
