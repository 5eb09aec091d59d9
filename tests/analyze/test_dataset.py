"""The user's inputs: every format of file, what is taken of it, and everything that can be wrong with it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit.analyze import dataset_file
from tracekit.analyze.dataset import Dataset, of_lengths
from tracekit.analyze.dataset_file import load_dataset
from tracekit.errors import MissingExtraError, UsageError

ROWS = [{"id": "a", "length": 5, "text": "one two  three"}, {"id": "b", "length": 2, "text": " "}, {"length": 5.0}]


def pairs(dataset: Dataset) -> list[tuple[float, int]]:
    return list(zip(dataset.lengths.tolist(), dataset.counts.tolist(), strict=True))


def lines(*values: Any) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


@pytest.mark.parametrize(
    ("name", "content", "options", "expected"),
    [
        ("a.txt", "5\n\n# comment\n2.5 # half\n 5\r\n1e1\n", {}, [(2.5, 1), (5, 2), (10, 1)]),
        ("a", "\ufeff5\n5\n", {}, [(5, 2)]),
        ("a.txt", "one two\n\nthree\n", {"tokenizer": "words"}, [(1, 1), (2, 1)]),
        ("a.txt", "é€\U0001f600\n", {"tokenizer": "characters"}, [(3, 1)]),
        ("a.jsonl", lines(*ROWS), {}, [(2, 1), (5, 2)]),
        ("a.jsonl", "\n" + lines(*ROWS) + "\n\n", {"field": "length"}, [(2, 1), (5, 2)]),
        ("a.jsonl", lines(*ROWS), {"field": "text"}, [(3, 1)]),
        ("a.jsonl", lines({"n": 3, "s": "x"}, {"s": "y"}, {"n": None}), {}, [(3, 1)]),
        ("a.jsonl", lines({"ids": [7, 8, 9]}, {"ids": []}), {}, [(3, 1)]),
        ("a.jsonl", lines(3, 4, 4), {}, [(3, 1), (4, 2)]),
        ("a.ndjson", lines("a b", "c"), {}, [(1, 1), (2, 1)]),
        ("a.log", lines(*ROWS), {}, [(2, 1), (5, 2)]),
        ("a.json", json.dumps(ROWS), {}, [(2, 1), (5, 2)]),
        ("a.json", "[[1, 2], [3]]", {}, [(1, 1), (2, 1)]),
        ("a.json", lines(*ROWS), {}, [(2, 1), (5, 2)]),
        ("a.csv", "id,n\na,5\nb,2\nc,\n", {}, [(2, 1), (5, 1)]),
        ("a.csv", "id;n\na;5\n", {}, [(5, 1)]),
        ("a.csv", "n,^n.*$\n5,7\n", {"field": "^n.*$"}, [(7, 1)]),  # a name, not a pattern
        ("a.csv", "n,*\n5,7\n", {"field": "*"}, [(7, 1)]),
        ("a.csv", "5\n2\n5\n", {}, [(2, 1), (5, 2)]),
        ("a.csv", 'id,text\na,"x, y\nz"\n', {"field": "text", "tokenizer": "words"}, [(3, 1)]),
        ("a.tsv", "id\ttext\n1\ta b\n2\tc\n", {"field": "text"}, [(1, 1), (2, 1)]),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_formats(
    tmp_path: Path, name: str, content: str, options: dict[str, Any], expected: list[Any], zipped: bool
) -> None:
    path = tmp_path / (f"{name}.gz" if zipped else name)
    path.write_bytes(gzip.compress(content.encode()) if zipped else content.encode())
    found = load_dataset(path, **options)
    assert pairs(found) == expected
    assert found.name == path.name


def test_parquet(tmp_path: Path) -> None:
    frame = pl.DataFrame({"n": [4, 9, 4], "t": ["a b", None, "c"], "ids": [[1], [1, 2], None]})
    frame.write_parquet(tmp_path / "a.parquet")
    frame.write_parquet(tmp_path / "no_suffix")
    assert pairs(load_dataset(tmp_path / "no_suffix")) == [(4, 2), (9, 1)]
    texts = load_dataset(tmp_path / "a.parquet", field="t")
    assert (pairs(texts), texts.dropped, texts.text, texts.measured) == ([(1, 1), (2, 1)], 1, True, "words of field t")
    ids = load_dataset(tmp_path / "a.parquet", field="ids")
    assert (pairs(ids), ids.text, ids.measured) == ([(1, 1), (2, 1)], False, "items of field ids")


def test_what_has_no_length_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(lines({"n": 0}, {"n": -3}, {"n": None}, {}, {"n": 7}))
    found = load_dataset(path, unit="tokens")
    assert (pairs(found), found.dropped, found.unit) == ([(7, 1)], 4, "tokens")


def test_a_tokenizer_file(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = {"[UNK]": 0, "un": 1, "##known": 2, "word": 3}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=64)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "a.jsonl").write_text(lines({"t": "unknown word word"}, {"t": "word"}, {"t": None}))
    found = load_dataset(tmp_path / "a.jsonl", tokenizer=str(tmp_path / "tokenizer.json"))
    assert pairs(found) == [(1, 1), (4, 1)]
    assert found.measured == "tokens of field t by tokenizer.json"


def test_without_the_tokenizers_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "a.txt").write_text("a b\n")
    with pytest.raises(MissingExtraError, match="tokenizers, which is not installed"):
        load_dataset(tmp_path / "a.txt", tokenizer=str(tmp_path / "tokenizer.json"))


@pytest.mark.parametrize(
    ("name", "content", "options", "reason"),
    [
        ("a.txt", "5\n6\nsix\n", {}, r"a.txt, line 3: 'six' is not a number; .* --tokenizer words"),
        ("a.txt", "5\nnan\n", {}, "line 2: 'nan' is not a number"),
        ("a.txt", "5\n1e999\n", {}, "line 2"),
        ("a.txt", "5\n\x1b[31m\n", {}, r"line 2: '\\\\x1b\[31m'"),
        ("a.txt", "5\n6\n", {"tokenizer": "words"}, "holds numbers, which are lengths: leave --tokenizer out"),
        ("a.txt", "5\n", {"field": "n"}, "plain text, which has no fields"),
        ("a.txt", "a\n", {"tokenizer": "letters"}, "--tokenizer is words, characters or the path"),
        ("a.txt", "", {}, "no input has a length above zero"),
        ("a.txt", "0\n-1\n", {}, r"no input has a length above zero \(2 rows\)"),
        ("a.jsonl", '{"n": 1}\n{"n": \n', {}, "a.jsonl, line 2: no JSON"),
        ("a.jsonl", "[" * 100_000, {}, "line 1: no JSON"),
        ("a.jsonl", lines({"n": 1}, {"n": "x"}), {}, "line 2: field n is a text, where others are a number"),
        ("a.jsonl", lines({"n": 1}, {"n": True}), {}, "line 2: field n is neither"),
        ("a.jsonl", lines(*ROWS), {"field": "m"}, r"no field m; it has: id \(text\), length \(number\), text \(text\)"),
        ("a.jsonl", lines({"a": 1, "b": 2}), {}, r"which column\? Name it by --field: a \(number\), b \(number\)"),
        ("a.jsonl", lines({"a\x1b\u202e": 1, "b": 2}), {}, r"a\\x1b\\u202e"),
        ("a.jsonl", lines({"a": {"b": 1}}), {"field": "a"}, r"neither numbers, texts nor lists; it has: a \(other\)"),
        ("a.jsonl", lines(1, 2), {"field": "a"}, "holds no objects"),
        ("a.jsonl", lines({"n": 1}), {"tokenizer": "words"}, "field n is a number: --tokenizer is for texts"),
        ("a.jsonl", lines(True), {}, "neither numbers"),
        ("a.jsonl", '{"n": 1}\n{"n": ' + "9" * 400 + "}", {}, "a number that is too large"),
        ("a.jsonl", '{"t": "\\ud800"}', {}, "line 1: no JSON"),
        ("a.jsonl", "\n\n", {}, "it is empty"),
        ("a.json", '"a"', {}, "it is no array"),
        ("a.json", "[1, ", {}, "no JSON"),
        ("a.csv", "n\n" + "1\n" * 1200 + "x\n", {}, "row 1201: 'x' in n is not a number"),
        ("a.csv", "a,b\n1,2\n", {}, r"which column\?"),
        ("a.csv", "", {}, "a.csv"),
        ("a.parquet", "no", {}, "a.parquet"),
        ("a.txt.gz", "\x1f\u008b no", {}, "damaged gzip"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    tmp_path: Path, name: str, content: str, options: dict[str, Any], reason: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode("latin-1" if name.endswith("gz") else "utf-8"))
    with pytest.raises(UsageError, match=reason) as caught:
        load_dataset(path, **options)
    assert str(caught.value).isprintable()


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        load_dataset(tmp_path / "missing")
    with pytest.raises(UsageError, match="not a regular file"):
        load_dataset(tmp_path)


def test_sizes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_file, "MOST_INFLATED", 1 << 20)
    monkeypatch.setattr(dataset_file, "LONGEST_LINE", 1000)
    monkeypatch.setattr(dataset_file, "MOST_JSON", 1000)
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(b"1" * (2 << 20)))
    (tmp_path / "line.txt").write_text("5\n" + "1" * 2000)
    (tmp_path / "big.json").write_text(json.dumps(list(range(1000))))
    for name, reason in (("bomb.gz", "inflates"), ("line.txt", "after line 0 is longer"), ("big.json", "1 GiB")):
        with pytest.raises(UsageError, match=reason):
            load_dataset(tmp_path / name)


def test_chunks_are_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_file, "CHUNK", 3)
    (tmp_path / "a.txt").write_text("".join(f"{n % 4 + 1}\n" for n in range(10)))
    (tmp_path / "a.jsonl").write_text(lines(*({"n": n % 4 + 1} for n in range(10))))
    for name in ("a.txt", "a.jsonl"):
        assert pairs(load_dataset(tmp_path / name)) == [(1, 3), (2, 3), (3, 2), (4, 2)]
    (tmp_path / "a.txt").write_text("1\n" * 7 + "x\n")
    with pytest.raises(UsageError, match="line 8"):
        load_dataset(tmp_path / "a.txt")


lengths = st.lists(st.floats(0.5, 1e6), min_size=1, max_size=60)


@given(lengths, st.floats(0.01, 1))
def test_quantiles_are_lengths_that_are_there(values: list[float], share: float) -> None:
    found = of_lengths(values).quantile(share)
    assert found == np.quantile(values, share, method="inverted_cdf") or np.isclose(
        share * len(values) % 1, 0, atol=1e-9
    )
    assert found in values


@given(lengths, st.integers(2, 20))
def test_thinning_keeps_sums_and_the_longest(values: list[float], most: int) -> None:
    dataset = of_lengths(values)
    thin = dataset.thinned(most)
    assert len(thin.lengths) <= most or len(dataset.lengths) <= most
    assert thin.size == dataset.size
    assert thin.total == pytest.approx(dataset.total)
    assert thin.lengths[-1] == pytest.approx(dataset.lengths[-1])
    assert (np.diff(thin.lengths) > 0).all()


def test_shares() -> None:
    dataset = of_lengths([1, 2, 2, 5])
    assert (dataset.share(2), dataset.share(2, 5), dataset.share(high=2)) == (0.75, 0.5, 0.25)
    assert dataset.length_share(5) == 0.5
    assert dataset.quantiles() == {"5%": 1, "50%": 2, "95%": 5, "longest": 5}


@pytest.mark.parametrize("values", [[], [0.0], [float("nan")], [-1.0]])
def test_lengths_are_above_zero(values: list[float]) -> None:
    with pytest.raises(UsageError, match="above zero"):
        of_lengths(values)
