"""docs/study.md and README's findings: every figure from a record, and none of them stale."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from atlantis.errors import UserError
from atlantis.report.study_record import read_records
from atlantis.statistics import Interval, seed_interval
from scripts import study_text
from scripts.bases import added, bases_of, less, present
from scripts.groups import MAP_KM
from scripts.places import with_part
from scripts.study_places import filled

README = study_text.README.read_text(encoding="utf-8")
AGAIN = "run `python -m scripts.study_text`; edit scripts/study.md and scripts/findings_in_brief.md, not the pages"


def test_readme_and_page_have_the_text_of_the_committed_records() -> None:
    brief = study_text.text(study_text.BRIEF)
    assert with_part(README, study_text.BEGIN, study_text.END, brief) == README, AGAIN
    assert study_text.PAGE.read_text(encoding="utf-8") == study_text.text(study_text.PROSE), AGAIN


def test_each_finding_has_a_number_an_interval_and_a_link() -> None:
    findings = re.split(r"\n\n(?=\*\*)", study_text.text(study_text.BRIEF).strip())
    assert len(findings) == 5
    for finding in findings:
        assert finding.startswith("**") and "](docs/" in finding
        interval = r"-?[\d,.]+\s\(-?[\d,.]+\sto\s[\d,.]+\)"
        assert re.search(rf"{interval}\skm", finding) or (
            re.search("errors in km|R²", finding) and re.search(interval, finding)
        )


def test_no_figure_is_typed_by_hand() -> None:
    """What is left of the prose without its places has numbers of the design alone."""
    prose = "".join(path.read_text(encoding="utf-8") for path in (study_text.PROSE, study_text.BRIEF))
    prose = re.sub(r"\{\{[^{}]*\}\}|\]\([^)]*\)|`[^`]+`|```.*?```", "", prose, flags=re.DOTALL)
    allowed = {"95", "196", "200", "1,960", "64", "512", "2.4", "4", "100", "100,000", "8", "10", "2025", "2602.00533"}
    assert set(re.findall(r"[\d][\d.,]*\d|\d", prose)) <= allowed


def test_figures_are_those_of_the_records() -> None:
    """By other code: means over bases of what a run adds, from the files' evaluations."""
    records = read_records(study_text.record_folders())
    km = {id(r): [row.degrees["real"].mean_km for row in r.evaluations] for r in records if r.run != "base"}
    for run in ("cross", "inter", "inter_bs64", "mixed"):
        by_base: dict[str, list[float]] = {}
        seeds: dict[str, int] = {}
        for record in records:
            if record.run == run and record.base is not None and record.steps == record.full_steps:
                by_base.setdefault(record.base.weights, []).append(km[id(record)][-1] - km[id(record)][0])
                assert record.base.config is not None
                seeds[record.base.weights] = record.base.config.training.seed
        mean = np.mean([np.mean(values) for values in by_base.values()])
        assert filled(f"{{{{added|{run}}}}}", records, [], Path()).startswith(f"{mean:,.0f} (")
        assert filled(f"{{{{bases|{run}}}}}", records, [], Path()) == f"n = {len(by_base)} bases of 3 seeds"
        assert len(by_base) == 4 and len(set(seeds.values())) == 3, "seed 42 twice: on a CPU and on a GPU"
    assert filled("{{study|cross|196}}", [], [], Path()) == "0.831 and 0.844"
    assert filled("{{study_row|cross|1960}}", [], [], Path()) == "0.824 | 0.831 | 2,230 km"


def test_a_place_without_a_record_is_an_error_and_an_optional_line_is_left_out() -> None:
    with pytest.raises(UserError, match="no record fills this place"):
        filled("{{added|cross}}", [], [], Path())
    with pytest.raises(UserError, match="no such place"):
        filled("{{added}}", [], [], Path())
    for place in ("start", "less|a|b", "equal|a|b", "draws|a|b", "r2|cross|1", "study|cross|1", "study_row|cross|1"):
        assert filled(f"a\n{{{{optional}}}}b {{{{{place}}}}}\nc\n", [], [], Path()) == "a\nc\n"
    for place in ("virtual|cross", "answers|cross|world-world|end", "bench|A1/naive|km_end", "demo|a|.0f"):
        assert filled(f"{{{{optional}}}}{{{{{place}}}}}\n", [], [], Path()) == ""


def test_a_readme_without_the_comments_is_named() -> None:
    with pytest.raises(UserError, match="has no"):
        with_part("# atlantis\n", study_text.BEGIN, study_text.END, "")


def test_what_the_prose_says_without_figures_holds() -> None:
    """The best map lost most; Atlantis' distance differs widely; mixed against cross is not shown, pairs inside are."""
    found = bases_of(read_records(study_text.record_folders()))
    starts = [base.start(MAP_KM.take) or np.nan for base in found]
    lost = [base.mean("cross", lambda record: added(record, MAP_KM.take)) or np.nan for base in found]
    assert np.argmin(starts) == np.argmax(lost)

    def around(run: str, other: str) -> Interval:
        return seed_interval(
            present([base.difference(run, other, lambda a, b: less(a, b, MAP_KM.take)) for base in found])
        )

    assert around("mixed", "cross").low < 0 < around("mixed", "cross").high
    assert around("inter", "cross").low > 0 and around("inter_bs64", "inter").low > 0


def test_the_table_of_bases_says_what_their_cards_measure() -> None:
    """The card's last checkpoint, by the study's protocol; one in half precision says what it reads as shipped."""
    docs = study_text.ROOT / "docs"
    page = (docs / "models.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[`(\w+)`\]\((\S+)\).*\| ([\d.]+) / ([\d.]+) \| ([\d,]+) \|", page, re.M)
    assert len(rows) == 3
    for name, card, lon, lat, km in rows:
        text = (docs / card).read_text(encoding="utf-8")
        shipped = re.search(r"reads R2 ([\d.]+) / ([\d.]+), ([\d,]+) km", text)
        last = re.findall(r"^\|(?: [\d,.-]+ \|)+$", text, re.M)[-1].strip("| ").split(" | ")
        assert (lon, lat, km) == (shipped.groups() if shipped else tuple(last[-4:-1])), name
