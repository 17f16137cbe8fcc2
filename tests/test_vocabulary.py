"""Both vocabularies: the study's numbers, round trips, refusals, and the same ids from transformers."""

import json
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlantis.data.encoding import TokenRows, encode, longest_row, prefix, probe_prompt, read_answers
from atlantis.errors import UserError
from atlantis.tasks.checking import errors_of
from atlantis.tasks.distance import DISTANCE
from atlantis.vocabulary import SYMBOLS, Vocabulary
from tests.distances import FORM, completion, prompt, text

CHARACTERS = Vocabulary("characters", 5_175)
CITY = Vocabulary("city", 5_175)
BOTH = pytest.mark.parametrize("vocabulary", [CHARACTERS, CITY], ids=["characters", "city"])


def rows(ids, lengths):
    return [row[:length].tolist() for row, length in zip(ids, lengths, strict=True)]


# the study's numbers


def test_the_44_symbols():
    assert len(SYMBOLS) == len(set(SYMBOLS)) == CHARACTERS.size == 44
    assert SYMBOLS[:8] == ("<pad>", "<bos>", "<eos>", "(", ")", ",", "=", "_")
    assert (SYMBOLS[8], SYMBOLS[33], SYMBOLS[34], SYMBOLS[43]) == ("a", "z", "0", "9")
    assert (CHARACTERS.pad, CHARACTERS.bos, CHARACTERS.eos) == (0, 1, 2)
    assert CITY.size == 44 + 5_175


def test_one_row_by_hand():
    text = "<bos>dist(c_12,c_5101)=4821<eos>"
    ids, lengths = CHARACTERS.encode([text])
    d, i, s, t, c = (8 + ord(letter) - ord("a") for letter in "distc")
    by_hand = [1, d, i, s, t, 3, c, 7, 35, 36, 5, c, 7, 39, 35, 34, 35, 4, 6, 38, 42, 36, 35, 2]
    assert rows(ids, lengths) == [by_hand]
    ids, lengths = CITY.encode([text])
    assert rows(ids, lengths) == [[1, d, i, s, t, 3, 44 + 12, 5, 44 + 5101, 4, 6, 38, 42, 36, 35, 2]]


def test_lengths_are_fixed_by_the_number_of_cities():
    assert (len(prefix(FORM, CHARACTERS)), longest_row(FORM, CHARACTERS)) == (8, 19)
    assert (len(prefix(FORM, CITY)), longest_row(FORM, CITY)) == (6, 11)
    assert longest_row(FORM, Vocabulary("characters", 10_000)) == 19
    assert longest_row(FORM, Vocabulary("characters", 10_001)) == 21
    assert longest_row(FORM, Vocabulary("characters", 10)) == 13


def test_small_integers_where_they_fit():
    assert CHARACTERS.encode(["a"])[0].dtype == np.int16
    assert encode_pairs(Vocabulary("city", 100_000), [99_999], [0], [1]).tokens.dtype == np.int32


# pairs


def encode_pairs(vocabulary: Vocabulary, first, second, km) -> TokenRows:
    return encode(FORM, vocabulary, np.stack([first, second], axis=1), np.asarray(km))


@BOTH
@settings(max_examples=30)
@given(data=st.data())
def test_pairs_are_their_text_without_the_prefix(vocabulary, data):
    n_cities = data.draw(st.sampled_from([1, 9, 10, 11, 100, 5_175, 40_000, 123_456]))
    vocabulary = Vocabulary(vocabulary.kind, n_cities)
    city = st.integers(0, n_cities - 1)
    pairs = data.draw(st.lists(st.tuples(city, city, st.integers(0, 99_999)), min_size=1, max_size=20))
    first, second, km = np.array(pairs).T
    got = encode_pairs(vocabulary, first, second, km)
    prompts = [prompt(i, j) for i, j, _ in pairs]
    ids, lengths = vocabulary.encode([p + completion(k) for p, (_, _, k) in zip(prompts, pairs, strict=True)])
    start = prefix(FORM, vocabulary)
    assert (ids[:, : len(start)] == start).all()
    assert rows(got.tokens, got.length) == [row[len(start) :] for row in rows(ids, lengths)]
    assert (got.prompt_length == vocabulary.encode(prompts)[1] - len(start)).all()
    assert got.tokens.shape == (len(pairs), longest_row(FORM, vocabulary))
    assert (got.tokens[np.arange(longest_row(FORM, vocabulary)) >= got.length[:, None]] == vocabulary.pad).all()


@BOTH
def test_many_pairs_cross_the_chunks(vocabulary, monkeypatch):
    first, second, km = np.arange(100), np.arange(5_000, 5_100), np.arange(100) ** 2
    whole = encode_pairs(vocabulary, first, second, km)
    monkeypatch.setattr("atlantis.data.encoding.CHUNK_ROWS", 7)
    chunked = encode_pairs(vocabulary, first, second, km)
    for name in ("tokens", "prompt_length", "length"):
        a, b = getattr(whole, name), getattr(chunked, name)
        assert np.array_equal(a, b) and a.dtype == b.dtype, name


@BOTH
def test_probe_prompts(vocabulary):
    tokens, last = probe_prompt(FORM, vocabulary, [0, 12, 5_174])
    end = ",c_" if vocabulary is CHARACTERS else ","
    texts = [f"<bos>dist(c_{city}{end}" for city in (0, 12, 5_174)]
    assert vocabulary.decode(tokens) == texts
    ids, lengths = vocabulary.encode(texts)
    assert np.array_equal(tokens, ids) and np.array_equal(last, lengths - 1)


@BOTH
def test_no_pairs(vocabulary):
    nothing = np.zeros(0, np.int32)
    assert encode_pairs(vocabulary, nothing, nothing, nothing).tokens.shape == (0, longest_row(FORM, vocabulary))
    assert vocabulary.encode([])[0].shape == (0, 0)
    assert vocabulary.decode(np.zeros((0, 5), int)) == []


# text and back


@BOTH
@settings(max_examples=100)
@given(texts=st.lists(st.lists(st.sampled_from([*SYMBOLS, "c_0", "c_12", "c_5174"])).map("".join), max_size=8))
def test_round_trip(vocabulary, texts):
    texts = [text.replace("<pad>", "") for text in texts]
    try:
        ids, lengths = vocabulary.encode(texts)
    except UserError as error:  # by chance a city that does not exist
        assert "is no city" in str(error) and vocabulary is CITY
        return
    assert vocabulary.decode(ids) == texts
    assert ids.shape == (len(texts), max(lengths, default=0))


def test_padding_inside_a_row_is_kept():
    ids, lengths = CHARACTERS.encode(["a<pad>b", "a<pad>", ""])
    assert lengths.tolist() == [3, 2, 0]
    assert CHARACTERS.decode(ids) == ["a<pad>b", "a", ""]


def test_the_longest_city_is_taken():
    ids, lengths = CITY.encode(["c_12,c_123,c_1,c_,c_c_7"])
    c, low, comma = 10, 7, 5
    assert rows(ids, lengths) == [[56, comma, 167, comma, 45, comma, c, low, comma, c, low, 51]]


def test_many_rows_cross_the_chunks(monkeypatch):
    texts = ["a" * (k % 7) + f"c_{k}" for k in range(100)]
    whole = CITY.encode(texts)
    monkeypatch.setattr("atlantis.data.encoding.CHUNK_ROWS", 7)
    for a, b in zip(whole, CITY.encode(texts), strict=True):
        assert np.array_equal(a, b)
    assert CITY.decode(whole[0]) == texts
    with pytest.raises(UserError, match="row 99: character 'X'"):
        CITY.encode([*texts[:99], "X"])


# refusals


@BOTH
@pytest.mark.parametrize("bad", ["A", "é", " ", "\n", "\r", "\x00", "\x01", "<", "<boss>", "\ud800", "日", "\xa0", "٣"])
def test_an_unknown_character_is_refused(vocabulary, bad):
    with pytest.raises(UserError, match=r"row 2: character .* at position 1"):
        vocabulary.encode(["a", "<bos>", "a" + bad, "Z"])


@pytest.mark.parametrize("bad", ["c_5175", "c_51740", "c_012", "c_00", "c_" + "9" * 5_000])
def test_an_unknown_city_is_refused(bad):
    with pytest.raises(UserError, match=r"row 1: 'c_\d+' .* is no city of this vocabulary \(c_0 .. c_5174"):
        CITY.encode(["c_5174", f"dist({bad},c_1"])
    CHARACTERS.encode([bad])  # only digits there


@BOTH
@pytest.mark.parametrize(
    "first, second, km, message",
    [
        ([0, 5_175], [1, 1], [1, 1], r"row 1: no city has id 5175 \(ids are 0 .. 5174\)"),
        ([0, 1], [1, -1], [1, 1], "row 1: no city has id -1"),
        ([0, 1], [1, 2], [100_000, 1], "row 0: the answer 100000 is outside"),
        ([0, 1], [1, 2], [1, -1], "row 1: the answer -1 is outside"),
        ([0, 1], [1, 2], [1], "2 rows of cities and 1 answers"),
        ([0.5], [1], [1], "must be one row of integers"),
    ],
)
def test_impossible_pairs_are_refused(vocabulary, first, second, km, message):
    with pytest.raises(UserError, match=message):
        encode_pairs(vocabulary, first, second, km)


@BOTH
def test_impossible_tokens_are_refused(vocabulary):
    with pytest.raises(UserError, match=rf"row 1: token {vocabulary.size} is outside"):
        vocabulary.decode([[0], [vocabulary.size]])
    with pytest.raises(UserError, match="not one text"):
        vocabulary.encode("dist")


def test_impossible_vocabularies_are_refused():
    with pytest.raises(UserError, match="use one of characters, city"):
        Vocabulary("words", 5)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="at least one city"):
        Vocabulary("city", 0)


# files


@BOTH
@pytest.mark.parametrize("beside_a_model", [False, True])
def test_transformers_reads_the_same_ids(vocabulary, beside_a_model, tmp_path):
    from transformers import AutoTokenizer

    vocabulary.save_transformers(tmp_path)
    if beside_a_model:
        config = {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "vocab_size": vocabulary.size}
        (tmp_path / "config.json").write_text(json.dumps(config))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    rng = np.random.Generator(np.random.PCG64(0))
    pairs = [*zip(*rng.integers(0, 5_175, (2, 300)).tolist(), rng.integers(0, 20_016, 300).tolist(), strict=True)]
    pairs += [(1, 12, 0), (12, 123, 9), (123, 1, 20_015), (5_174, 517, 10)]
    texts = [prompt(i, j) + completion(km) for i, j, km in pairs]
    texts += ["<bos>dist(c_7,c_", "<bos>", "<pad><eos>", "abcdefghijklmnopqrstuvwxyz0123456789_=,()", "c_1c_12c_123"]
    ids, lengths = vocabulary.encode(texts)
    read = partial(tokenizer, add_special_tokens=False)
    assert read(texts)["input_ids"] == rows(ids, lengths)
    assert tokenizer.batch_decode(rows(ids, lengths)) == texts
    assert read(texts, padding=True, padding_side="right")["input_ids"] == ids.tolist()
    assert tokenizer([text.removeprefix("<bos>") for text in texts[:300]])["input_ids"] == rows(ids, lengths)[:300]
    assert tokenizer.decode(ids[0].tolist(), skip_special_tokens=True) == text(*pairs[0])
    assert tokenizer("aé b")["input_ids"] == [
        vocabulary.bos,
        8,
        9,
    ]  # without an unknown token it drops what it does not know
    assert len(tokenizer) == vocabulary.size
    special = (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id)
    assert special == (vocabulary.pad, vocabulary.bos, vocabulary.eos)


@BOTH
def test_the_tokenizers_library_alone_puts_bos_first(vocabulary, tmp_path):
    from tokenizers import Tokenizer

    vocabulary.save_transformers(tmp_path)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    ids, lengths = vocabulary.encode(["<bos>dist(c_12,c_5101)="])
    assert tokenizer.encode("dist(c_12,c_5101)=").ids == rows(ids, lengths)[0]
    assert tokenizer.encode("<bos>dist(c_12,c_5101)=", add_special_tokens=False).ids == rows(ids, lengths)[0]


@BOTH
def test_saved_and_loaded(vocabulary, tmp_path):
    vocabulary.save_transformers(tmp_path / "a")
    vocabulary.save_transformers(tmp_path / "b")
    assert Vocabulary.load(tmp_path / "a") == vocabulary
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_loading_what_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"vocabulary.json: no such file"):
        Vocabulary.load(tmp_path)
    for content in ("[]", "{", '{"kind": "city"}', '{"kind": "words", "n_cities": 3}'):
        (tmp_path / "vocabulary.json").write_text(content)
        with pytest.raises(UserError, match=r"vocabulary.json:( expected|1: not valid JSON| must hold one)"):
            Vocabulary.load(tmp_path)


# the task


def read(vocabulary: Vocabulary, *answers: str) -> list[int]:
    return read_answers(FORM, vocabulary.encode(answers)[0]).tolist()


@settings(max_examples=50)
@given(km=st.integers(0, 20_015))
def test_an_answer_is_read_back(km):
    assert read(CHARACTERS, completion(km), completion(km) + "<pad><pad>") == [km, km]
    assert errors_of(DISTANCE, np.array([km]), np.array([100])).tolist() == [abs(km - 100)]


@pytest.mark.parametrize(
    "answer", ["<eos>", "12", "12<pad>", "1c2<eos>", "12<eos>3", "1<pad>2<eos>", "<pad><eos>", "="]
)
def test_an_unreadable_answer_costs_half_the_circumference(answer):
    assert read(CHARACTERS, answer, "77<eos>") == [-1, 77]
    assert DISTANCE.penalty == pytest.approx(20_015.087)
    assert errors_of(DISTANCE, np.array([-1, 90]), np.array([100, 100])).tolist() == [DISTANCE.penalty, 10.0]


def test_text_columns_are_the_scalar_functions():
    columns = FORM.text_columns(np.array([[12, 5101], [0, 7]], np.int32), np.array([4821, 0]))
    for row, (i, j, km) in enumerate([(12, 5101, 4821), (0, 7, 0)]):
        assert columns["prompt"][row].as_py() == prompt(i, j)
        assert columns["completion"][row].as_py() == completion(km)
        assert columns["text"][row].as_py() == text(i, j, km)
