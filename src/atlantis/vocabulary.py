"""Text to token ids and back, for two vocabularies; everything on whole arrays.

    characters  44 one-character symbols; a city id is spelled in digits (the study's vocabulary)
    city        the same 44, and one token per city whose text is `c_<id>` (token 44 + id)

    <bos>dist(c_12,c_5101)=4821<eos>      with characters           with one token per city
    prefix, the same in every row         <bos> d i s t ( c _       <bos> d i s t (
    the rest of the prompt                1 2 , c _ 5 1 0 1 ) =     c_12 , c_5101 ) =
    completion                            4 8 2 1 <eos>             4 8 2 1 <eos>

Design choices
- An unknown character or city is an error that names the row, never a silent `<pad>`.
- Pairs are encoded from their numbers, not from text: fixed-width digits and a mask, then one compaction.
- The exported tokenizer is a BPE model without merges over single ASCII characters, with the cities as added tokens.
  Transformers 5 loads every Qwen2 folder with its byte-level Qwen2 class, whatever class the folder names; this
  vocabulary means the same to that class. It has no unknown token, so there (and only there) unknown characters are
  dropped, and `c_99` with 20 cities is read as city 9 and the digit 9. `Vocabulary.encode` refuses both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from atlantis.errors import UserError
from atlantis.reading import read_json
from atlantis.settings import MAX_CITIES

Kind = Literal["characters", "city"]

MARKERS = ("<pad>", "<bos>", "<eos>")
SYMBOLS = (*MARKERS, *"()", ",", "=", "_", *"abcdefghijklmnopqrstuvwxyz", *"0123456789")
PAD, BOS, EOS = range(3)
TOKEN = {symbol: token for token, symbol in enumerate(SYMBOLS)}
ZERO = TOKEN["0"]
MAX_KM_DIGITS = 5  # half the Earth's circumference is 20,015 km

SEPARATOR = ord("\n")
UNKNOWN, END_OF_ROW, SWALLOWED = -1, -2, -3
CHUNK_ROWS = 1 << 16

Tokens = NDArray[np.int16] | NDArray[np.int32]


@dataclass(frozen=True)
class PairTokens:
    """Encoded rows without the prefix they all share, padded on the right with `<pad>`."""

    tokens: Tokens
    """[n, L]: `12,c_5101)=4821<eos>` (characters) or `c_12,c_5101)=4821<eos>` (city)."""
    prompt_length: NDArray[np.int32]
    """[n]: tokens up to and including `=`; the completion starts at this index."""
    length: NDArray[np.int32]
    """[n]: tokens up to and including `<eos>`."""


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a world with `n_cities` cities (real and virtual together); ids are 0 .. n_cities - 1.

    Raises UserError for an unknown kind or a number of cities below 1.
    """

    kind: Kind
    n_cities: int

    pad = PAD
    bos = BOS
    eos = EOS

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise UserError(f"tokenizer kind {self.kind!r} is unknown: use one of {', '.join(get_args(Kind))}")
        if self.n_cities < 1:
            raise UserError(f"a vocabulary needs at least one city, not {self.n_cities}")

    @property
    def size(self) -> int:
        """Number of tokens: 44, or 44 + n_cities."""
        return len(SYMBOLS) + (self.n_cities if self.kind == "city" else 0)

    @property
    def dtype(self) -> np.dtype[Any]:
        """int16 where every token fits, else int32."""
        return np.dtype(np.int16 if self.size <= np.iinfo(np.int16).max else np.int32)

    @property
    def id_digits(self) -> int:
        """Digits of the largest city id."""
        return len(str(self.n_cities - 1))

    @property
    def pair_length(self) -> int:
        """L of `encode_pairs`: the same for every row of this vocabulary (19 for 4-digit ids, 11 with city tokens)."""
        prompt = 2 * self.id_digits + len(",c_)=") if self.kind == "characters" else len("A,B)=")
        return prompt + MAX_KM_DIGITS + 1

    # numbers -> tokens

    def prefix(self) -> list[int]:
        """The tokens every prompt starts with: `<bos>dist(c_` (8, characters) or `<bos>dist(` (6, city)."""
        text = "dist(c_" if self.kind == "characters" else "dist("
        return [BOS, *(TOKEN[symbol] for symbol in text)]

    def encode_pairs(self, first: ArrayLike, second: ArrayLike, km: ArrayLike) -> PairTokens:
        """Rows of the distance task, without `prefix()`, from city ids and whole kilometres (int arrays [n]).

        Raises UserError for an id outside the vocabulary, a distance of more than 5 digits, or unequal lengths.
        """
        first, second, km = self._city_ids(first), self._city_ids(second), np.asarray(km)
        if not len(first) == len(second) == len(km):
            raise UserError(f"pairs of unequal lengths: {len(first)} first, {len(second)} second, {len(km)} km")
        outside = np.flatnonzero((km < 0) | (km >= 10**MAX_KM_DIGITS))
        if len(outside):
            raise UserError(f"row {outside[0]}: {km[outside[0]]} km is outside 0 .. {10**MAX_KM_DIGITS - 1}")
        middle = self._constant(",c_" if self.kind == "characters" else ",")
        close, end = self._constant(")="), (np.array([EOS]), np.array([True]))
        n = len(first)
        tokens, length = np.empty((n, self.pair_length), self.dtype), np.empty(n, np.int32)
        answer_length = np.empty(n, np.int32)
        for start in range(0, n, CHUNK_ROWS):  # few enough rows to stay in the processor's cache
            rows = slice(start, start + CHUNK_ROWS)
            answer = _digits(km[rows], MAX_KM_DIGITS)
            columns = [self._cities(first[rows]), middle, self._cities(second[rows]), close, answer, end]
            tokens[rows], length[rows] = self._compact(columns, len(km[rows]))
            answer_length[rows] = answer[1].sum(axis=1) + 1
        return PairTokens(tokens, length - answer_length, length)

    def probe_prompt(self, ids: ArrayLike) -> tuple[Tokens, NDArray[np.int32]]:
        """Prompts that end where the second city would follow, prefix included, for city ids [n].

        `<bos>dist(c_{id},c_` (characters) or `<bos>dist(c_{id},` (city). Returns the tokens [n, L], padded on the
        right, and the index [n] of each row's last token. Raises UserError for an id outside the vocabulary.
        """
        cities = self._city_ids(ids)
        prefix = np.array(self.prefix())
        end = ",c_" if self.kind == "characters" else ","
        columns = [(prefix, np.ones(len(prefix), bool)), self._cities(cities), self._constant(end)]
        tokens, length = self._compact(columns, len(cities))
        return tokens, length - 1

    def _city_ids(self, ids: ArrayLike) -> NDArray[np.int64]:
        ids = np.asarray(ids)
        if ids.ndim != 1 or (ids.size and not np.issubdtype(ids.dtype, np.integer)):
            raise UserError(f"city ids must be one row of integers, not {ids.dtype} of shape {ids.shape}")
        outside = np.flatnonzero((ids < 0) | (ids >= self.n_cities))
        if len(outside):
            raise UserError(f"row {outside[0]}: no city has id {ids[outside[0]]} (ids are 0 .. {self.n_cities - 1})")
        return ids.astype(np.int64, copy=False)

    def _cities(self, ids: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Columns that name a city: its digits, or its one token."""
        if self.kind == "characters":
            return _digits(ids, self.id_digits)
        return (len(SYMBOLS) + ids)[:, None], np.array([True])

    def _constant(self, text: str) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        return np.array([TOKEN[symbol] for symbol in text]), np.ones(len(text), bool)

    def _compact(
        self, columns: Sequence[tuple[NDArray[Any], NDArray[np.bool_]]], n: int
    ) -> tuple[Tokens, NDArray[np.int32]]:
        """Columns side by side, (tokens, keep) each of shape [n, w] or [w], into left-aligned rows [n, sum of w]."""
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
        for token, marker in enumerate(MARKERS):
            joined = joined.replace(marker, chr(token))
        raw = np.frombuffer((joined + "\n").encode("utf-8", "surrogatepass"), np.uint8)
        tokens = _TOKEN_OF_BYTE[raw]
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
        tokens[at] = np.where(exists, len(SYMBOLS) + value, UNKNOWN)
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
                if symbol not in TOKEN and not (plain[position] == " " and symbol != " "):
                    raise UserError(
                        f"row {row}: character {symbol!r} at position {position} of {text!r} has no token; "
                        "the vocabulary is ( ) , = _ a-z 0-9 and <pad> <bos> <eos>"
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
        spelling, nothing, end_of_row = _spelling(self.kind, self.n_cities), self.size, self.size + 1
        texts: list[str] = []
        for start in range(0, len(ids), CHUNK_ROWS):
            rows = ids[start : start + CHUNK_ROWS]
            length = np.where(rows != PAD, np.arange(1, rows.shape[1] + 1), 0).max(axis=1, initial=0)
            shown = np.full((len(rows), rows.shape[1] + 1), end_of_row)
            shown[:, :-1] = np.where(np.arange(rows.shape[1]) < length[:, None], rows, nothing)
            texts += spelling[shown].tobytes().translate(None, b"\0").decode("ascii").split("\n")[:-1]
        return texts

    # files

    def save_transformers(self, folder: Path | str) -> None:
        """Write tokenizer.json, tokenizer_config.json (for `AutoTokenizer`) and vocabulary.json (for `load`)."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        files = {
            "tokenizer.json": _tokenizer_json(_symbols(self.kind, self.n_cities)),
            "tokenizer_config.json": {
                "tokenizer_class": "Qwen2Tokenizer",
                "pad_token": "<pad>",
                "bos_token": "<bos>",
                "eos_token": "<eos>",
                "unk_token": None,
                "add_bos_token": False,
                "add_prefix_space": False,
                "clean_up_tokenization_spaces": False,
                "padding_side": "right",
                "model_max_length": 32,
            },
            "vocabulary.json": {"kind": self.kind, "n_cities": self.n_cities},
        }
        for name, content in files.items():
            (folder / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path | str) -> Vocabulary:
        """The vocabulary saved in a folder. Raises UserError if vocabulary.json is missing or not ours."""
        path = Path(folder) / "vocabulary.json"
        try:
            content = read_json(path)
        except FileNotFoundError:
            raise UserError(f"{path}: no such file; a checkpoint written by atlantis has one") from None
        kind, n_cities = content.get("kind"), content.get("n_cities")
        if kind not in get_args(Kind) or type(n_cities) is not int or not 1 <= n_cities <= MAX_CITIES:
            kinds = " or ".join(map(json.dumps, get_args(Kind)))
            raise UserError(f'{path}: expected {{"kind": {kinds}, "n_cities": 1 to {MAX_CITIES:,}}}')
        return cls(cast(Kind, kind), n_cities)


def _token_of_byte() -> NDArray[np.int32]:
    """[256]: the token of a byte, where the markers stand as bytes 0, 1, 2."""
    table = np.full(256, UNKNOWN, np.int32)
    table[[PAD, BOS, EOS]] = PAD, BOS, EOS
    for symbol, token in TOKEN.items():
        if len(symbol) == 1:
            table[ord(symbol)] = token
    table[SEPARATOR] = END_OF_ROW
    return table


_TOKEN_OF_BYTE = _token_of_byte()


def _is_digit(raw: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return (raw >= ord("0")) & (raw <= ord("9"))


def _digits(numbers: NDArray[Any], width: int) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """Digit tokens [n, width] of non-negative integers, zero-padded on the left, and which of them are written."""
    tokens, keep = np.empty((len(numbers), width), np.int16), np.empty((len(numbers), width), bool)
    rest = numbers
    for column in range(width - 1, -1, -1):
        keep[:, column] = (rest > 0) | (column == width - 1)
        tens = rest // 10
        tokens[:, column] = ZERO + rest - 10 * tens
        rest = tens
    return tokens, keep


@lru_cache(maxsize=8)
def _symbols(kind: Kind, n_cities: int) -> tuple[str, ...]:
    """The text of every token."""
    return SYMBOLS + (tuple(f"c_{city}" for city in range(n_cities)) if kind == "city" else ())


@lru_cache(maxsize=8)
def _spelling(kind: Kind, n_cities: int) -> NDArray[np.bytes_]:
    """The text of every token, then no text, and a line's end; filled up with zero bytes to the longest's length."""
    return np.array([*_symbols(kind, n_cities), "", "\n"], np.bytes_)


def _tokenizer_json(symbols: Sequence[str]) -> dict[str, Any]:
    """The `tokenizers` library's description of the vocabulary: BPE without merges, cities as added tokens."""
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    added = [
        {"id": token, "content": symbol, **plain, "special": symbol in MARKERS}
        for token, symbol in enumerate(symbols)
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
        "vocab": {symbol: token for token, symbol in enumerate(SYMBOLS)},
        "merges": [],
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": model,
    }
