"""Write README's text about the study: the prose of study_text.md beside this script, every figure from records.

    python -m scripts.study_text

The text stands between two comments in README.md, which name this script; what is between them is not edited by hand.
The same records give the same bytes.
"""

from __future__ import annotations

import sys
from pathlib import Path

from atlantis.artifacts import write_text
from atlantis.bench import read_records as read_bench_records
from atlantis.errors import UserError
from atlantis.markdown import with_part
from atlantis.report.study_record import read_records
from scripts.study_places import filled

ROOT = Path(__file__).parents[1]
PROSE = Path(__file__).with_suffix(".md")
BEGIN, END = "<!-- written by scripts/study_text.py -->\n", "<!-- end -->"
FOLDERS = ("*_study/records*", "*_equal_length/records")
"""Where the records of the study's runs are, below experiments/: all that docs/results.md is made from."""


def record_folders() -> list[Path]:
    """The folders of the committed records of the study's runs."""
    return [folder for pattern in FOLDERS for folder in sorted((ROOT / "experiments").glob(pattern))]


def text() -> str:
    """The text between the comments, from the committed records. Raises UserError for a place that has no record."""
    bench = read_bench_records(sorted((ROOT / "experiments").glob("*_benchmark/records")))
    return filled(PROSE.read_text(encoding="utf-8"), read_records(record_folders()), bench, ROOT / "experiments")


def main() -> None:
    readme = ROOT / "README.md"
    try:
        write_text(readme, with_part(readme.read_text(encoding="utf-8"), BEGIN, END, text()))
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"wrote {readme}")


if __name__ == "__main__":
    main()
