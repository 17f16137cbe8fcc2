"""Every metric, once: its name in files, what people call it, its unit, which way is better, and how to read it.

`when.csv`, the curves and tables of a report, `atlantis show` and docs/metrics.md read this. To add a metric, write the
function that computes it (`@measure` in measures.py, or `@score` in placed.py) and its entry here: it then has a row in
the files, a curve on the page and a line in the documentation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from atlantis.scales import BELOW_ONE, IDENTITY, LOG, SHARE, Scale

KM, DEGREES, NATS, RADII, NUMBER = "km", "degrees", "nats", "radii of the Earth", ""
TASKS = "the task's unit"
"""Of a score of answers: each task has its own unit."""


@dataclass(frozen=True)
class Metric:
    """One metric.

    section: of docs/metrics.md and of the report page. title: in tables. better: None where neither way is. scale: on
    which its interval is made; None where it has none. what: its definition. reading: how to read a value of it.
    digits: decimals that are shown, by default those of its unit.

    panel: the curves it is drawn among: "" for a panel of its own, None for no curve. curve: what it is called there.
    hue, dash: a place in the page's lists of both, by default the next one; background: drawn in grey, as chance.
    course: whether `when.csv` tells its course, if one way is better.
    """

    name: str
    section: str
    title: str
    unit: str = NUMBER
    better: Literal["high", "low"] | None = None
    scale: Scale | None = None
    what: str = ""
    reading: str = ""
    digits: int = -1
    panel: str | None = ""
    curve: str = ""
    hue: int | None = None
    dash: int = 0
    background: bool = False
    course: bool = True

    def __post_init__(self) -> None:
        if self.digits < 0:
            object.__setattr__(self, "digits", 0 if self.unit in (KM, TASKS) else 3)


def suffix(unit: str) -> str:
    """What stands behind a number of this unit: " km", "°"; nothing for a plain number."""
    return "°" if unit == DEGREES else f" {unit}" if unit else ""


def title_of(name: str) -> str:
    """What people call a metric; the name itself for one that is not in the catalogue, as in another version's file."""
    return METRICS[name].title if name in METRICS else name


def scale_of(name: str) -> Scale:
    """On which a metric's interval is made. KeyError for one that is not in the catalogue."""
    scale = METRICS[name].scale
    assert scale is not None, f"{name} has no scale in the catalogue, so it has no interval"
    return scale


def is_better_high(name: str) -> bool:
    return name in METRICS and METRICS[name].better == "high"


def _skill(probe: str, title: str, what: str, reading: str, **look: Any) -> list[Metric]:
    """A reading of the map, as skill and in km."""
    also = "" if probe in ("turned", "mlp") else "; also for each region"
    km = f"the mean error of the same probe as `skill_{probe}`{also}"
    return [
        Metric(
            f"skill_{probe}", "kind", f"skill {title}", NUMBER, "high", BELOW_ONE, what, reading, panel="skill", **look
        ),
        Metric(f"km_{probe}", "kind", f"km {title}", KM, "low", LOG, km, panel="km_readings", **look),
    ]


def _share(name: str, what: str, reading: str) -> Metric:
    """A part of the fall of the first step's probe: a band of the panel of skills, and no curve."""
    return Metric(name, "kind", name, NUMBER, "low", IDENTITY, what, reading, panel=None)


def _chance(null: str, what: str) -> list[Metric]:
    """What a probe reaches where there is no map, at the first step alone: lines of the panels, and no curves."""
    km = Metric(f"km_{null}", "chance", f"km {null}", KM, None, LOG, f"mean error, {what}", panel=None, curve=what)
    axes = (("lon", "longitude"), ("lat", "latitude"))
    return [
        km,
        *(
            Metric(
                f"{axis}_r2_{null}", "chance", f"{axis} R2 {null}", what=f"R² of {name}, {what}", panel=None, curve=what
            )
            for axis, name in axes
        ),
    ]


# fmt: off

PROBES = [
    Metric("lon_r2", "map", "lon R2", NUMBER, "high", BELOW_ONE, panel="r2", curve="longitude",
           what="R² of longitude",
           reading="1: exact; 0: no better than the mean. Means little inside a small region: read its km"),
    Metric("lat_r2", "map", "lat R2", NUMBER, "high", BELOW_ONE, panel="r2", curve="latitude",
           what="R² of latitude",
           reading="the same"),
    Metric("lon_mae", "map", "lon error", DEGREES, "low", panel=None, course=False,
           what="mean absolute error of longitude",
           reading="0: exact. A degree is 111 km at the equator. Near 180° it counts the long way round"),
    Metric("lat_mae", "map", "lat error", DEGREES, "low", panel=None, course=False,
           what="mean absolute error of latitude",
           reading="0: exact. A degree is 111 km"),
    Metric("mean_km", "map", "mean km", KM, "low", LOG, panel="km", course=False,
           what="mean great-circle distance from the true place",
           reading="0: every city where it belongs"),
    Metric("median_km", "map", "median km", KM, "low", LOG, panel=None, course=False,
           what="the median of the same",
           reading="half of the cities are nearer than this"),
]

ANSWER_SCORES = [
    Metric("loss", "map", "loss", NATS, "low", LOG,
           what="mean cross-entropy of the tokens of answers, or of whole rows (`training.loss`)",
           reading="0: sure and right"),
    Metric("task_km", "map", "task km", KM, "low", LOG, panel="task",
           what="mean |answer - true| of a slice of the task, as it was evaluated while training",
           reading="0: every answer exact"),
    Metric("mean", "map", "mean", TASKS, "low", LOG, panel=None,
           what="mean error of the answers to a task, an unreadable one counted with the task's penalty",
           reading="0: every answer exact"),
    Metric("median", "map", "median", TASKS, "low", LOG, panel=None,
           what="the median of the same errors",
           reading="half of the answers are nearer than this"),
    Metric("std", "map", "std", TASKS, panel=None, what="their standard deviation"),
    Metric("min", "map", "min", TASKS, panel=None, what="the least of them"),
    Metric("max", "map", "max", TASKS, panel=None, what="the greatest of them"),
    Metric("parsed", "map", "parsed", NUMBER, "high", SHARE, panel=None,
           what="share of answers that can be read",
           reading="1: all"),
    Metric("skill", "map", "skill", NUMBER, "high", BELOW_ONE, panel="answer_skill", digits=2,
           what="1 - mean error / mean error of the best constant answer; it has no unit, so tasks share an axis by it",
           reading="1: exact; 0: no better than always giving one and the same answer"),
]

READINGS = [
    *_skill("frozen", "first probe", curve="the first step's probe", hue=1,
            what="the first step's probe, as it is",
            reading="What still stands where it stood. Falls by any change of the states, even one vector added to "
                    "all of them"),
    *_skill("shifted", "shifted", curve="… with the mean moved back", hue=5,
            what="the same, after the mean of the hidden states was moved back to the first step's mean; nothing "
                 "else",
            reading="What still stands, but for one common vector"),
    *_skill("turned", "turned", curve="… and turned back", hue=2,
            what="the same, after the hidden states were also turned about that mean by one orthogonal matrix "
                 "(Schönemann 1966): a rotation, perhaps with a reflection, without a scale",
            reading="What still has its shape"),
    *_skill("refit", "new probe", curve="a new linear probe (unit sphere)", hue=0,
            what="a linear probe fitted anew (ridge, leave-one-out penalty)",
            reading="What is still linearly there, wherever it is"),
    *_skill("mlp", "small network", curve="a new small network (unit sphere)", hue=0, dash=1,
            what="a small non-linear probe: ridge plus 64 hidden units",
            reading="Above `skill_refit`: there, but not linearly. A little below it means nothing: the network "
                    "gives up a fifth of its training cities to know when to stop"),
    _share("lost", "S0 - S_refit", "gone for any linear probe"),
    _share("bent", "S_refit - S_turned", "a new linear probe finds it, neither a shift nor a rotation does"),
    _share("turned", "S_turned - S_shifted", "a rotation about the mean finds it, a shift does not"),
    _share("shifted", "S_shifted - S_frozen",
           "it is where it was, but for one vector that all hidden states have in common"),
]

NEW_CITIES = [
    Metric("integration_km", "new", "integration km", KM, "low", LOG, panel="integration",
           what="error on the virtual cities of a probe fitted on real cities only; interval over cells of them",
           reading="0: each virtual city where it belongs"),
    Metric("integration_reference_km", "new", "integration reference km", KM, None, LOG, panel="integration",
           curve="real regions left out", hue=0,
           what="error on *islands*: sets of real cities left out of the fit in the same way; `n` islands, interval "
                "over them on a log scale (Zhou and Gao 1997)",
           reading="What such a place costs even when it is on the map"),
    Metric("integration_ratio", "new", "integration ratio", NUMBER, "low", LOG, digits=2, panel="ratio",
           what="the one divided by the other; the interval is on a log scale and has the errors of both (Zou and "
                "Donner 2008)",
           reading="About 1: as much on the map as real places are. 3: not yet. Read it beside the reference: where "
                   "that is near chance (`km_untrained`) there is no map to be on, and the ratio is about 1 too"),
    Metric("off_manifold", "new", "off manifold", NUMBER, None, SHARE, panel="off",
           what="share of a city's energy outside the principal subspace that holds 99 % of the real cities' "
                "variance; for `real`, on cities of a fold that did not make it",
           reading="Near the real cities' own: built from the same directions. Near 1: somewhere else altogether"),
    Metric("constellation_disparity", "new", "constellation disparity", NUMBER, "low", panel="shape",
           what="what is left between the shape of the predicted constellation and the true one, after moving, "
                "turning, mirroring and scaling (Gower 1975)",
           reading="0: the same shape, wherever it lies. Near 1: no shape in common"),
]

DRIFT = [
    Metric("cka", "drift", "CKA", NUMBER, "high", panel="cka",
           what="linear CKA (Kornblith et al. 2019), debiased (Song et al. 2012; Nguyen et al. 2021)",
           reading="1: the same up to rotation, shift and scale; 0: independent. The biased form reads 0.7 on "
                   "independent noise at 100 cities and 256 features, this one 0. It is ruled by the few directions "
                   "of largest variance: 0.97 does not mean that 97 % of the map is there"),
    Metric("procrustes", "drift", "procrustes", NUMBER, "low", panel="procrustes",
           what="Procrustes disparity: what is left after the best move, turn, mirroring and scaling (Schönemann "
                "1966; Gower 1975), as a share",
           reading="0: the same shape. Stricter than CKA on small directions"),
    Metric("angle_mean", "drift", "angle mean", DEGREES, "low", digits=1, panel="angles", curve="mean",
           what="principal angles (Björck and Golub 1973) between the principal subspaces, their mean: as many "
                "components as hold 99 % of the variance at the first step",
           reading="0: the cloud lies in the same directions of the network's space; 90: orthogonal. Unlike CKA, "
                   "angles see a rotation"),
    Metric("angle_max", "drift", "angle max", DEGREES, "low", digits=1, panel="angles", curve="largest",
           what="the largest of them",
           reading="Near 90: at least one, often the weakest, component was exchanged"),
    Metric("kl_old", "drift", "KL old", NATS, "low", LOG, digits=4, panel="kl", curve="prompts of real cities",
           what="KL(first ‖ now) of the next-token distribution, per token of the true answer, over 512 random "
                "pairs of real cities; interval over the pairs",
           reading="0: the same answers. 0.7: on average the old model's token has half the probability it had"),
]

DAMAGE = [
    Metric("shift_length", "damage", "shift length", RADII, "low", LOG, digits=2, panel="shift",
           curve="length, in radii of the Earth",
           what="the length of the common vector, in the space of the unit vectors that the probe predicts",
           reading="0: no shift. The probe sees all cities drawn towards one place"),
    Metric("shift_share", "damage", "shift share", NUMBER, None, SHARE, digits=2, panel="shift",
           curve="share of the mean squared change",
           what="how much of the predictions' mean squared change the common vector is",
           reading="Near 1: hardly anything but the shift happened"),
    Metric("shift_lon", "damage", "shift lon", DEGREES, panel=None, digits=0,
           what="the longitude that the vector points towards"),
    Metric("shift_lat", "damage", "shift lat", DEGREES, panel=None, digits=0,
           what="the latitude that the vector points towards"),
    Metric("moved_km", "damage", "moved km", KM, "low", LOG, panel="moved", curve="whole way",
           what="mean displacement beyond the shift; per region too",
           reading="0: nothing moved beyond the shift"),
    Metric("radial_km", "damage", "radial km", KM, None, LOG, panel="moved", curve="radial",
           what="mean absolute part along the circle to the centre. In `cities.parquet` signed: away from the "
                "centre is positive"),
    Metric("tangential_km", "damage", "tangential km", KM, None, LOG, panel="moved", curve="tangential",
           what="mean absolute part across that circle. In `cities.parquet` signed: clockwise as seen from the "
                "centre is positive"),
    Metric("tangential_share", "damage", "tangential share", NUMBER, None, SHARE, digits=2, panel="share",
           curve="tangential share", hue=2,
           what="share of the squared displacement that is tangential; for `real` about the nearest centre, for a "
                "virtual region's name all real cities about its centre",
           reading="1: cities slide around Atlantis at a constant distance. 0: they move towards it or away"),
    Metric("tangential_share_isotropic", "damage", "tangential share isotropic", digits=2, panel="share",
           curve="no direction preferred", background=True,
           what="the null: 1/2. `low` and `high` hold the middle 95 % of the shares about 500 centres drawn from "
                "the whole sphere",
           reading="A share inside says nothing about Atlantis in particular: neighbours move together, so that "
                   "shares far from 1/2 are common about any point"),
    Metric("damage_by_distance", "damage", "damage by distance", digits=2, panel="causes",
           curve="with distance to the virtual region",
           what="Spearman's correlation of a city's displacement with its distance to the nearest virtual centre; "
                "interval by a bootstrap over cells of 10 degrees",
           reading="Below 0: the nearer, the more it moved"),
    Metric("damage_by_population", "damage", "damage by population", digits=2, panel="causes", curve="with population",
           what="the same correlation with a city's population",
           reading="0: no relation"),
    Metric("damage_by_digits", "damage", "damage by digits", digits=2, panel="causes", curve="with digits of the id",
           what="the same correlation with the digits of a city's id",
           reading="0: no relation"),
    Metric("damage_by_distance_anywhere", "damage", "damage by distance anywhere", digits=2, panel="causes",
           curve="with distance to any place", background=True,
           what="the null of `damage_by_distance`: the same about centres drawn from the whole sphere. `value` is "
                "the mean over 500 draws, `low` and `high` hold the middle 95 %",
           reading="A correlation inside says nothing about Atlantis in particular, however narrow its own interval"),
]

# fmt: on

CHANCE = [*_chance("untrained", "untrained model"), *_chance("permuted", "permuted places")]

_READINGS = sorted(READINGS, key=lambda metric: metric.unit)  # every skill, then every error in km
METRICS: dict[str, Metric] = {
    metric.name: metric for metric in [*PROBES, *ANSWER_SCORES, *_READINGS, *CHANCE, *NEW_CITIES, *DRIFT, *DAMAGE]
}
"""By name, in the order in which they are shown."""
