"""The report of one run or several: a folder whose `index.html` opens from disk, with no network and no installation.

- The page is one file. All data are in it as JSON, in which `<`, `>`, `&` and every non-ASCII character are escaped, so
  that no text of the user's can end the element it sits in. The script puts text in by `textContent` only.
- A strict content-security policy: the one script and the one style sheet are named by their SHA-256, images may only
  be data, and everything else is refused. No request leaves the page.
- Pictures and tables lie beside it, in `figures/` and `tables/`; with several runs in a folder for each.
- Everything is made before the first file is written, and the page is written last.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from atlantis.artifacts import refuse_links, version, write_bytes, write_text
from atlantis.errors import PartFailed, UserError
from atlantis.progress import bar
from atlantis.report.export import Sheet, comparison_sheet, csv_text, latex_text, run_tables
from atlantis.report.headline import headlines
from atlantis.report.page_data import PROTOCOL_TITLES, comparison, data_of, int16, palette_of
from atlantis.report.panels import PARTS_OF_FALL, explained, sections
from atlantis.report.run_data import RunData, load
from atlantis.report.seeds import mean_panels
from atlantis.world.coastlines import land

# fmt: off
SCRIPTS = (
    "base.js", "data.js", "colours.js", "projection.js", "views.js", "look.js", "draw.js", "shades.js", "steps.js",
    "city.js", "near.js", "select.js", "gestures.js", "curves.js", "words.js", "reading.js", "cities.js", "tables.js",
    "about.js", "address.js", "pen.js", "save.js", "main.js",
)
# fmt: on
"""One subject each, in an order in which what is run at once is there."""
PAGES = (".html", ".htm")
NO_PAGES = (".pdf", ".md", ".txt", ".png", ".svg", ".jpg", ".gif", ".csv", ".tex", ".json", ".zip", ".xhtml", ".mhtml")
"""Endings by which `out` is meant to be a file, of a kind that a report is not."""
OWN_FILES = ("index.html", "comparison.csv", "comparison.tex")
"""What lies beside the folders of several runs, so no folder has such a name."""
OURS = '<meta name="generator" content="atlantis">'


def write_report(
    runs: Sequence[RunData | Path | str] | RunData | Path | str, out: Path | str | None = None, figures: bool = True
) -> Path:
    """Write the page for one run or several, with its pictures and tables beside it; returns the page's path.

    `out` is a folder, for `index.html`, `figures/` and `tables/`; or a file `*.html` or `*.htm`, for the page alone. By
    default `<run>/report/` for one run, `<first run>/report/comparison/` for several. `figures=False` leaves out the
    pictures.

    Raises:
        UserError: no run given, none can be read (all are named), or `out` holds a page that is not ours.
        PartFailed: some cannot be read; the page of the others is written.
    """
    loaded, unread = load_all([runs] if isinstance(runs, RunData | Path | str) else list(runs))
    out = None if out is None else Path(out)
    target = _target(loaded, out)
    folders = _folders(loaded)
    beside: dict[str, bytes] = {}
    if target != out:
        with bar("drawing", len(loaded)) as progress:
            for run, folder in zip(loaded, folders, strict=True):
                beside |= {folder + name: data for name, data in _beside(run, figures).items()}
                progress.advance(note=run.name)
        if len(loaded) > 1:
            beside |= _table_files("comparison", comparison_sheet(loaded))
    links = [[quote(name) for name in beside if name.startswith(folder)] for folder in folders]
    text = page(loaded, links)
    for name, data in beside.items():
        write_bytes(target.parent / name, data)
    write_text(target, text)
    if unread:
        raise left_out(unread, f"{target} has the others")
    return target


def left_out(unread: Sequence[UserError], others: str) -> PartFailed:
    """That some runs cannot be read, a line for each; and what became of the others."""
    return PartFailed("\n  ".join([f"left out, for they cannot be read ({others}):", *map(str, unread)]))


def load_all(runs: Sequence[RunData | Path | str]) -> tuple[list[RunData], list[UserError]]:
    """The runs that can be read, and why the others cannot.

    Raises `UserError` if no run is given, or none can be read, with a line for each.
    """
    if not runs:
        raise UserError("report: give at least one run's folder")
    loaded: list[RunData] = []
    failed: list[UserError] = []
    for run in runs:
        try:
            loaded.append(run if isinstance(run, RunData) else load(run))
        except UserError as error:
            failed.append(error)
    if not loaded:
        raise UserError("\n  ".join(map(str, failed)))
    return loaded, failed


def _target(runs: Sequence[RunData], out: Path | None) -> Path:
    if out is None:
        refuse_links(runs[0].path, ("analysis", "report"))
        report = runs[0].path / "report"
        return (report if len(runs) == 1 else report / "comparison") / "index.html"
    is_page = out.suffix.lower() in PAGES
    target = out if is_page else out / "index.html"
    if not is_page and (out.is_file() or out.suffix.lower() in NO_PAGES):
        what = "is a file" if out.is_file() else f"a report is not written as {out.suffix}"
        raise UserError(f"{out}: {what}; give a folder, or a file that ends in .html")
    if target.is_dir():
        raise UserError(f"{target}: is a folder; give another name")
    if target.is_file() and not _ours(target):
        raise UserError(f"{target}: is a page that was not written by atlantis, and is left alone; give another --out")
    return target


def _ours(page: Path) -> bool:
    with open(page, "rb") as file:
        return OURS.encode() in file.read(4000)


def _folders(runs: Sequence[RunData]) -> list[str]:
    """What comes before `figures/` and `tables/`: nothing for one run, a folder of its name for each of several."""
    if len(runs) == 1:
        return [""]
    slugs: list[str] = []
    for run in runs:
        slug = stem = re.sub(r"[^\w.-]+", "_", run.name).strip("._")[:80] or "run"
        n = 1
        while slug.casefold() in map(str.casefold, [*OWN_FILES, *slugs]):  # one folder on some disks
            n += 1
            slug = f"{stem}_{n}"
        slugs.append(slug)
    return [f"{slug}/" for slug in slugs]


def _beside(run: RunData, figures: bool) -> dict[str, bytes]:
    """Pictures and tables of a run: their names, with `/`, and what is in them."""
    files: dict[str, bytes] = {}
    if figures and "degrees" in run.probes:
        from atlantis.report.figures import pictures

        files |= {f"figures/{name}": data for name, data in pictures(run).items()}
    for name, sheet in run_tables(run).items():
        files |= _table_files(f"tables/{name}", sheet._replace(title=f"{run.name}: {sheet.title}"))
    return files


def _table_files(name: str, sheet: Sheet) -> dict[str, bytes]:
    return {f"{name}.csv": csv_text(sheet.rows).encode(), f"{name}.tex": latex_text(sheet).encode()}


# --- the page


def page(runs: Sequence[RunData], links: Sequence[Sequence[str]] | None = None, most_cities: int | None = None) -> str:
    """The page as text; `links` are, for each run, relative addresses of its pictures and tables.

    The maps of a run with more real cities than `most_cities` (by default 12,000) have a part of them.
    """
    *names, last = [run.name for run in runs]
    title = " and ".join(filter(None, (", ".join(names), last)))
    palette = palette_of(runs)
    data = {
        "title": title,
        "finding": headlines(runs),
        "protocols": PROTOCOL_TITLES,
        "version": version(),
        "land": [_tenths(np.column_stack(ring).ravel()) for ring in land()],
        "fine": _fine_land(),
        "sections": sections(),
        "parts": explained(PARTS_OF_FALL),
        "means": mean_panels(runs),
        "comparison": comparison(runs) if len(runs) > 1 else None,
        "runs": [
            data_of(run, files, palette, most_cities)
            for run, files in zip(runs, links or [[] for _ in runs], strict=True)
        ],
    }
    return assembled(
        _template("page.html"), f"{title}: atlantis", _template("page.css"), "\n".join(map(_template, SCRIPTS)), data
    )


def assembled(template: str, title: str, style: str, script: str, data: Any) -> str:
    """A page in one file: a template with its style sheet, script and data, and a policy that admits nothing else."""
    policy = (
        f"default-src 'none'; script-src 'sha256-{_sha256(script)}'; style-src 'sha256-{_sha256(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    parts = {
        "policy": policy,
        "ours": OURS,
        "title": html.escape(title),
        "style": style,
        "script": script,
        "data": embedded_json(data),
    }
    # One pass, so that nothing inside a part is taken for a place to fill.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match.group(1)], template)


def embedded_json(obj: Any) -> str:
    """JSON that can stand inside an HTML `<script>` element: ASCII only, with `<`, `>` and `&` as escapes too."""
    text = json.dumps(obj, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _template(name: str) -> str:
    return files("atlantis.report").joinpath("web", name).read_text(encoding="utf-8")


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _fine_land() -> dict[str, Any]:
    """The finer outlines: how many numbers each ring has, and all of them, in hundredths of a degree."""
    rings = [np.column_stack(ring).ravel() for ring in land(fine=True)]
    return {"lengths": [len(ring) for ring in rings], "points": int16(100 * np.concatenate(rings))}


def _tenths(degrees: np.ndarray) -> list[int]:
    return [int(value) for value in np.round(degrees * 10)]
