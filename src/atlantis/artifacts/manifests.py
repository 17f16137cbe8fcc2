"""The manifest of a folder, which is written last: its presence is the mark of completion.

It holds the SHA-256 of every file and a seal over itself, and no time and no machine, so that the same content gives
the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from atlantis.artifacts.disk import sha256, size_of
from atlantis.errors import UserError
from atlantis.reading import read_bytes, read_json

MANIFEST = "manifest.json"
MANIFEST_KEYS = ("kind", "digest", "atlantis", "files")


def digest_of(obj: Any) -> str:
    """12 hexadecimal characters of the SHA-256 of `obj` (plain JSON data) in canonical JSON: sorted keys, no spaces.

    Raises ValueError for NaN or infinity and TypeError for what JSON cannot hold.
    """
    text = json.dumps(obj, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def version() -> str:
    """The installed version of atlantis, "source" when it runs without having been installed."""
    from importlib import metadata

    try:
        return metadata.version("atlantis-lab")
    except metadata.PackageNotFoundError:
        return "source"


def manifest(path: Path) -> dict[str, Any] | None:
    """The manifest of the artifact at `path` (kind, digest, files, atlantis: the version); None if not ours."""
    try:
        record = read_json(Path(path) / MANIFEST)
    except (FileNotFoundError, UserError):
        return None
    ours = all(isinstance(record.get(key), str) for key in ("kind", "digest", "atlantis"))
    files = record.get("files")
    return record if ours and isinstance(files, dict) and all(map(_is_entry, files.items())) else None


def _is_entry(entry: tuple[str, Any]) -> bool:
    """Whether a manifest's line names a file inside its folder, with its size and SHA-256."""
    name, facts = PurePosixPath(entry[0]), entry[1]
    inside = bool(name.parts) and not name.is_absolute() and ".." not in name.parts and "\0" not in entry[0]
    return inside and isinstance(facts, dict) and type(facts.get("bytes")) is int and "sha256" in facts


def sealed(content: dict[str, Any]) -> str:
    """The text of a manifest, ending in a digest of itself; not one bit of it can change unseen."""
    content = {key: content[key] for key in MANIFEST_KEYS}
    return json.dumps(content | {"seal": digest_of(content)}, indent=1, ensure_ascii=False) + "\n"


def is_complete(path: Path, digest: str | None = None) -> bool:
    """Whether `path` is a whole artifact (of this digest, if given): every file is there, with its size.

    What the files hold is not looked at; `is_whole` and `verify` do that.
    """
    record = manifest(path)
    if record is None or digest not in (None, record["digest"]):
        return False
    return all(size_of(Path(path) / name) == entry["bytes"] for name, entry in record["files"].items())


def is_whole(path: Path, digest: str | None = None) -> bool:
    """Whether `path` is an artifact (of this digest, if given) as it was written, by the hash of every file."""
    return is_complete(path, digest) and damage(path) is None


def damage(path: Path) -> str | None:
    """What is wrong with the artifact at `path`, by the hash of every file; None if it is as it was written."""
    try:
        verify(path)
    except UserError as error:
        return str(error)
    return None


def verify(path: Path, text: str = "") -> None:
    """Read every file of the artifact at `path`; UserError naming the first that is missing or changed.

    The file named `text` may have got the line ends of another system.
    """
    record = manifest(path)
    if record is None:
        raise UserError(f"{path}: not a complete artifact (no {MANIFEST} of ours); remove it and make it again")
    _check_seal(path, record)
    for name, entry in record["files"].items():
        file = Path(path) / name
        if not file.is_file():
            raise UserError(f"{file}: is missing; remove {path} and make it again")
        if size_of(file) == entry["bytes"] and sha256(file) == entry["sha256"]:
            continue
        if name != text or hashlib.sha256(file.read_bytes().replace(b"\r\n", b"\n")).hexdigest() != entry["sha256"]:
            raise UserError(f"{file}: has been changed since it was written; remove {path} and make it again")


def _check_seal(path: Path, record: dict[str, Any]) -> None:
    # The first manifests had no seal, and exactly these keys.
    if record.keys() != set(MANIFEST_KEYS) and read_bytes(Path(path) / MANIFEST) != sealed(record).encode():
        raise UserError(
            f"{Path(path) / MANIFEST}: has been changed since it was written; remove {path} and make it again"
        )


def verify_some(path: Path, names: Sequence[str]) -> None:
    """As `verify`, of the small files that somebody shows, and not of all; a folder without a manifest passes."""
    record = manifest(path)
    if record is None:
        return
    _check_seal(path, record)
    for name in names:
        file, entry = Path(path) / name, record["files"].get(name)
        if entry is not None and (size_of(file) != entry["bytes"] or sha256(file) != entry["sha256"]):
            raise UserError(f"{file}: has been changed since it was written; remove {path} and make it again")
