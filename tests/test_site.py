"""docs/ as a site: it builds without a warning, has every page and the reference, and asks nothing of the network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.site_hooks import without_outside_links

ROOT = Path(__file__).parents[1]
LOADED = re.compile(r"""<(?:script|img|iframe|link|source)\b[^>]*?(?:src|href)=["']?(?P<url>[^"'\s>]+)""")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("material", reason="needs the extra docs")
    pytest.importorskip("mkdocstrings", reason="needs the extra docs")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_the_site_has_every_page_and_the_gallery(site: Path) -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        name = str(page.relative_to(ROOT / "docs")).replace("README.md", "index.md")
        assert (site / name).with_suffix(".html").is_file(), name
    assert (site / "gallery" / "demo.html").read_bytes() == (ROOT / "docs" / "gallery" / "demo.html").read_bytes()


@pytest.mark.slow
def test_the_site_asks_nothing_of_the_network(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 15
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loaded = [match["url"] for match in LOADED.finditer(text)]
        assert loaded or page.name == "demo.html"
        assert [url for url in loaded if url.startswith(("http", "//"))] == [], page.name
        assert 'class="mermaid"' not in text, "Material would load mermaid's script from elsewhere"
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert re.findall(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//[^)'\"]*", styles) == []


@pytest.mark.slow
def test_the_reference_has_the_docstrings(site: Path) -> None:
    text = (site / "api.html").read_text(encoding="utf-8")
    assert "An immutable table of cities" in text and "completion_loss" not in text
    names = re.findall(r"^::: (\S+)$", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(names) > 15
    assert [name for name in names if f'id="{name}"' not in text] == []


def test_a_link_out_of_docs_becomes_its_text() -> None:
    def on_site(text: str) -> str:
        return without_outside_links(text, "gallery/README.md")

    assert on_site("see [the trials](../../experiments/x/).") == "see the trials (`experiments/x/`)."
    assert on_site("[`tree.py`](../../src/a/tree.py)") == "`src/a/tree.py`"
    for kept in ("[metrics](../metrics.md#chance)", "[page](demo.html)", "[GeoNames](https://www.geonames.org)"):
        assert on_site(kept) == kept
