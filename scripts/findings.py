"""Write docs/findings.md, or docs/findings_1.md and its pictures: prose beside this script, every figure from records.

    python -m scripts.findings experiments/*_benchmark_2/records -o docs/findings.md
    python -m scripts.findings experiments/*_benchmark/records -o docs/findings_1.md
    python -m scripts.findings outputs/bench/cpu/records --draft         # with *not run* where a record is missing

The records are those of one tier and one protocol, which says whose prose it is. The pictures go into the folder
images/ beside the page. The same records give the same bytes. Without --draft nothing is written while a record is
missing that the prose asks for; each is named with the command that makes it. Without -o the page goes to standard
output, and there are no pictures.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from atlantis.artifacts import write_bytes
from atlantis.bench import BenchRecord, read_records
from atlantis.bench.leaderboard import protocol_of
from atlantis.bench.standing import boards
from atlantis.cli.pages import page_parser, write_page
from atlantis.errors import UserError
from atlantis.report.style import rendered
from scripts.findings_plot import findings_plot
from scripts.findings_text import figures, findings, picture_name

PROSE = {1: Path(__file__).with_name("findings_1.md"), 2: Path(__file__).with_name("findings.md")}
"""By protocol."""


def prose_of(records: Sequence[BenchRecord]) -> str:
    """The prose about the records' protocol. Raises UserError for records of two protocols, or none."""
    return PROSE[protocol_of(records)].read_text(encoding="utf-8")


def page(records: Sequence[BenchRecord]) -> tuple[str, list[str]]:
    """The page, and what is missing from it."""
    return findings(prose_of(records), records)


def write_pictures(records: Sequence[BenchRecord], folder: Path) -> None:
    everything = boards(records)
    for asked in figures(prose_of(records)):
        chosen = [board for board in everything if board.scenario in asked.split("+") and board.best()]
        if chosen:
            write_bytes(folder / picture_name(asked), rendered(findings_plot(chosen), "png"))


def main() -> None:
    parser = page_parser(__doc__)
    parser.add_argument("--draft", action="store_true", help="write the page although records are missing")
    options = parser.parse_args()

    def whole() -> str:
        text, missing = page(read_records(options.records))
        for one in missing:
            print(f"no record: {one}", file=sys.stderr)
        if missing and not options.draft:
            raise UserError(f"{len(missing)} records are missing; make them, or say --draft")
        return text

    write_page(options, whole, lambda folder: write_pictures(read_records(options.records), folder))


if __name__ == "__main__":
    main()
