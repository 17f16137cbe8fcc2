"""Write docs/study.md, and README's findings: prose beside this script, every figure from records.

    python -m scripts.study_text

The page is study.md. The findings are findings_in_brief.md. They stand between two comments in README.md, which name
this script, and what is between them is not edited by hand. The same records give the same bytes.
"""

from __future__ import annotations

import sys
from pathlib import Path

from atlantis.artifacts import write_text
from atlantis.bench import read_records as read_bench_records
from atlantis.errors import UserError
from atlantis.report.study_record import read_records
from scripts.places import with_part
from scripts.study_places import filled

ROOT = Path(__file__).parents[1]
PROSE, BRIEF = (Path(__file__).with_name(name) for name in ("study.md", "findings_in_brief.md"))
PAGE, README = ROOT / "docs" / "study.md", ROOT / "README.md"
BEGIN, END = "<!-- written by scripts/study_text.py -->\n", "<!-- end -->"
FOLDERS = ("*_study/records*", "*_equal_length/records")
"""Where the records of the study's runs are, below experiments/: all that docs/results.md is made from."""


def record_folders() -> list[Path]:
    """The folders of the committed records of the study's runs."""
    return [folder for pattern in FOLDERS for folder in sorted((ROOT / "experiments").glob(pattern))]


def text(prose: Path) -> str:
    """The prose with its places filled from the committed records. Raises UserError for a place that has no record."""
    bench = read_bench_records(sorted((ROOT / "experiments").glob("*_benchmark/records")))
    return filled(prose.read_text(encoding="utf-8"), read_records(record_folders()), bench, ROOT / "experiments")


def main() -> None:
    try:
        write_text(PAGE, text(PROSE))
        write_text(README, with_part(README.read_text(encoding="utf-8"), BEGIN, END, text(BRIEF)))
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"wrote {PAGE} and {README}")


if __name__ == "__main__":
    main()
