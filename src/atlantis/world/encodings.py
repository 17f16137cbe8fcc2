"""Bytes -> text: UTF-8, UTF-16 and UTF-32 with and without a byte-order mark, and Windows-1252.

What is neither is refused with its line. Windows-1252 can spell any bytes, so it is believed only where the text looks
like a Western European one, and a notice says so: one in Polish or Turkish may look so too, with wrong letters.
"""

from __future__ import annotations

import codecs
import re

from atlantis.errors import UserError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_MULTIBYTE = re.compile(rb"[\xc3-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_FOREIGN = re.compile(r"[^\x00-\x7f\xc0-\xd6\xd8-\xf6\xf8-\xff\xa0°ºª´¡¿·²³½ŠšŽžŒœŸ‘’“”–—…«»§ß†‡•]")
_CAPITAL_INSIDE = re.compile(r"[a-zß-öø-ÿ][À-ÖØ-ÞŠŽŒŸ]|[A-Z][À-ÖØ-ÞŠŽŒŸ][a-z]")
_FOREIGN_RUN = re.compile(r"[À-ÖØ-öø-ÿŠšŽžŒœŸ]{3}")


def decoded(data: bytes, source: str) -> tuple[str, str]:
    """The text, and a notice on its encoding ("" for UTF-8). Raises UserError that names the line."""
    for mark, codec in _MARKS:
        if data.startswith(mark):
            return _strict(data[len(mark) :], codec, source), ""
    if codec := _unmarked_utf16(data):
        return _strict(data, codec, source), f"read as {codec.upper()}"
    try:
        return data.decode("utf-8"), ""
    except UnicodeDecodeError as error:
        text = _windows(data)
        if text is None:
            raise _refused(data, error, source) from None
        line = data[: error.start].count(b"\n") + 1
    return text, f"not UTF-8 (line {line}): read as Windows-1252; see whether the names are right"


def _strict(data: bytes, codec: str, source: str) -> str:
    try:
        return data.decode(codec)
    except UnicodeDecodeError as error:
        if codec == "utf-8":
            raise _refused(data, error, source) from None
        line = data[: error.start].decode(codec, "replace").count("\n") + 1
        raise UserError(f"{source}, line {line}: not readable as {codec.upper()}; save the file as UTF-8") from None


def _refused(data: bytes, error: UnicodeDecodeError, source: str) -> UserError:
    line = len((data[: error.start] + b"x").splitlines())
    return UserError(
        f"{source}, line {line}: not UTF-8 (byte 0x{data[error.start]:02x}); save the file as UTF-8 and try again"
    )


def _unmarked_utf16(data: bytes) -> str | None:
    """UTF-16 without a mark: of plain letters, digits and separators every second byte is zero."""
    beginning = data[:4096].split(b"\n", 1)[0]  # the header, which is of plain letters where the names are not
    beginning = beginning[: len(beginning) // 2 * 2]
    if len(data) < 4 or len(data) % 2 or 0 not in beginning:
        return None
    even, odd = beginning[0::2], beginning[1::2]
    for codec, zeros, others in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        if zeros.count(0) > 0.6 * len(zeros) and not others.count(0):
            return codec
    return None


def _windows(data: bytes) -> str | None:
    """The text in Windows-1252, unless it is more likely something else."""
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        return None
    valid = len(_MULTIBYTE.findall(data))
    invalid = data.decode("utf-8", "replace").count("\ufffd")
    strange = sum(len(pattern.findall(text)) for pattern in (_FOREIGN, _FOREIGN_RUN, _CAPITAL_INSIDE))
    beyond_ascii = sum(byte > 0x7F for byte in data)
    return None if valid >= invalid or strange > 0.02 * beyond_ascii else text
