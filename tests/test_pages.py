"""README and the pages of docs/: links lead somewhere, commands are commands, paths of the code's map exist."""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main

from atlantis.cli.app import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them of words."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text_of(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    plain = re.sub(r"`[^`\n]*`", "", FENCE.sub("", text_of(page)))
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", plain):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if link.startswith(("https://", "http://")):
            continue
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def commands(page: Path) -> list[str]:
    """The lines of a page's code blocks that begin with `atlantis`, without their comments."""
    lines = [
        line.strip() for _, block in FENCE.findall(text_of(page)) for line in block.replace("\\\n", "").split("\n")
    ]
    return [re.sub(r"\s+# .*|\s+#$", "", line) for line in lines if line.startswith("atlantis ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_are_commands(page: Path) -> None:
    assert [line for line in commands(page) if (mistake := mistake_in(line)) and print(line, mistake) is None] == []


@cache
def all_commands() -> Any:
    return typer.main.get_command(app)


def mistake_in(line: str) -> str:
    """Why the terminal would refuse a command before it does anything: no such command or option, or one missing."""
    command = all_commands()
    context = None
    words = shlex.split(line)[1:]
    while hasattr(command, "commands"):
        context = command.context_class(command, info_name="atlantis", parent=context)
        command = command.get_command(context, words.pop(0)) if words else None
        if command is None:
            return "no such command"
    try:
        command.make_context(command.name, words, parent=context)
    except Exception as error:
        return getattr(error, "message", None) or str(error) or repr(error)
    return ""


def test_a_wrong_command_would_be_noticed() -> None:
    assert mistake_in("atlantis train demo name=x --resume") == ""
    assert mistake_in("atlantis trian demo") == "no such command"
    assert "--resumee" in mistake_in("atlantis train demo --resumee")
    assert "run" in mistake_in("atlantis interpolate")


def test_readme_is_one_page_with_a_map_of_the_code() -> None:
    readme = text_of(ROOT / "README.md")
    assert len(readme.split()) < 1_100
    rows = re.findall(r"^\| ((?:`[\w/.]+`(?:, )?)+) \|", readme, re.MULTILINE)
    paths = [path for row in rows for path in re.findall(r"`([\w/.]+)`", row)]
    assert len(paths) > 12
    assert [path for path in paths if not ((ROOT / path).exists() or (ROOT / "src/atlantis" / path).exists())] == []
    assert len(commands(ROOT / "README.md")) == 10


def test_no_page_is_left_out_of_the_index() -> None:
    index = text_of(ROOT / "docs" / "index.md")
    for page in (ROOT / "docs").rglob("*.md"):
        name = str(page.relative_to(ROOT / "docs"))
        assert name == "index.md" or f"]({name})" in index, name
