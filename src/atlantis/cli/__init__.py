"""The command line: one file per group of commands, registered in `app`; `entry` runs one, `failures` words its end."""

from atlantis.cli.entry import main

__all__ = ["main"]
