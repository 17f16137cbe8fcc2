"""The names that several floors share: slices, groups and protocols; and which names a user's region cannot have.

A table's column `group` holds names of the user's (regions) beside names of ours (all real cities, a slice of the
task). The two must never meet: rows of both would be taken for each other's. `own_region_name` keeps them apart.
"""

from __future__ import annotations

from collections.abc import Container

REAL = "real"
"""The group of all real cities together."""

OLD = "old"
"""The group of the prompts that a model could answer before it met new cities."""

ALL = "all"
"""All items of an evaluation, whatever their slice."""

ANSWERS = "answers"
"""The layer of what reads a model's outputs."""

MAX_CITIES = 1_000_000
"""The most cities a world can have, real and virtual together. Their ids, by which rows name them, have up to six
digits."""

SLICES = ("world-world", "world-atlantis", "atlantis-atlantis")
"""Slices of questions: none, some or all of whose cities are virtual ("atlantis" stands for every virtual region)."""

PROTOCOLS = ("degrees", "sphere")
"""Of the linear probe: longitude and latitude fitted as they are, or the place on the unit sphere."""

OLD_PROTOCOLS = {"seed": "degrees"}
"""What runs, records and scripts before 2026-11-28 call a protocol, and its name."""

USES = ("train", "test", "virtual", "unused", "validation")
"""What a row of the training log, or a city of the probe, was used for."""

TITLES = ("all real cities", "real cities", "world", "new", "change of real")
"""What tables and pages call some of these; "world" is one half of a slice's title, "new" a word for virtual cities."""

RESERVED = frozenset({REAL, OLD, ALL, ANSWERS, *SLICES, *PROTOCOLS, *OLD_PROTOCOLS, *USES, *TITLES})
"""Names of ours, in small letters. None is the name of a region, however that is written."""

TASK_PREFIX = "task "
"""Columns of answers begin with this; a region, which may have a column of its own, must not."""


def protocol_named(name: str) -> str:
    """The protocol that is called so, or was."""
    return OLD_PROTOCOLS.get(name, name)


def is_reserved(name: str) -> bool:
    """Whether a region of this name would be taken for something of ours."""
    return _plain(name) in RESERVED or _plain(name).startswith(TASK_PREFIX)


def own_region_name(name: str, taken: Container[str]) -> str:
    """The name under which a user's region is shown: its own, or `name (region)` where that name is ours.

    `taken` are the names of the other regions, which stay distinct from it.
    """
    if not is_reserved(name):
        return name
    shown = f"region {name}" if _plain(name).startswith(TASK_PREFIX) else f"{name} (region)"
    while shown in taken:
        shown += " (region)"
    return shown


def _plain(name: str) -> str:
    return " ".join(name.split()).casefold()
