"""Text to token ids and back, for two vocabularies; everything on whole arrays.

    characters  one-character symbols; a city id is spelled in digits (the study's vocabulary)
    city        the same symbols, and one token per city whose text is `c_<id>` (token 44 + id in version 1)

The symbols have versions: 1 is the study's 44, 2 appends `;` and the upper-case letters. A checkpoint keeps
its version. `atlantis.data.encoding` makes the rows of tasks of these tokens.

Design choices
- An unknown character or city is an error that names the row, never a silent `<pad>`.
- The exported tokenizer is a BPE model without merges over single ASCII characters, with the cities as added tokens.
  Transformers 5 loads every Qwen2 folder with its byte-level Qwen2 class, whatever class the folder names; this
  vocabulary means the same to that class. It has no unknown token, so there (and only there) unknown characters are
  dropped, and `c_99` with 20 cities is read as city 9 and the digit 9. `Vocabulary.encode` refuses both.
- The exported tokenizer puts `<bos>` before every text, as other models' do: without it a model answers wrongly, and
  nothing says so. For texts that have it written out there is `add_special_tokens=False`. It pads on the left, so that
  an answer follows its prompt also in a batch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from atlantis.errors import UserError
from atlantis.names import MAX_CITIES
from atlantis.reading import read_json

Kind = Literal["characters", "city"]

MARKERS = ("<pad>", "<bos>", "<eos>")
SYMBOLS = (*MARKERS, *"()", ",", "=", "_", *"abcdefghijklmnopqrstuvwxyz", *"0123456789")
"""Of version 1."""
VERSIONS = {1: SYMBOLS, 2: (*SYMBOLS, ";", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ")}
"""The symbols of each version. A new version only appends, so a symbol has one token in all that have it."""
SPELLED = {1: "( ) , = _ a-z 0-9", 2: "( ) , = _ ; a-z A-Z 0-9"}
PAD, BOS, EOS = range(3)
TOKEN = {symbol: token for token, symbol in enumerate(VERSIONS[2])}
ZERO = TOKEN["0"]

_BOS_PIECE, _TEXT_PIECE = {"SpecialToken": {"id": "<bos>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
_BOS_SECOND, _TEXT_SECOND = {"SpecialToken": {"id": "<bos>", "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}
BOS_FIRST = {
    "type": "TemplateProcessing",
    "single": [_BOS_PIECE, _TEXT_PIECE],
    "pair": [_BOS_PIECE, _TEXT_PIECE, _BOS_SECOND, _TEXT_SECOND],
    "special_tokens": {"<bos>": {"id": "<bos>", "ids": [BOS], "tokens": ["<bos>"]}},
}
"""The post-processor of tokenizer.json, in the words of the `tokenizers` library."""

SEPARATOR = ord("\n")
UNKNOWN, END_OF_ROW, SWALLOWED = -1, -2, -3
CHUNK_ROWS = 1 << 16

Tokens = NDArray[np.int16] | NDArray[np.int32]
Columns = tuple[NDArray[Any], NDArray[np.bool_]]


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a world with `n_cities` cities (real and virtual together); ids are 0 .. n_cities - 1.

    Raises UserError for an unknown kind or version, or a number of cities below 1.
    """

    kind: Kind
    n_cities: int
    version: int = 1

    pad = PAD
    bos = BOS
    eos = EOS

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise UserError(f"tokenizer kind {self.kind!r} is unknown: use one of {', '.join(get_args(Kind))}")
        if self.n_cities < 1:
            raise UserError(f"a vocabulary needs at least one city, not {self.n_cities}")
        if self.version not in VERSIONS:
            raise UserError(f"the vocabulary's version {self.version!r} is not one this atlantis knows; update it")

    @property
    def symbols(self) -> tuple[str, ...]:
        """The text of every token but the cities'."""
        return VERSIONS[self.version]

    @property
    def first_city(self) -> int:
        """The token of city 0 where cities have tokens: as many as there are symbols, which is what a model writes."""
        return len(self.symbols)

    @property
    def size(self) -> int:
        """Number of tokens: the symbols, and with the city vocabulary n_cities more."""
        return self.first_city + (self.n_cities if self.kind == "city" else 0)

    @property
    def dtype(self) -> np.dtype[Any]:
        """int16 where every token fits, else int32."""
        return np.dtype(np.int16 if self.size <= np.iinfo(np.int16).max else np.int32)

    @property
    def id_digits(self) -> int:
        """Digits of the largest city id."""
        return len(str(self.n_cities - 1))

    # columns of tokens: (tokens, whether each is written), of shape [n, w] or [w]

    def city_ids(self, ids: ArrayLike) -> NDArray[np.int64]:
        """The ids [n], checked. Raises UserError for one outside the vocabulary."""
        ids = np.asarray(ids)
        if ids.ndim != 1 or (ids.size and not np.issubdtype(ids.dtype, np.integer)):
            raise UserError(f"city ids must be one row of integers, not {ids.dtype} of shape {ids.shape}")
        outside = np.flatnonzero((ids < 0) | (ids >= self.n_cities))
        if len(outside):
            raise UserError(f"row {outside[0]}: no city has id {ids[outside[0]]} (ids are 0 .. {self.n_cities - 1})")
        return ids.astype(np.int64, copy=False)

    def cities(self, ids: NDArray[np.int64], id_digits: int = 1) -> Columns:
        """A city's own tokens: its digits, at least `id_digits` of them, or its one token."""
        if self.kind == "characters":
            return digits(ids, max(self.id_digits, id_digits), id_digits)
        return (self.first_city + ids)[:, None], np.array([True])

    def constant(self, text: str) -> Columns:
        return np.array([TOKEN[symbol] for symbol in text], np.int64), np.ones(len(text), bool)

    def compact(self, columns: Sequence[Columns], n: int) -> tuple[Tokens, NDArray[np.int32]]:
        """Columns side by side into left-aligned rows [n, sum of w], padded with `<pad>`, and their lengths [n]."""
        width = sum(keep.shape[-1] for _, keep in columns)
        wide, kept = np.empty((n, width), self.dtype), np.empty((n, width), bool)
        start = 0
        for tokens, keep in columns:
            stop = start + keep.shape[-1]
            wide[:, start:stop], kept[:, start:stop] = tokens, keep
            start = stop
        length = kept.sum(axis=1, dtype=np.int32)
        out = np.full((n, width), PAD, self.dtype)
        out[np.arange(width) < length[:, None]] = wide[kept]  # both masks are read row by row
        return out, length

    # text -> tokens -> text

    def encode(self, texts: Sequence[str]) -> tuple[Tokens, NDArray[np.int32]]:
        """Token ids [n, L], padded on the right to the longest row, and the row lengths [n].

        `<pad>`, `<bos>` and `<eos>` in a text are those tokens; none is added. With the city vocabulary `c_<digits>`
        is one token. Raises UserError naming the row and the first unknown character or city.
        """
        if isinstance(texts, str):
            raise UserError("encode takes a list of texts, not one text")
        chunks = [
            self._encode_chunk(texts[start : start + CHUNK_ROWS], start) for start in range(0, len(texts), CHUNK_ROWS)
        ]
        width = max((int(lengths.max()) for _, lengths in chunks), default=0)
        ids = np.full((len(texts), width), PAD, self.dtype)
        for start, (tokens, lengths) in zip(range(0, len(texts), CHUNK_ROWS), chunks, strict=True):
            ids[start : start + len(lengths)][np.arange(width) < lengths[:, None]] = tokens
        return ids, np.concatenate([lengths for _, lengths in chunks] or [np.zeros(0, np.int32)])

    def _encode_chunk(self, texts: Sequence[str], start: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """All tokens of the rows one after the other, and the row lengths; `start` is the first row's number."""
        joined = "\n".join(texts)
        if joined.count("\n") != len(texts) - 1 or any(chr(marker) in joined for marker in (PAD, BOS, EOS)):
            self._refuse(texts, start)
        # A marker becomes the one byte of its token, which no text may hold: then every byte is a token.
        for token, marker in enumerate(MARKERS):
            joined = joined.replace(marker, chr(token))
        raw = np.frombuffer((joined + "\n").encode("utf-8", "surrogatepass"), np.uint8)
        # A table of 256 entries in place of a dictionary: all rows in one look-up.
        tokens = _token_of_byte(self.version)[raw]
        if self.kind == "city":
            self._merge_cities(raw, tokens)
        if (tokens == UNKNOWN).any():
            self._refuse(texts, start)
        tokens = tokens[tokens != SWALLOWED]
        ends = np.flatnonzero(tokens == END_OF_ROW)
        lengths = np.diff(ends, prepend=-1) - 1
        return tokens[tokens != END_OF_ROW], lengths.astype(np.int32)

    def _merge_cities(self, raw: NDArray[np.uint8], tokens: NDArray[np.int32]) -> None:
        """Make each `c_<digits>` one token, in place; one that is no city becomes UNKNOWN.

        `raw` ends with a separator, so that no look at the next byte leaves the array before a non-digit was seen.
        """
        at = np.flatnonzero((raw[:-2] == ord("c")) & (raw[1:-1] == ord("_")) & _is_digit(raw[2:]))
        value, digits = np.zeros(len(at), np.int64), np.zeros(len(at), np.int64)
        inside = np.ones(len(at), bool)
        for offset in range(2, self.id_digits + 3):  # one digit more than the longest id: enough to refuse it
            symbol = raw[np.minimum(at + offset, len(raw) - 1)]
            inside &= _is_digit(symbol)
            value = np.where(inside, 10 * value + (symbol - ord("0")), value)
            digits += inside
        padded = (digits > 1) & (raw[at + 2] == ord("0"))
        exists = (value < self.n_cities) & (digits <= self.id_digits) & ~padded
        tokens[at] = np.where(exists, self.first_city + value, UNKNOWN)
        # The `_` and the digits after it are part of the city's token.
        for offset in range(1, self.id_digits + 2):
            tokens[(at + offset)[exists & (offset < digits + 2)]] = SWALLOWED

    def _refuse(self, texts: Sequence[str], start: int) -> None:
        """Raise the UserError for the first bad row."""
        for row, text in enumerate(texts, start):
            plain = re.sub("|".join(MARKERS), lambda marker: " " * len(marker[0]), text)
            cities = re.finditer(r"c_([0-9]+)", plain) if self.kind == "city" else ()
            for city in cities:
                digits = city[1]
                if len(digits) > self.id_digits or str(int(digits)) != digits or int(digits) >= self.n_cities:
                    raise UserError(
                        f"row {row}: {city[0]!r} in {text!r} is no city of this vocabulary "
                        f"(c_0 .. c_{self.n_cities - 1}, without leading zeros)"
                    )
            for position, symbol in enumerate(text):
                if symbol not in self.symbols and not (plain[position] == " " and symbol != " "):
                    raise UserError(
                        f"row {row}: character {symbol!r} at position {position} of {text!r} has no token; "
                        f"the vocabulary is {SPELLED[self.version]} and <pad> <bos> <eos>"
                    )
        raise AssertionError("no bad row found")

    def decode(self, ids: ArrayLike) -> list[str]:
        """Texts of token ids [n, L]; `<pad>` at a row's end is left out, all other symbols are written.

        Raises UserError naming the row of a token outside the vocabulary.
        """
        ids = np.asarray(ids)
        if ids.ndim != 2:
            raise UserError(f"decode takes token ids of shape [n, L], not {ids.shape}")
        outside = np.argwhere((ids < 0) | (ids >= self.size))
        if len(outside):
            row, column = outside[0]
            raise UserError(f"row {row}: token {ids[row, column]} is outside the vocabulary (0 .. {self.size - 1})")
        spelling, nothing, end_of_row = _spelling(self), self.size, self.size + 1
        texts: list[str] = []
        for start in range(0, len(ids), CHUNK_ROWS):
            rows = ids[start : start + CHUNK_ROWS]
            length = np.where(rows != PAD, np.arange(1, rows.shape[1] + 1), 0).max(axis=1, initial=0)
            shown = np.full((len(rows), rows.shape[1] + 1), end_of_row)
            shown[:, :-1] = np.where(np.arange(rows.shape[1]) < length[:, None], rows, nothing)
            # Texts shorter than the longest are filled up with zero bytes, which no text has.
            texts += spelling[shown].tobytes().translate(None, b"\0").decode("ascii").split("\n")[:-1]
        return texts

    # files

    def save_transformers(self, folder: Path | str, max_length: int = 32) -> None:
        """Write tokenizer.json, tokenizer_config.json (for `AutoTokenizer`) and vocabulary.json (for `load`).

        `max_length`: the longest row in tokens, `<bos>` included, that the model can read.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        files = {
            "tokenizer.json": _tokenizer_json(self),
            "tokenizer_config.json": {
                "tokenizer_class": "Qwen2Tokenizer",
                "pad_token": "<pad>",
                "bos_token": "<bos>",
                "eos_token": "<eos>",
                "unk_token": None,
                "add_bos_token": True,
                "add_prefix_space": False,
                "clean_up_tokenization_spaces": False,
                "padding_side": "left",
                "model_max_length": max_length,
            },
            "vocabulary.json": {"kind": self.kind, "n_cities": self.n_cities}
            | ({"version": self.version} if self.version > 1 else {}),
        }
        for name, content in files.items():
            (folder / name).write_text(file_text(content), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path | str) -> Vocabulary:
        """The vocabulary saved in a folder. Raises UserError if vocabulary.json is missing or not ours."""
        path = Path(folder) / "vocabulary.json"
        try:
            content = read_json(path)
        except FileNotFoundError:
            raise UserError(f"{path}: no such file; a checkpoint written by atlantis has one") from None
        kind, n_cities, version = content.get("kind"), content.get("n_cities"), content.get("version", 1)
        if type(version) is not int or version not in VERSIONS:
            raise UserError(f"{path}: its version {version!r} of the symbols is not known; update atlantis")
        if kind not in get_args(Kind) or type(n_cities) is not int or not 1 <= n_cities <= MAX_CITIES:
            kinds = " or ".join(map(json.dumps, get_args(Kind)))
            raise UserError(f'{path}: expected {{"kind": {kinds}, "n_cities": 1 to {MAX_CITIES:,}}}')
        return cls(cast(Kind, kind), n_cities, version)


@lru_cache
def _token_of_byte(version: int) -> NDArray[np.int32]:
    """[256]: the token of a byte, where the markers stand as bytes 0, 1, 2."""
    table = np.full(256, UNKNOWN, np.int32)
    table[[PAD, BOS, EOS]] = PAD, BOS, EOS
    for token, symbol in enumerate(VERSIONS[version]):
        if len(symbol) == 1:
            table[ord(symbol)] = token
    table[SEPARATOR] = END_OF_ROW
    return table


def _is_digit(raw: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return (raw >= ord("0")) & (raw <= ord("9"))


def digits(numbers: NDArray[Any], width: int, at_least: int = 1) -> Columns:
    """Digit tokens [n, width] of non-negative integers, zero-padded on the left, and which of them are written.

    The last `at_least` always are.
    """
    tokens, keep = np.empty((len(numbers), width), np.int16), np.empty((len(numbers), width), bool)
    rest = numbers
    for column in range(width - 1, -1, -1):
        keep[:, column] = (rest > 0) | (column >= width - at_least)
        tens = rest // 10
        tokens[:, column] = ZERO + rest - 10 * tens
        rest = tens
    return tokens, keep


@lru_cache(maxsize=8)
def _texts(vocabulary: Vocabulary) -> tuple[str, ...]:
    """The text of every token."""
    cities = range(vocabulary.n_cities if vocabulary.kind == "city" else 0)
    return vocabulary.symbols + tuple(f"c_{city}" for city in cities)


@lru_cache(maxsize=8)
def _spelling(vocabulary: Vocabulary) -> NDArray[np.bytes_]:
    """The text of every token, then no text, and a line's end; filled up with zero bytes to the longest's length."""
    return np.array([*_texts(vocabulary), "", "\n"], np.bytes_)


def needed_version(characters: Iterable[str]) -> int:
    """The first version that has all these characters. Raises UserError for one that no version has."""
    needed = set(characters)
    for version, symbols in VERSIONS.items():
        if needed <= set(symbols):
            return version
    unknown = sorted(needed - set(VERSIONS[max(VERSIONS)]))
    raise UserError(f"character {unknown[0]!r} has no token; rows are written with {SPELLED[max(VERSIONS)]}")


def file_text(content: dict[str, Any]) -> str:
    """The text of a file of `save_transformers`."""
    return json.dumps(content, indent=1) + "\n"


def _tokenizer_json(vocabulary: Vocabulary) -> dict[str, Any]:
    """The `tokenizers` library's description of the vocabulary: BPE without merges, cities as added tokens."""
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    added = [
        {"id": token, "content": symbol, **plain, "special": symbol in MARKERS}
        for token, symbol in enumerate(_texts(vocabulary))
        if len(symbol) > 1
    ]
    model: dict[str, Any] = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": "",
        "end_of_word_suffix": "",
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": {symbol: token for token, symbol in enumerate(vocabulary.symbols)},
        "merges": [],
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
        "post_processor": BOS_FIRST,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": model,
    }
