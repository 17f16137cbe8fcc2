"""Folders that are either complete or absent, single files written whole, and a lock.

disk -> manifests -> leftovers -> files -> folders, locks; a lock is flock where the file system has it, else a lease.
"""

from atlantis.artifacts.disk import make_folders, refuse_file, refuse_moved, sha256, watched
from atlantis.artifacts.files import (
    append_text,
    dump_json,
    open_own,
    plain,
    refuse_links,
    write_bytes,
    write_json,
    write_text,
)
from atlantis.artifacts.folders import new_folder, remove, set_aside
from atlantis.artifacts.leftovers import BEGUN, LEFTOVER, clear_leftovers
from atlantis.artifacts.locks import BUSY, is_locked, is_passing, lock
from atlantis.artifacts.manifests import (
    MANIFEST,
    damage,
    digest_of,
    is_complete,
    is_whole,
    manifest,
    sealed,
    verify,
    verify_some,
    version,
)

__all__ = [
    "BEGUN",
    "BUSY",
    "LEFTOVER",
    "MANIFEST",
    "append_text",
    "clear_leftovers",
    "damage",
    "digest_of",
    "dump_json",
    "is_complete",
    "is_locked",
    "is_passing",
    "is_whole",
    "lock",
    "make_folders",
    "manifest",
    "new_folder",
    "open_own",
    "plain",
    "refuse_file",
    "refuse_links",
    "refuse_moved",
    "remove",
    "sealed",
    "set_aside",
    "sha256",
    "verify",
    "verify_some",
    "version",
    "watched",
    "write_bytes",
    "write_json",
    "write_text",
]
