"""The page about what breaks: as its tables have it, and its claims as they stand in the prose."""

from __future__ import annotations

import numpy as np
import pytest

from scripts import mechanism_page
from scripts.mechanism_page import PROBED, SEEDS, Numbers, mean_of, only
from scripts.method_numbers import REPAIR, Methods


@pytest.fixture(scope="module")
def numbers() -> Numbers:
    return Numbers()


def test_the_page_is_what_its_tables_say() -> None:
    page = mechanism_page.PAGE.read_text(encoding="utf-8")
    assert page == mechanism_page.page(mechanism_page.PROSE.read_text(encoding="utf-8")), "run scripts.mechanism_page"


def test_the_model_answers_from_a_map(numbers: Numbers) -> None:
    """In every base some block's encoding moves the answer, and a random change of the same length hardly does."""
    for base, table in numbers.bases.groupby("base"):
        encoding = numbers.way(table, "cut", tokens="all", change="encoding")
        random = numbers.way(table, "cut", tokens="all", change="random")
        assert encoding.max() > 0.25 > 3 * abs(random[encoding.idxmax()]), base


def test_the_studys_place_hardly_matters(numbers: Numbers) -> None:
    for cut in PROBED:
        ways = numbers.way(numbers.bases, "base", cut=cut, tokens="behind", change="interchange")
        assert len(ways) == numbers.n_bases >= 5 and ways.abs().max() < 0.15


def test_in_four_of_five_bases_the_map_is_at_the_names_last_token(numbers: Numbers) -> None:
    at_last = 0
    for _, table in numbers.bases.groupby("base"):
        best = numbers.way(table, "cut", tokens="all", change="encoding").idxmax()
        assert best in (1, 2), "one or two blocks before the first that is probed"
        at_last += numbers.way(table, "cut", tokens="last", change="interchange")[best] > 0.8
    assert (at_last, numbers.n_bases) == (4, 5)


def test_the_answers_are_disconnected(numbers: Numbers) -> None:
    """With every seed: below the cut and through an affine map they are there, and a permuted map has nothing."""
    by_kind = {
        kind: mean_of(only(numbers.stitched, lower="tuned", cut=2, between=kind), "mean", "seed").to_numpy()
        for kind in ("affine", "permuted")
    }
    tuned = mean_of(only(numbers.parts, part="all", mode="alone"), "mean", "seed").to_numpy()
    assert len(tuned) == len(by_kind["affine"]) == len(SEEDS)
    assert (5 * by_kind["affine"] < tuned).all() and (by_kind["permuted"] > tuned).all()
    upper = only(numbers.stitched, lower="base")
    assert upper["mean"][upper["cut"] < 4].min() > 0.2 * tuned.min()


def test_new_cities_are_on_the_map(numbers: Numbers) -> None:
    chosen = {"group": "outwards", "cut": 2, "tokens": "all"}
    encoding, random = (
        numbers.way(numbers.tuned, "seed", change=change, **chosen) for change in ("encoding", "random")
    )
    assert (encoding > 5 * random.abs()).all()


def by_seed(method: str, quantity: str) -> np.ndarray:
    standing = Methods(REPAIR).board.of(method)
    assert standing is not None
    values = standing.array(quantity)
    assert len(values) == len(SEEDS) or method == "fixed_mean"
    return values


def test_a_repair_keeps_old_answers_and_distillation_more_of_everything() -> None:
    """In every seed."""
    naive, repair, distill = (by_seed(method, "answers") for method in ("naive", "repair", "distill"))
    assert (repair > naive + 0.4).all() and (distill > repair).all()
    assert (by_seed("repair", "learned") < by_seed("naive", "learned")).all()
    assert (by_seed("repair", "integration") < 0.5).all() and (by_seed("distill", "integration") > 0.5).all()
    assert (by_seed("distill", "volume") > by_seed("repair", "volume")).all()
    assert (by_seed("distill", "volume") > by_seed("replay", "volume")).all()


def test_neither_the_upper_blocks_nor_the_mean_are_what_to_keep() -> None:
    for method in ("lower_alone", "fixed_mean"):
        assert by_seed(method, "answers").max() < 0.3


def test_the_experiments_page_has_its_table_and_its_verdicts() -> None:
    page = (mechanism_page.ROOT / "experiments" / "2026-11-28_repair" / "README.md").read_text(encoding="utf-8")
    assert Methods(REPAIR).table in page
    naive, alone, repair, replay = (by_seed(name, "answers") for name in ("naive", "lower_alone", "repair", "replay"))
    assert (alone < repair).all() and repair.mean() < replay.mean()
    assert alone.mean() - naive.mean() < 0.1 and not (alone > naive).all(), "not shown to keep more"
    assert by_seed("naive", "learned").mean() - by_seed("lower_alone", "learned").mean() > 0.1
    assert (by_seed("distill", "integration") > 0.5).all()
