"""The gallery of the documentation, made anew: the page of a run, pictures of that page, and the run's figures.

    python -m scripts.gallery outputs/experiments/demo

Writes docs/gallery/demo.html (what `atlantis report RUN --out docs/gallery/demo.html` writes) and, in docs/images/,
page*.png (Chromium's pictures of it) and the figures that README and docs/demo.md show.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from PIL import Image

from atlantis.artifacts import write_bytes
from atlantis.errors import UserError
from atlantis.report.figures import pictures
from atlantis.report.page import write_report
from atlantis.report.run_data import load
from tests.chromium import CHROMIUM, Tab

DOCS = Path(__file__).parents[1] / "docs"
FIGURES = ("dynamics.png", "forgetting.png", "map_final.png", "evolution.gif")
VIEWS = {"page": (1280, 1180, False), "page_dark": (1280, 1180, True), "page_phone": (390, 1180, False)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the run's folder, probed")
    try:
        make_gallery(parser.parse_args().run)
    except UserError as error:
        sys.exit(f"error: {error}")


def make_gallery(run: Path) -> None:
    """Raises UserError if there is no Chromium or the run cannot be read; then nothing is written."""
    if CHROMIUM is None:
        raise UserError("the pictures of the page need Chromium; `make browser` installs it")
    loaded = load(run)
    drawn = pictures(loaded)
    page = write_report(loaded, DOCS / "gallery" / "demo.html")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, Tab(Path(profile)) as tab:
        for name, (width, height, dark) in VIEWS.items():
            tab.open(page, width, height, dark)
            path = DOCS / "images" / f"{name}.png"
            tab.picture(path, whole=False)
            Image.open(path).convert("RGB").save(path, optimize=True)
    for name in FIGURES:
        if name in drawn:
            write_bytes(DOCS / "images" / name, drawn[name])


if __name__ == "__main__":
    main()
