"""Prose with named places that are filled from records, and pages of which a part is replaced."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from inspect import signature

from atlantis.errors import UserError

PLACE = re.compile(r"\{\{([^{}]+)\}\}")


def fill(place: re.Match[str], kinds: Mapping[str, Callable[..., str]]) -> str:
    """What stands in a place `{{kind|argument|...}}`. Raises UserError for one that means nothing."""
    kind, *arguments = place[1].split("|")
    if kind not in kinds or len(signature(kinds[kind]).parameters) != len(arguments):
        raise UserError(f"{place[0]}: no such place; there are {', '.join(kinds)}, each with its arguments after |")
    return kinds[kind](*arguments)


def with_part(page: str, begin: str, end: str, text: str) -> str:
    """A page with what stands between `begin` and `end` replaced. Raises UserError where one of them is missing."""
    before, begun, rest = page.partition(begin)
    _, ended, after = rest.partition(end)
    if not (begun and ended):
        raise UserError(f"the page has no {begin.strip()!r} that is followed by {end!r}")
    return before + begun + text + ended + after
