"""docs/settings.md and the settings in docs/strategies.md are those of the code, each with an explanation."""

from __future__ import annotations

import re

import pytest
from pydantic import BaseModel

from atlantis import settings
from atlantis.strategies.registry import find, known
from scripts.settings_page import PAGE, PROSE, STRATEGIES, page, rows, strategies_page

AGAIN = "run `python -m scripts.settings_page`; edit scripts/settings.md and the fields' descriptions, not the tables"
SECTIONS = re.findall(r"\{\{settings:(\w+)\}\}", PROSE.read_text(encoding="utf-8"))


def test_the_pages_are_those_of_the_code() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), AGAIN
    assert STRATEGIES.read_text(encoding="utf-8") == strategies_page(), AGAIN


def test_no_settings_are_left_out() -> None:
    models = {
        name
        for name, value in vars(settings).items()
        if isinstance(value, type) and issubclass(value, BaseModel) and value.__module__ == settings.__name__
    }
    assert set(SECTIONS) == models - {"Region"}, "a Region is described in the page's words"


@pytest.mark.parametrize(
    "model", [*(getattr(settings, name) for name in SECTIONS), *(find(k).Settings for k in known())]
)
def test_every_setting_is_explained(model: type[BaseModel]) -> None:
    assert [row[0] for row in rows(model) if not row[3] and row[0] != "`name`"] == []
