"""Colours that must be told apart are, by eyes with deuteranopia and protanopia too: measured by simulation."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from atlantis.readout.catalogue import METRICS
from atlantis.report import page
from atlantis.report.map_panels import parts_of_fall
from atlantis.report.run_data import load
from atlantis.report.style import LINES
from atlantis.world.regions import REGION_COLOURS, VIRTUAL_COLOURS
from tests.planted_run import make_run

DEUTERANOPIA = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
PROTANOPIA = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
EYES = {"usual": np.eye(3), "deuteranopia": np.array(DEUTERANOPIA), "protanopia": np.array(PROTANOPIA)}
NEIGHBOURS = """Africa: Western Europe, Middle East, Atlantis, South America, India
North America: South America, Western Europe, Eastern Europe, Japan, Atlantis
South America: Atlantis, Antarctica
Western Europe: Eastern Europe, Middle East, Atlantis
Eastern Europe: Middle East, Central Asia, China, Korea, Japan
Middle East: Central Asia, India
Central Asia: India, China
India: China, Southeast Asia
China: Korea, Japan, Southeast Asia
Korea: Japan
Japan: Southeast Asia, Oceania
Southeast Asia: Oceania
Oceania: Antarctica"""


COLOURS = REGION_COLOURS | {"Atlantis": VIRTUAL_COLOURS[0]}


def lab(colour: str, eye: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (D65) of a colour as an eye sees it: Machado, Oliveira and Fernandes (2009), severity 1."""
    srgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    xyz = np.array(to_xyz) @ (eye @ linear).clip(0, 1) / [0.95047, 1.0, 1.08883]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def nearest_neighbours(colours: dict[str, str], eye: str) -> float:
    """The smallest distance in L*a*b* of two regions that lie beside each other on the map."""
    far = []
    for line in NEIGHBOURS.splitlines():
        first, _, others = line.partition(": ")
        far += [np.linalg.norm(lab(colours[first], EYES[eye]) - lab(colours[n], EYES[eye])) for n in others.split(", ")]
    return float(min(far))


@pytest.mark.parametrize("eye", EYES)
def test_neighbouring_regions_are_told_apart_by_colour_blind_eyes(eye):
    assert nearest_neighbours(COLOURS, eye) > 25


@pytest.mark.parametrize("eye", EYES)
def test_lines_of_one_chart_and_parts_of_the_fall_are_told_apart_by_colour_blind_eyes(eye, tmp_path):
    seen = [lab(colour, EYES[eye]) for colour in LINES]
    data = load(make_run(tmp_path / "run", with_map=True)).map
    readings = [metric for metric in METRICS.values() if metric.panel == "skill"]
    assert data is not None and len({(metric.hue, metric.dash) for metric in readings}) == len(readings) == 5
    for used in ([0, 1, 2], [part[3] for part in parts_of_fall(data)], [m.hue for m in readings if not m.dash]):
        for a, b in combinations(used, 2):
            assert np.linalg.norm(seen[a] - seen[b]) > 20, (a, b)


def test_the_page_draws_with_the_same_line_colours_as_the_figures():
    script = (Path(page.__file__).parent / "web" / "base.js").read_text()
    assert all(colour.lower() in script for colour in LINES)
