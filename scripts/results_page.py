"""Write the page that puts our numbers beside the study's, from the records of `atlantis study`.

    python scripts/results_page.py experiments/*_study/records* experiments/*_equal_length/records -o docs/results.md

The same records give the same bytes. Without -o the page goes to standard output.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from atlantis.artifacts import write_text
from atlantis.errors import UserError
from atlantis.report.results import page
from atlantis.report.study_record import read_records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path, nargs="+", help="record files, or folders of them")
    parser.add_argument("-o", "--out", type=Path, help="the Markdown file to write")
    options = parser.parse_args()
    try:
        text = page(read_records(options.records))
    except (UserError, OSError) as error:
        parser.exit(2, f"error: {error}\n")
    if options.out is None:
        sys.stdout.write(text)
    else:
        write_text(options.out, text)
        print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
