"""Write the leaderboard and its pictures from the records of `atlantis bench`.

    python scripts/leaderboard.py experiments/*_benchmark/records -o docs/leaderboard.md

The pictures go into the folder images/ beside the page. The same records give the same bytes. Without -o the page goes
to standard output, and there are no pictures.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from atlantis.artifacts import write_text
from atlantis.bench import page, read_records, write_pictures
from atlantis.errors import UserError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path, nargs="+", help="record files, or folders of them")
    parser.add_argument("-o", "--out", type=Path, help="the Markdown file to write")
    options = parser.parse_args()
    try:
        records = read_records(options.records)
        if options.out is None:
            sys.stdout.write(page(records, pictures=None))
            return
        if options.out.is_dir():
            raise UserError(f"{options.out}: is a folder; name the Markdown file to write")
        text = page(records)
        write_pictures(records, options.out.parent / "images")
        write_text(options.out, text)
    except (UserError, OSError) as error:
        parser.exit(2, f"error: {error}\n")
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
