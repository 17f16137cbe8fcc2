"""What makes a site of docs/: a hook of mkdocs, named in mkdocs.yml.

The pages are written to be read in the repository, where they link to files beside docs/. The site does not have
those files, so there such a link becomes its text and the file's path.
"""

from __future__ import annotations

import posixpath
import re
from typing import Any

LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """A page's Markdown without links that leave docs/."""
    return without_outside_links(markdown, page.file.src_uri)


def without_outside_links(markdown: str, uri: str) -> str:
    """`[the trials](../experiments/x/)` as "the trials (`experiments/x/`)"; `[x](x)` as `x`."""

    def plain(match: re.Match[str]) -> str:
        text, target = match[1], match[2]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(uri), target))
        if "://" in target or not path.startswith("../"):
            return match[0]
        path = path.removeprefix("../") + ("/" if target.endswith("/") else "")
        return f"`{path}`" if text.strip("`").rstrip("/") in path else f"{text} (`{path}`)"

    return LINK.sub(plain, markdown)
