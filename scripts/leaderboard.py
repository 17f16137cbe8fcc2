"""Write the leaderboard and its pictures from the records of `atlantis bench`.

    python scripts/leaderboard.py experiments/*_benchmark_2/records -o docs/leaderboard.md \\
        --web docs/gallery/leaderboard.html
    python scripts/leaderboard.py experiments/*_benchmark/records -o docs/leaderboard_1.md

The pictures go into the folder images/ beside the page. The same records give the same bytes. Without -o the page goes
to standard output, and there are no pictures. `--web` writes the page to sort and filter as well.
"""

from __future__ import annotations

from pathlib import Path

from atlantis.artifacts import write_text
from atlantis.bench import page, read_records, web_page, write_pictures
from atlantis.cli.pages import page_parser, write_page
from atlantis.errors import UserError


def main() -> None:
    parser = page_parser(__doc__)
    parser.add_argument("--web", type=Path, metavar="FILE", help="also write the page to sort and filter, as HTML")
    options = parser.parse_args()
    pictures = None if options.out is None else "images"

    def whole() -> str:
        records = read_records(options.records)
        if options.web is not None:
            if options.web.suffix != ".html":
                raise UserError(f"{options.web}: is no name of an HTML file; give one that ends in .html")
            write_text(options.web, web_page(records))
        return page(records, pictures)

    write_page(options, whole, lambda folder: write_pictures(read_records(options.records), folder))


if __name__ == "__main__":
    main()
