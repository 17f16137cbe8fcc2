"""Rows of a task as tokens: what a form's template means in a vocabulary. All on whole arrays.

    <bos>dist(c_12,c_5101)=4821<eos>      with characters           with one token per city
    prefix, the same in every row         <bos> d i s t ( c _       <bos> d i s t (
    the rest of the prompt                1 2 , c _ 5 1 0 1 ) =     c_12 , c_5101 ) =
    completion                            4 8 2 1 <eos>             4 8 2 1 <eos>

Rows are encoded from their numbers, not from text: fixed-width columns and a mask, then one compaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from atlantis.errors import UserError
from atlantis.tasks import Questions, Task
from atlantis.tasks.form import ABSENT, Form, Ints
from atlantis.vocabulary import (
    BOS,
    CHUNK_ROWS,
    EOS,
    PAD,
    SPELLED,
    TOKEN,
    ZERO,
    Columns,
    Tokens,
    Vocabulary,
    digits,
    needed_version,
)


@dataclass(frozen=True)
class TokenRows:
    """Encoded rows without the prefix of their form, padded on the right with `<pad>`."""

    tokens: Tokens
    """[n, L]: `12,c_5101)=4821<eos>` (characters) or `c_12,c_5101)=4821<eos>` (city)."""
    prompt_length: NDArray[np.int32]
    """[n]: tokens up to and including `=`; the completion starts at this index."""
    length: NDArray[np.int32]
    """[n]: tokens up to and including `<eos>`."""


def prefix(form: Form, vocabulary: Vocabulary) -> list[int]:
    """The tokens every prompt starts with: `<bos>dist(c_` (8, characters) or `<bos>dist(` (6, city)."""
    return [BOS, *(TOKEN[symbol] for symbol in _before(form, vocabulary)[0])]


def needed_by(tasks: Iterable[Task]) -> int:
    """The version of the vocabulary that has all symbols of these tasks. Raises UserError if none has."""
    needed = 1
    for task in tasks:
        try:
            needed = max(needed, needed_version(task.form.symbols))
        except UserError as error:
            raise UserError(f"task {task.name}: {error}") from None
    return needed


def check_symbols(vocabulary: Vocabulary, tasks: Iterable[Task], of: str) -> None:
    """UserError for a task that is written with symbols that this vocabulary, of the model `of`, does not have."""
    for task in tasks:
        if vocabulary.kind == "city" and task.form.id_digits > 1:
            raise UserError(
                f"task {task.name}: its cities are written with {task.form.id_digits} digits, and {of} has one token "
                "per city; a model with tokenizer.kind=characters can write them"
            )
        missing = sorted(task.form.symbols - set(vocabulary.symbols))
        if missing:
            raise UserError(
                f"task {task.name}: its rows have {' '.join(missing)}, and {of} has no such symbols (its vocabulary is "
                f"{SPELLED[vocabulary.version]}); a model trained from scratch with tokenizer.version="
                f"{needed_by([task])} has them"
            )


def longest_row(form: Form, vocabulary: Vocabulary) -> int:
    """L of `encode`: the longest row without its prefix (distance: 19 for 4-digit ids, 11 with city tokens)."""
    before = sum(map(len, _before(form, vocabulary)[1:]))
    cities = form.seats * (max(vocabulary.id_digits, form.id_digits) if vocabulary.kind == "characters" else 1)
    return before + cities + len(form.close) + form.answer_length


def longest_whole_row(form: Form, vocabulary: Vocabulary) -> int:
    """The longest row with its prefix: what a model's context must hold."""
    return len(prefix(form, vocabulary)) + longest_row(form, vocabulary)


def encode(form: Form, vocabulary: Vocabulary, cities: ArrayLike, answer: ArrayLike) -> TokenRows:
    """Rows of a form, without its prefix, from city ids (n, k) and answers (n,).

    Raises UserError for an id outside the vocabulary, an answer that the form cannot write, or unequal lengths.
    """
    cities, answer = np.asarray(cities), np.asarray(answer)
    if len(cities) != len(answer):
        raise UserError(f"{len(cities)} rows of cities and {len(answer)} answers")
    outside = np.flatnonzero((answer < 0) | (answer >= form.n_answers))
    if len(outside):
        raise UserError(f"row {outside[0]}: the answer {answer[outside[0]]} is outside 0 .. {form.n_answers - 1}")
    # In a seat that every row takes, a missing city is a mistake and not an empty seat.
    always = np.isin(np.arange(form.seats), form.seated(form.least_cities))
    columns = []
    for seat, ids in enumerate(cities.T):
        present = np.full(len(ids), True) if always[seat] else ids != ABSENT
        columns.append((vocabulary.city_ids(np.where(present, ids, 0)), present))
    n, width = len(answer), longest_row(form, vocabulary)
    tokens, length = np.empty((n, width), vocabulary.dtype), np.empty(n, np.int32)
    answer_length = np.empty(n, np.int32)
    close, end = vocabulary.constant(form.close), (np.array([EOS]), np.array([True]))
    written = _answers(form)
    for start in range(0, n, CHUNK_ROWS):  # few enough rows to stay in the processor's cache
        rows = slice(start, start + CHUNK_ROWS)
        parts = written(answer[rows])
        question = _cities(form, vocabulary, [(ids[rows], present[rows]) for ids, present in columns])
        tokens[rows], length[rows] = vocabulary.compact([*question, close, parts, end], len(answer[rows]))
        answer_length[rows] = parts[1].sum(axis=1) + 1
    return TokenRows(tokens, length - answer_length, length)


def encode_questions(questions: Questions, vocabulary: Vocabulary) -> tuple[list[int], TokenRows]:
    """Rows of one or several tasks without the longest prefix that they all share, which comes first."""
    parts = questions.by_task() or [(questions.tasks[0], slice(None))]
    prefixes = [prefix(task.form, vocabulary) for task, _ in parts]
    encoded = [
        encode(task.form, vocabulary, questions.cities[rows][:, : task.form.seats], questions.answer[rows])
        for task, rows in parts
    ]
    if len(parts) == 1:
        return prefixes[0], encoded[0]
    shared = prefixes[0][: common_length(prefixes)]
    width = max(len(start) + part.tokens.shape[1] - len(shared) for start, part in zip(prefixes, encoded, strict=True))
    tokens = np.full((len(questions), width), PAD, vocabulary.dtype)
    prompt_length, length = np.empty(len(questions), np.int32), np.empty(len(questions), np.int32)
    for (_, rows), start, part in zip(parts, prefixes, encoded, strict=True):
        suffix = start[len(shared) :]
        tokens[rows, : len(suffix)] = suffix
        tokens[rows, len(suffix) : len(suffix) + part.tokens.shape[1]] = part.tokens
        prompt_length[rows], length[rows] = part.prompt_length + len(suffix), part.length + len(suffix)
    return shared, TokenRows(tokens, prompt_length, length)


def common_length(prefixes: Sequence[Sequence[int]]) -> int:
    """How many tokens all of them begin with."""
    differ = (i for i, column in enumerate(zip(*prefixes, strict=False)) if len(set(column)) > 1)
    return next(differ, min(map(len, prefixes)))


def probe_prompt(form: Form, vocabulary: Vocabulary, ids: ArrayLike) -> tuple[Tokens, NDArray[np.int32]]:
    """Prompts that end where the second city would follow, prefix included, for the first cities `ids` [n].

    `<bos>dist(c_{id},c_` (characters) or `<bos>dist(c_{id},` (city); up to the answer where there is no second city.
    Returns the tokens [n, L], padded on the right, and the index [n] of each row's last token. Raises UserError for an
    id outside the vocabulary.
    """
    cities = vocabulary.city_ids(ids)
    start = np.array(prefix(form, vocabulary))
    columns = [
        (start, np.ones(len(start), bool)),
        vocabulary.cities(cities, form.id_digits),
        vocabulary.constant(after_first(form, vocabulary)),
    ]
    tokens, length = vocabulary.compact(columns, len(cities))
    return tokens, length - 1


def probe_text(form: Form, vocabulary: Vocabulary, city: int) -> str:
    """The prompt of `probe_prompt` as text."""
    return f"<bos>{form.before_seat[0]}c_{city:0{form.id_digits}d}{after_first(form, vocabulary)}"


def read_answers(form: Form, tokens: NDArray[np.integer]) -> NDArray[np.int64]:
    """The answers (n,) in what a model wrote after the prompts, tokens (n, C); -1 where there is none.

    An answer is digits, or a word, closed by `<eos>`. What follows must be padding: a model that goes on has not
    answered.
    """
    tokens = np.asarray(tokens)
    length = np.where((tokens == EOS).any(axis=1), (tokens == EOS).argmax(axis=1), -1)  # up to the first `<eos>`
    column = np.arange(tokens.shape[1])
    closed = (length > 0) & ((tokens == PAD) | (column <= length[:, None])).all(axis=1)
    inside = column < length[:, None]
    if form.words:
        table, keep = _words(form)
        answers = np.full(len(tokens), -1)
        for i, (word, n) in enumerate(zip(table, keep.sum(axis=1), strict=True)):
            same = (length == n) & closed
            same[same] = (tokens[same][:, :n] == word[:n]).all(axis=1)
            answers[same] = i
        return answers
    digit = tokens - ZERO
    readable = closed & (((digit >= 0) & (digit <= 9)) | ~inside).all(axis=1)
    power = np.where(inside, 10 ** np.clip(length[:, None] - 1 - column, 0, 17).astype(np.int64), 0)
    return np.where(readable, (digit * power).sum(axis=1), -1)


def _before(form: Form, vocabulary: Vocabulary) -> list[str]:
    """The constant text before each city's own tokens."""
    return [text + ("c_" if vocabulary.kind == "characters" else "") for text in form.before_seat]


def after_first(form: Form, vocabulary: Vocabulary) -> str:
    """The text between the first city and the second one's own tokens, or the answer where there is no second."""
    return _before(form, vocabulary)[1] if form.seats > 1 else form.close


def _cities(form: Form, vocabulary: Vocabulary, seats: list[tuple[Ints, NDArray[np.bool_]]]) -> list[Columns]:
    """Columns of all cities and of what stands between them, without the prefix."""
    columns: list[Columns] = []
    for i, (before, (ids, present)) in enumerate(zip(_before(form, vocabulary), seats, strict=True)):
        parts = [vocabulary.constant(before), vocabulary.cities(ids, form.id_digits)][i == 0 :]
        if not present.all():
            parts = [(tokens, keep & present[:, None]) for tokens, keep in parts]
        columns += parts
    return columns


def _answers(form: Form) -> Callable[[Ints], Columns]:
    """A function from answers (n,) to their columns."""
    if not form.words:
        return lambda answer: digits(answer, form.digits)
    table, keep = _words(form)
    return lambda answer: (table[answer], keep[answer])


def _words(form: Form) -> Columns:
    """Tokens (n_words, longest) of the words, on the left, and which of them are written."""
    width = form.answer_length - 1
    keep = np.arange(width) < np.array([len(word) for word in form.words])[:, None]
    return np.array([[TOKEN[c] for c in word] + [PAD] * (width - len(word)) for word in form.words]), keep
