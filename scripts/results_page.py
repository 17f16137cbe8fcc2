"""Write the page that puts our numbers beside the study's, from the records of `atlantis study`.

    python -m scripts.results_page experiments/*_study/records* experiments/*_equal_length/records -o docs/results.md

The same records give the same bytes. Without -o the page goes to standard output.
"""

from __future__ import annotations

from atlantis.cli.pages import page_parser, write_page
from atlantis.report.study_record import read_records
from scripts.results import page


def main() -> None:
    options = page_parser(__doc__).parse_args()
    write_page(options, lambda: page(read_records(options.records)))


if __name__ == "__main__":
    main()
