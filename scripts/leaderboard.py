"""Write the leaderboard and its pictures from the records of `atlantis bench`.

    python scripts/leaderboard.py experiments/*_benchmark/records -o docs/leaderboard.md

The pictures go into the folder images/ beside the page. The same records give the same bytes. Without -o the page goes
to standard output, and there are no pictures.
"""

from __future__ import annotations

from atlantis.bench import page, read_records, write_pictures
from atlantis.cli.pages import page_parser, write_page


def main() -> None:
    options = page_parser(__doc__).parse_args()
    pictures = None if options.out is None else "images"
    write_page(
        options,
        lambda: page(read_records(options.records), pictures),
        lambda folder: write_pictures(read_records(options.records), folder),
    )


if __name__ == "__main__":
    main()
