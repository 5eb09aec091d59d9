"""Read a file of lengths, of token ids, or of texts to measure, as a `Dataset`.

A file is a stranger's: it is streamed, bounded, and nothing in it runs.
"""

from __future__ import annotations

import gzip
import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import polars.selectors as cs

from tracekit.errors import MissingExtraError, UsageError
from tracekit.points import open_text
from tracekit.safety import first_line, sanitize

from .dataset import Dataset

CHUNK = 50_000  # rows measured at a time
MOST_INFLATED = 2 << 30  # bytes that a compressed file may hold
MOST_JSON = 1 << 30  # bytes of a .json file, which cannot be streamed
LONGEST_LINE = 64 << 20  # characters
TOKENIZERS = ("words", "characters")  # or the path of a tokenizer.json
_TEXT = "text"
_LIST = "list"
_NUMBER = "number"
_GZIP = b"\x1f\x8b"
_LISTED = 12  # columns that an error names

Measure = Callable[[pl.Expr], pl.Expr]


def load_dataset(
    path: Path | str, field: str | None = None, tokenizer: str | None = None, unit: str | None = None
) -> Dataset:
    """The lengths of the inputs in a file.

    Plain text: one number a line (`#` begins a comment), or with `tokenizer` one text a line. JSON (an array), JSON
    lines, CSV, TSV and Parquet, by suffix or else by content, compressed by gzip too (not Parquet): `field` names the
    column; a number is a length, a list counts its items (token ids), a text is measured by `tokenizer`: `words`
    (whitespace-separated; the default), `characters` (code points), or the path of a tokenizer.json. `unit`: what a
    length is, in the words of the study (tokens, seconds, pixels).

    Raises UsageError when the file cannot be read as one, naming the line; MissingExtraError without `tokenizers`.
    """
    path = Path(path)
    if not path.exists():
        raise UsageError(f"{sanitize(path)}: no such file")
    if not path.is_file():
        raise UsageError(f"{sanitize(path)}: not a regular file")
    return _Reader(path, field, tokenizer, unit).dataset()


class _Reader:
    """One file on its way to a dataset."""

    def __init__(self, path: Path, field: str | None, tokenizer: str | None, unit: str | None) -> None:
        self.path = path
        self.where = sanitize(path)
        self.field = field
        self.tokenizer = tokenizer
        self.unit = unit
        self.kind = _NUMBER
        self.measured = "lengths"

    def dataset(self) -> Dataset:
        """Read it. Raises as `load_dataset` does."""
        with self.path.open("rb") as file:
            zipped = file.read(2) == _GZIP
        if zipped:
            self._refuse_bombs()
        readers = {"json": self._json, "jsonl": self._json_lines, "csv": self._csv, "parquet": self._parquet}
        try:
            table = readers.get(self._format(), self._plain)()
        except pl.exceptions.PolarsError as error:
            raise UsageError(f"{self.where}: {first_line(error)}") from None
        except (EOFError, gzip.zlib.error, gzip.BadGzipFile) as error:  # type: ignore[attr-defined]
            raise UsageError(f"{self.where}: damaged gzip: {sanitize(error)}") from None
        good = table.filter(pl.col("length").is_finite() & (pl.col("length") > 0)).sort("length")
        dropped = int(table["count"].sum()) - int(good["count"].sum())
        if not good.height:
            raise UsageError(f"{self.where}: no input has a length above zero ({dropped:,} rows)")
        lengths, counts = good["length"].to_numpy().copy(), good["count"].to_numpy().astype(np.int64)
        return Dataset(self.path.name, lengths, counts, self.measured, self.unit, self.kind == _TEXT, dropped)

    def _refuse_bombs(self) -> None:
        inflated = 0
        try:
            with open_text(self.path) as file:
                while block := file.read(1 << 20):
                    inflated += len(block)
                    if inflated > MOST_INFLATED:
                        raise UsageError(f"{self.where}: it inflates to more than 2 GiB: unpack it first")
        except (EOFError, gzip.zlib.error, gzip.BadGzipFile) as error:  # type: ignore[attr-defined]
            raise UsageError(f"{self.where}: damaged gzip: {sanitize(error)}") from None

    def _format(self) -> str:
        """json, jsonl, csv, parquet, or the empty word for plain text."""
        with open_text(self.path) as file:
            head = file.read(4096)
        suffix = Path(self.path.name.lower().removesuffix(".gz")).suffix
        if head.startswith(b"PAR1") or suffix in (".parquet", ".pq"):
            return "parquet"
        start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
        known = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "csv"}
        if suffix in known:
            return known[suffix]
        if suffix == ".json":
            return "jsonl" if start == b"{" else "json"
        return "jsonl" if start == b"{" and suffix != ".txt" else ""

    # -- plain text

    def _plain(self) -> pl.DataFrame:
        if self.field is not None:
            raise UsageError(f"{self.where} is plain text, which has no fields: --field is for JSON, CSV and Parquet")
        if self.tokenizer is None:
            return _counted(self._numbers(number, lines) for number, lines in self._chunks())
        measure = self._measure_text("each line")
        texts = False
        tables = []
        for _, lines in self._chunks():
            column = pl.Series("value", lines).str.strip_chars_end("\r\n")
            full = column.filter(column.str.strip_chars().str.len_bytes() > 0)
            texts = texts or full.str.strip_chars().cast(pl.Float64, strict=False).null_count() > 0
            tables.append(_count(full.to_frame().lazy().select(length=measure(pl.col("value")))))
        if not texts:
            raise UsageError(f"{self.where} holds numbers, which are lengths: leave --tokenizer out")
        return _merged(tables)

    def _numbers(self, first: int, lines: list[str]) -> pl.LazyFrame:
        column = pl.Series("value", lines).str.replace(r"#[^\n]*", "").str.strip_chars()
        numbers = column.cast(pl.Float64, strict=False)
        bad = (numbers.is_null() | ~numbers.is_finite()) & (column.str.len_bytes() > 0)
        if bad.any():
            place = int(bad.arg_max() or 0)
            raise UsageError(
                f"{self.where}, line {first + place}: {sanitize(column[place], 60)!r} is not a number; "
                "for a file of texts, one a line, say how to measure them: --tokenizer words"
            )
        return numbers.filter(numbers.is_not_null()).to_frame("length").lazy()

    def _chunks(self) -> Iterator[tuple[int, list[str]]]:
        """Lines in chunks, each with the number of its first line."""
        with open_text(self.path) as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", errors="replace") as file:
            lines = iter(lambda: file.readline(LONGEST_LINE), "")
            first = 1
            while chunk := list(islice(lines, CHUNK)):
                if max(map(len, chunk)) >= LONGEST_LINE:
                    raise UsageError(f"{self.where}: a line after line {first - 1:,} is longer than 64 Mi characters")
                yield first, chunk
                first += len(chunk)

    # -- JSON

    def _json_lines(self) -> pl.DataFrame:
        return self._values(((first, self._decoded(first, lines)) for first, lines in self._chunks()), "line")

    def _decoded(self, first: int, lines: list[str]) -> list[Any]:
        """A value for each line, _BLANK for a line without one."""
        decoder = msgspec.json.Decoder()
        try:
            values = decoder.decode_lines("".join(lines))
            if len(values) == len(lines):
                return values
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            pass  # line by line: which one is it?
        found = []
        for number, line in enumerate(lines, first):
            try:
                found.append(decoder.decode(line) if line.strip() else _BLANK)
            except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
                raise UsageError(f"{self.where}, line {number}: no JSON: {sanitize(error)}") from None
        return found

    def _json(self) -> pl.DataFrame:
        with open_text(self.path) as file:
            data = file.read(MOST_JSON + 1)
        if len(data) > MOST_JSON:
            raise UsageError(f"{self.where}: more than 1 GiB of JSON in one value: write one value a line (.jsonl)")
        try:
            values = msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"))
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            raise UsageError(f"{self.where}: no JSON: {sanitize(error)}") from None
        if not isinstance(values, list):
            raise UsageError(f"{self.where}: it is no array: give an array of inputs, or one value a line (.jsonl)")
        return self._values(((i + 1, values[i : i + CHUNK]) for i in range(0, len(values), CHUNK)), "item")

    def _values(self, chunks: Iterator[tuple[int, list[Any]]], place: str) -> pl.DataFrame:
        """Lengths of decoded values: objects with a field, or bare numbers, texts or lists."""
        tables, measure = [], None
        for first, rows in chunks:
            seen = [row for row in rows if row is not _BLANK]
            if measure is None and seen:
                measure = self._choose_of_values(seen)
            values = self._field_of(rows, first, place)
            if measure is not None:
                dtype = pl.String if self.kind == _TEXT else pl.Float64
                try:
                    column = pl.Series("value", values, dtype=dtype)
                except OverflowError:
                    raise UsageError(f"{self.where}, {place} {first} or later: a number that is too large") from None
                tables.append(_count(column.to_frame().lazy().select(length=measure(pl.col("value")))))
        if measure is None:
            raise UsageError(f"{self.where}: it is empty")
        return _merged(tables)

    def _choose_of_values(self, rows: Sequence[Any]) -> Measure:
        if not isinstance(rows[0], dict):
            if self.field is not None:
                raise UsageError(f"{self.where} holds no objects, so that there is no field {sanitize(self.field)}")
            kind = next((kind for row in rows if (kind := _kind_of(row))), None)
            if kind is None:
                raise UsageError(f"{self.where}: its items are neither numbers, texts, lists nor objects")
            return self._measure(kind, "each item")
        kinds: dict[str, str | None] = {}
        for row in rows:
            for name, value in row.items() if isinstance(row, dict) else ():
                kinds[name] = kinds.get(name) or _kind_of(value)
        return self._choose(kinds)

    def _field_of(self, rows: Sequence[Any], first: int, place: str) -> list[Any]:
        """Numbers and texts as they are, the lengths of lists, None where there is none."""
        name = self.field
        values = [row.get(name) if type(row) is dict and name is not None else row for row in rows]
        if not set(map(type, values)) <= _PYTHON[self.kind]:
            for number, value in enumerate(values, first):
                kind = _kind_of(value)
                if value is not None and value is not _BLANK and kind != self.kind:
                    what = f"field {sanitize(name)}" if name is not None else "it"
                    said = f"{what} is {_article(kind)}, where others are {_article(self.kind)}"
                    raise UsageError(f"{self.where}, {place} {number}: {said}")
            values = [value for value in values if value is not _BLANK]
        return [None if value is None else len(value) for value in values] if self.kind == _LIST else values

    # -- tables

    def _csv(self) -> pl.DataFrame:
        options: dict[str, Any] = {"encoding": "utf8-lossy", "glob": False}
        with open_text(self.path) as file:
            head = file.readline(1 << 20).decode("utf-8-sig", "replace").strip()
        tabs = Path(self.path.name.lower().removesuffix(".gz")).suffix == ".tsv"
        options["separator"] = "\t" if tabs else ";" if ";" in head and "," not in head else ","
        options["has_header"] = not all(map(_is_number, head.split(options["separator"])))
        schema = pl.scan_csv(self.path, infer_schema_length=1000, **options).collect_schema()
        measure = self._choose({name: _kind_of_dtype(dtype) for name, dtype in schema.items()})
        column = pl.scan_csv(self.path, infer_schema=False, **options).select(value=cs.by_name(str(self.field)))
        if self.kind == _NUMBER:
            cast = pl.col("value").str.strip_chars().cast(pl.Float64, strict=False)
            bad = column.with_row_index("row").filter(pl.col("value").is_not_null() & cast.is_null()).head(1).collect()
            if bad.height:
                row, text = bad.row(0)
                raise UsageError(
                    f"{self.where}, row {row + 1}: {sanitize(text, 60)!r} in {sanitize(self.field)} is not a number"
                )
            column = column.select(value=cast)
        return _count(column.select(length=measure(pl.col("value"))))

    def _parquet(self) -> pl.DataFrame:
        frame = pl.scan_parquet(self.path, glob=False)
        measure = self._choose({name: _kind_of_dtype(dtype) for name, dtype in frame.collect_schema().items()})
        column = cs.by_name(str(self.field)).as_expr()  # a name, never a pattern
        if self.kind == _LIST:
            dtype = frame.collect_schema()[str(self.field)]
            column = column.list.len() if isinstance(dtype, pl.List) else column.arr.len()
        return _count(frame.select(length=measure(column)))

    # -- what to take, and how to measure it

    def _choose(self, kinds: Mapping[str, str | None]) -> Measure:
        """The user's field, or the one that is meant; remembered as `field`. Raises UsageError, listing the columns."""
        listed = ", ".join(f"{sanitize(name, 40)} ({kind or 'other'})" for name, kind in [*kinds.items()][:_LISTED])
        listed += ", ..." if len(kinds) > _LISTED else ""
        if self.field is None:
            self.field = _sensible(kinds, texts=self.tokenizer is not None)
            if self.field is None:
                raise UsageError(f"{self.where}: which column? Name it by --field: {listed}")
        if self.field not in kinds:
            raise UsageError(f"{self.where}: no field {sanitize(self.field)}; it has: {listed or 'none'}")
        kind = kinds[self.field]
        if kind is None:
            raise UsageError(
                f"{self.where}: field {sanitize(self.field)} holds neither numbers, texts nor lists; it has: {listed}"
            )
        return self._measure(kind, f"field {self.field}")

    def _measure(self, kind: str, what: str) -> Measure:
        self.kind = kind
        if kind == _TEXT:
            return self._measure_text(what)
        if self.tokenizer is not None:
            raise UsageError(f"{self.where}: {sanitize(what)} is {_article(kind)}: --tokenizer is for texts")
        self.measured = f"items of {what}" if kind == _LIST else f"lengths in {what}"
        return lambda column: column.cast(pl.Float64)

    def _measure_text(self, what: str) -> Measure:
        self.kind = _TEXT
        name = self.tokenizer or "words"
        if name in TOKENIZERS:
            self.measured = f"{name} of {what}"
            return _words if name == "words" else _characters
        tokenize = _tokenizer(Path(name))
        self.measured = f"tokens of {what} by {Path(name).name}"
        return lambda column: column.map_batches(tokenize, return_dtype=pl.Float64, is_elementwise=True)


_PYTHON: dict[str, set[type]] = {
    _NUMBER: {int, float, type(None)},
    _TEXT: {str, type(None)},
    _LIST: {list, type(None)},
}
_BLANK = object()  # a line of JSON lines without anything


def _words(column: pl.Expr) -> pl.Expr:
    return column.str.count_matches(r"\S+").cast(pl.Float64)


def _characters(column: pl.Expr) -> pl.Expr:
    return column.str.len_chars().cast(pl.Float64)


def _tokenizer(path: Path) -> Callable[[pl.Series], pl.Series]:
    """A function from texts to their numbers of tokens, special tokens included. Downloads nothing."""
    if not path.is_file():
        raise UsageError(f"--tokenizer is words, characters or the path of a tokenizer.json, not {sanitize(path)}")
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise MissingExtraError("collect", "tokenizers") from None
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the package raises nothing more precise
        raise UsageError(f"{sanitize(path)}: not a tokenizer.json: {first_line(error, 200)}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def count(texts: pl.Series) -> pl.Series:
        encoded = tokenizer.encode_batch([text or "" for text in texts])
        counts = pl.Series([len(one.ids) for one in encoded], dtype=pl.Float64)
        return pl.select(pl.when(texts.is_not_null()).then(counts)).to_series()

    return count


def _sensible(kinds: Mapping[str, str | None], texts: bool) -> str | None:
    """The column that is meant where none is named: `length`, the only numeric (or text) one, the only one."""
    wanted = _TEXT if texts else _NUMBER
    if kinds.get("length") == wanted:
        return "length"
    only = [name for name, kind in kinds.items() if kind == wanted] or [name for name, kind in kinds.items() if kind]
    return only[0] if len(only) == 1 else None


def _kind_of(value: Any) -> str | None:
    return next((kind for kind, types in _PYTHON.items() if value is not None and type(value) in types), None)


def _kind_of_dtype(dtype: pl.DataType) -> str | None:
    if dtype.is_numeric():
        return _NUMBER
    return _TEXT if dtype == pl.String else _LIST if isinstance(dtype, pl.List | pl.Array) else None


def _article(kind: str | None) -> str:
    return {_NUMBER: "a number", _TEXT: "a text", _LIST: "a list"}.get(kind or "", "neither number, text nor list")


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text.strip('" ')))
    except ValueError:
        return False


def _count(lengths: pl.LazyFrame) -> pl.DataFrame:
    """Distinct lengths and their counts; a missing length counts as NaN."""
    filled = lengths.select(pl.col("length").cast(pl.Float64).fill_null(math.nan))
    return filled.group_by("length").agg(count=pl.len().cast(pl.Int64)).collect(engine="streaming")


def _counted(chunks: Iterable[pl.LazyFrame]) -> pl.DataFrame:
    return _merged([_count(chunk) for chunk in chunks])


def _merged(tables: Sequence[pl.DataFrame]) -> pl.DataFrame:
    if not tables:
        return pl.DataFrame(schema={"length": pl.Float64, "count": pl.Int64})
    return pl.concat(tables).group_by("length").agg(pl.col("count").sum())
