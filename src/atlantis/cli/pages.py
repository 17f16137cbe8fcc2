"""The command line of the scripts that write a page of the documentation from records."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from atlantis.artifacts import write_text
from atlantis.errors import USER_MISTAKE, UserError


def page_parser(description: str | None) -> ArgumentParser:
    """Takes records, as files or folders, and `-o`, the page to write."""
    parser = ArgumentParser(description=description, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path, nargs="+", help="record files, or folders of them")
    parser.add_argument("-o", "--out", type=Path, help="the Markdown file to write")
    return parser


def write_page(options: Namespace, page: Callable[[], str], pictures: Callable[[Path], Any] | None = None) -> None:
    """Write a page to `-o`, and its pictures to images/ beside it; without `-o` the page to standard output, alone.

    What raises UserError or OSError ends the process with one line and the exit code for it.
    """
    try:
        if options.out is not None and options.out.is_dir():
            raise UserError(f"{options.out}: is a folder; name the Markdown file to write")
        if options.out is not None and options.out.suffix != ".md":
            raise UserError(f"{options.out}: is no name of a Markdown file; give one that ends in .md")
        text = page()
        if options.out is None:
            sys.stdout.write(text)
            return
        if pictures is not None:
            pictures(options.out.parent / "images")
        write_text(options.out, text)
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(USER_MISTAKE)
    print(f"wrote {options.out}")
