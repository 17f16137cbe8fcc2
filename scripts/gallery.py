"""The gallery of the documentation, made anew: pages of runs, pictures of the first, and its run's figures.

    python -m scripts.gallery outputs/experiments/demo

Writes docs/gallery/demo.html (what `atlantis report RUN --out docs/gallery/demo.html` writes) and, in docs/images/,
page*.png (Chromium's pictures of it) and the figures that README and docs/demo.md show.

    python -m scripts.gallery --page two_runs RUN RUN

writes docs/gallery/two_runs.html, the page of several runs, with a part of the cities on its maps so that it stays
small; and page_two_runs.png, a picture of its first view. docs/gallery/README.md has the commands that make the runs.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from atlantis.artifacts import write_bytes, write_text
from atlantis.errors import UserError
from atlantis.report.figures import pictures
from atlantis.report.page import page, write_report
from atlantis.report.run_data import RunData, load
from tests.chromium import CHROMIUM, Tab

DOCS = Path(__file__).parents[1] / "docs"
FIGURES = ("dynamics.png", "forgetting.png", "map_final.png", "evolution.gif")
VIEWS = {"page": (1280, 1180, False), "page_dark": (1280, 1180, True), "page_phone": (390, 1180, False)}
FEWER_CITIES = 1_700
"""Real cities on the maps of a page of several runs, at most."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", metavar="NAME", help="the name of a page of these runs, in place of the demo's page")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="a run's folder, probed")
    arguments = parser.parse_args()
    if not arguments.page and len(arguments.runs) > 1:
        parser.error("several runs need --page NAME")
    try:
        if CHROMIUM is None:
            raise UserError("the pictures of the page need Chromium; `make browser` installs it")
        if arguments.page:
            make_page(arguments.page, arguments.runs)
        else:
            make_gallery(arguments.runs[0])
    except UserError as error:
        sys.exit(f"error: {error}")


def make_gallery(run: Path) -> None:
    """The demo's page, its pictures and figures. UserError if the run cannot be read; nothing is written then."""
    loaded = load(run)
    drawn = pictures(loaded)
    take_pictures(write_report(loaded, DOCS / "gallery" / "demo.html"), VIEWS)
    for name in FIGURES:
        if name in drawn:
            write_bytes(DOCS / "images" / name, drawn[name])


def make_page(name: str, runs: Sequence[Path]) -> None:
    """One page of the runs, and its picture. Raises UserError if one cannot be read."""
    file = DOCS / "gallery" / f"{name}.html"
    write_text(file, page([portable(load(run)) for run in runs], most_cities=FEWER_CITIES))
    take_pictures(file, {f"page_{name}": (1280, 1180, False)})


def portable(run: RunData) -> RunData:
    """Without the folders of the machine that it was made on, in its config and its command."""
    config = re.sub(r"^output_root: /.*$", "output_root: outputs", run.config, flags=re.MULTILINE)
    config = re.sub(r"^base_config: .*\n", "", config, flags=re.MULTILINE)
    command = re.sub(r" ?output_root=/\S*", "", str(run.about.get("command", "")))
    return replace(run, config=config, about=run.about | {"command": command})


def take_pictures(file: Path, views: Mapping[str, tuple[int, int, bool]]) -> None:
    """Chromium's pictures of a page: for each name width, height and whether dark."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, Tab(Path(profile)) as tab:
        for name, (width, height, dark) in views.items():
            tab.open(file, width, height, dark)
            path = DOCS / "images" / f"{name}.png"
            tab.picture(path, whole=False)
            Image.open(path).convert("RGB").save(path, optimize=True)


if __name__ == "__main__":
    main()
