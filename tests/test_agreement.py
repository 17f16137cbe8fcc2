"""Our strategies are the papers', up to rounding; what the record says of them still holds; the page is the record."""

from __future__ import annotations

import importlib.metadata
import re
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch
from tracked import copied

from checks import pages
from checks.agreement import __main__ as program
from checks.agreement import cases, page, papers, planted, runs
from checks.agreement.ours import OurSide, logits, plain
from checks.records import ROOT

ROUNDING = 1e-4
"""The largest difference that single precision explains, as a share of the largest value."""


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> pages.Records:
    return page.read_records(
        copied("checks/agreement/records/*.json", tmp_path_factory.mktemp("agreement") / "records")
    )


def results(records: pages.Records, suite: str) -> dict[str, Any]:
    return records[suite]["results"]


# planted cases


@pytest.mark.parametrize("name", planted.CASES)
def test_ours_is_the_papers_and_what_was_recorded(name: str, records: pages.Records) -> None:
    case, recorded = planted.CASES[name](None), results(records, "planted")["cases"][name]
    assert cases.difference(case.ours, case.paper) < ROUNDING
    found = planted.measured(case)
    assert found["ours"] > 0 and found["numbers"] == recorded["numbers"]
    # PyTorch's exponential random numbers, by which answers are drawn, are not the same in each of its builds.
    if records["planted"]["versions"]["torch"] == torch.__version__:
        assert found["ours"] == pytest.approx(recorded["ours"], rel=ROUNDING)


@pytest.mark.skipif(find_spec("avalanche") is None, reason="needs checks/agreement/requirements.txt")
@pytest.mark.parametrize("name", planted.CASES)
def test_ours_is_avalanches(name: str) -> None:
    case = planted.CASES[name](program.the_peer())
    assert (case.avalanche is None) == name.startswith("gpm")
    assert case.avalanche is None or cases.difference(case.ours, case.avalanche) < ROUNDING


def test_the_record_says_that_all_agree(records: pages.Records) -> None:
    recorded = results(records, "planted")["cases"]
    assert recorded.keys() == planted.CASES.keys() == page.CASES.keys()
    assert all(case["paper"] < ROUNDING for case in recorded.values())
    with_peer = {name: case["avalanche"] for name, case in recorded.items() if "avalanche" in case}
    assert set(with_peer) == {name for name in recorded if not name.startswith("gpm")}
    assert max(with_peer.values()) < ROUNDING


def test_a_wrong_definition_is_noticed() -> None:
    """The factors of the page's second table, left out, are differences that no rounding explains."""
    ours = OurSide("lwf", weight=cases.LWF["weight"] / 4, temperature=2.0)
    assert cases.difference(ours.gradient(), cases.lwf(None).paper) > 0.05
    ours = OurSide("ewc", weight=2 * cases.EWC["weight"], samples=cases.EWC["samples"])
    assert cases.difference(ours.gradient(), cases.ewc_step(None).paper) > 0.05
    ours = OurSide("der", share=0.25, buffer=4, alpha=44 * cases.DER["alpha"], beta=cases.DER["beta"])
    assert cases.difference(ours.gradient(), cases.der(None).paper) > 0.05
    ours = OurSide("gpm", rows=cases.GPM["rows"], energy=0.9)
    case = cases.gpm_step(None)
    assert cases.difference({k: ours.gradient()[k] for k in case.paper}, case.paper) > 0.05


def test_a_batchs_squared_gradient_is_another_fisher_information() -> None:
    """What avalanche has as it is shipped: the gradients of a batch's rows cancel before they are squared."""
    ours = OurSide("ewc", **cases.EWC)
    rows = plain(*ours.strategy.sampled_rows())
    whole = papers.gradient(lambda w: papers.mean_cross_entropy(logits(w, rows), rows.targets), ours.base)
    by_batch = sum(g.square().sum() for g in whole.values())
    by_row = sum(f.sum() for f in papers.fisher_diagonal(logits, ours.base, rows).values())
    assert 0 < by_batch < 0.05 * by_row


def test_the_factors_are_those_of_the_definitions(records: pages.Records) -> None:
    found = results(records, "planted")["factors"]
    assert found["ewc_half"] == pytest.approx(2, rel=ROUNDING)
    assert found["lwf_no_t2"] == pytest.approx(1 / 4, rel=ROUNDING)
    assert found["der_sum"] == pytest.approx(44, rel=ROUNDING)
    assert found["replay_default_share"] == pytest.approx(0.5)
    assert found["replay_short_share"] < found["replay_asked_share"] - 0.01


# the papers' side by itself


def test_gpms_basis_takes_no_direction_more_than_it_must() -> None:
    r = torch.diag(torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64))  # squares 9, 4, 1 of 14
    assert [papers.gpm_basis(r, energy).shape[1] for energy in (0.6, 0.9, 0.95)] == [1, 2, 3]


def test_agem_leaves_no_conflict() -> None:
    g, g_ref = torch.tensor([1.0, 0.0, -2.0]), torch.tensor([0.0, 1.0, 1.0])
    assert papers.agem(g, g_ref).tolist() == [1.0, 1.0, -1.0]
    assert papers.agem(-g, g_ref) @ g_ref == 2


# whole runs


def test_the_table_of_runs_follows_from_the_seeds(records: pages.Records) -> None:
    found = results(records, "runs")
    assert len(found["seeds"]) == found["sizes"]["seeds"] >= 3
    again = runs.summary(found["seeds"])
    assert again["base"] == pytest.approx(found["base"], rel=1e-3)
    assert again["ewc_shipped"] == pytest.approx(found["ewc_shipped"], rel=1e-3)
    for method in runs.METHODS:
        for pairs in runs.SLICES:
            row, recorded = again["table"][method][pairs], found["table"][method][pairs]
            for key in ("ours", "spread", "avalanche"):
                assert row[key] == pytest.approx(recorded[key], rel=1e-3)
            assert row["avalanche_differs"] == pytest.approx(recorded["avalanche_differs"], rel=1e-3, abs=1)
            assert row["avalanche_differs"]["mean"] == pytest.approx(row["avalanche"] - row["ours"], abs=1)


def test_the_runs_would_show_a_method_that_does_nothing(records: pages.Records) -> None:
    """On old pairs each method is far from plain fine-tuning, on both sides; else agreement would say little."""
    table = results(records, "runs")["table"]
    for method in ("replay", "ewc"):
        for who in ("ours", "avalanche"):
            gain = table["naive"]["old"][who] - table[method]["old"][who]
            assert gain > table["naive"]["old"]["spread"]


def test_avalanches_ewc_with_its_own_fisher_information_holds_little(records: pages.Records) -> None:
    found = results(records, "runs")
    plain_run = found["table"]["naive"]["old"]
    assert found["ewc_shipped"]["fisher"] < 0.01
    assert abs(found["ewc_shipped"]["old"] - plain_run["avalanche"]) < plain_run["spread"] / 2


def test_a_difference_beyond_the_spread_is_named() -> None:
    values = {"naive": (100.0, 101.0), "replay": (100.0, 101.0), "ewc": (100.0, 160.0)}
    seeds = [
        {
            method: {
                "ours": {"old": mine + i, "new": mine + i},
                "again": {"old": mine - i, "new": mine - i},
                "avalanche": {"old": theirs + i**2 / 9, "new": mine + i**2 / 9},
            }
            for method, (mine, theirs) in values.items()
        }
        for i in range(5)
    ]
    table = {method: {name: runs.compared(seeds, method, name) for name in runs.SLICES} for method in runs.METHODS}
    text = page.verdict({"runs": {"results": {"table": table}}})
    first, second = text.split(". ")[:2]
    assert first.endswith("smaller than the spread over seeds in 5 of 6 rows, but not for `ewc` on old pairs")
    assert second.startswith("Its interval holds zero in ") and "`ewc` on old pairs" in second
    assert np.isclose(table["ewc"]["old"]["avalanche_differs"]["mean"], 60 - 2 + 6 / 9, rtol=1e-3)


# the program and the page


def test_without_avalanche_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(program, "version", missing)
    with pytest.raises(SystemExit, match=r"not installed.*\n.*pip install -c constraints.txt -r checks/agreement/req"):
        program.the_peer()


def test_the_record_is_of_what_is_to_be_installed(records: pages.Records) -> None:
    lines = (ROOT / "checks" / "agreement" / "requirements.txt").read_text(encoding="utf-8").split()
    pins = dict(line.split("==") for line in lines)
    for record in records.values():
        assert {name: number.split("+")[0] for name, number in record["peers"].items()} == pins


def test_no_figure_stands_in_the_prose() -> None:
    prose = page.TEMPLATE.read_text(encoding="utf-8")
    prose = re.sub(r"(?s)```.*?```|\{\{.*?\}\}|\]\(.*?\)", "", prose)
    assert not re.findall(r".*\b\d.*", prose)


def test_the_committed_page_is_that_of_the_committed_records(records: pages.Records) -> None:
    prose = page.TEMPLATE.read_text(encoding="utf-8")
    assert page.PAGE.read_text(encoding="utf-8") == pages.render(prose, records, page.TABLES)


def test_without_records_the_page_says_so() -> None:
    text = pages.render(page.TEMPLATE.read_text(encoding="utf-8"), {}, page.TABLES)
    assert "no record of `planted`" in text and "no record of `runs`" in text and "(not measured)" in text
