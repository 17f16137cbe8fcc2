"""The numbers that the reference study (2025) reported: data, to stand beside ours.

All are of one seed. Its step counts follow from its settings: 1,000,000 pairs, batch 512, 20 epochs for the base run;
100,000 pairs, batch 512, 10 epochs for cross; 120,000 pairs, batch 512, 20 epochs for mixed.
"""

from __future__ import annotations

from dataclasses import dataclass

SOURCE = "the reference study of 2025"


@dataclass(frozen=True)
class StudyMap:
    """The study's probe of real cities at a step: R2 of longitude and latitude, mean error in km.

    `run` is our run that does the same, None if there is none. `total` is the length of the study's run in steps;
    `total` and `step` are None where the study did not say or counted otherwise.
    """

    run: str | None
    label: str
    total: int | None
    step: int | None
    lon_r2: float
    lat_r2: float
    mean_km: float | None
    median_km: float | None = None


def _base(step: int, lon_r2: float, lat_r2: float, mean_km: float, median_km: float | None = None) -> StudyMap:
    return StudyMap("base", "base", 39_080, step, lon_r2, lat_r2, mean_km, median_km)


BASE_END = _base(39_080, 0.956, 0.923, 993, 679)

BASE_MAPS = [
    _base(3_908, -0.134, -0.155, 6_875),
    _base(7_816, 0.569, 0.231, 4_060),
    _base(11_724, 0.890, 0.747, 1_841),
    _base(19_540, 0.945, 0.899, 1_185),
    _base(27_356, 0.957, 0.914, 1_052),
    BASE_END,
    StudyMap(None, "base, 1.56 M steps at batch 128", 1_560_000, 1_560_000, 0.977, 0.979, 598),
]

TUNED_MAPS = [
    StudyMap("cross", "cross", 1_960, 196, 0.831, 0.844, None),
    StudyMap("cross", "cross", 1_960, 1_960, 0.824, 0.831, 2_230),
    StudyMap("cross", "cross, 20 epochs", 3_920, 3_920, 0.809, 0.811, 2_328),
    StudyMap(None, "inter, 500 epochs", None, None, 0.521, 0.540, 4_003),
    StudyMap("mixed", "mixed", 4_700, 4_700, 0.938, 0.912, 1_165),
    StudyMap(None, "random-walk task, lr 3e-4", None, 3_908, -0.186, -0.153, 6_772),
]

BASE_TASK_MEAN_KM = 98.0
BASE_TASK_MEDIAN_KM = 59.5
BASE_TRAIN_LOSS = 1.087
BASE_VALIDATION_LOSS = 1.119

BASE_REGION_KM = {
    "Western Europe": 635,
    "Korea": 704,
    "Middle East": 705,
    "China": 736,
    "Eastern Europe": 747,
    "Central Asia": 822,
    "India": 869,
    "Japan": 1_107,
    "Southeast Asia": 1_111,
    "North America": 1_182,
    "South America": 1_200,
    "Africa": 1_210,
    "Oceania": 5_870,  # the seam at 180 degrees
}
