"""SQL over the tables of `catalog`, by polars: only the tables that a statement names are made."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping

import polars as pl
from polars.exceptions import ColumnNotFoundError, PanicException, PolarsError

from tracekit.errors import UsageError
from tracekit.safety import sanitize

from .catalog import TABLES
from .study import Study
from .trace import Trace

# Functions of polars' SQL that read files or addresses. Wherever the word stands: which comments, quotes and spaces may
# stand before its parenthesis is the parser's secret. No column of ours is called so.
_READS_FILES = re.compile(r"\b(?:read|scan)_\w+", re.IGNORECASE)
_SCAN = re.compile(r"^\s*[\w ]+ SCAN \[", re.MULTILINE)  # a node of a plan that reads files
_BEGINS = re.compile(r"(?:\s|\(|--[^\n]*(?:\n|$)|/\*.*?\*/)*(?:select|with|from|values|show|explain)\b", re.I | re.S)


def query(study: Study | Trace, sql: str) -> pl.DataFrame:
    """The rows that one SELECT over the tables of a study, or of one trace, gives.

    >>> query(study, "select component, sum(host_ns) as ns from components group by component")  # doctest: +SKIP

    Raises UsageError, which says what is wrong with the statement. SQL has no way to files.
    """
    if isinstance(study, Trace):
        study = Study.of(study)
    if not _BEGINS.match(sql):
        raise UsageError("not a query: write one SELECT, as in: select series, length, median_ns from latency")
    if reads := _READS_FILES.search(sql):
        raise UsageError(f"a query reads the tables of its study and no files: {sanitize(reads[0])}")
    words = set(re.findall(r"\w+", sql.lower()))
    frames = {name: table.make(study) for name, table in TABLES.items() if name in words}
    try:
        plan = pl.SQLContext(frames, eager=False).execute(sql.encode("utf-8", "backslashreplace").decode())
        refuse_files(plan)
        return plan.collect()
    except (PolarsError, PanicException, OSError) as error:
        raise UsageError(_explained(error, frames)) from None


def refuse_files(plan: pl.LazyFrame) -> None:
    """Raise UsageError when a plan reads any file: what stands behind the check of the words."""
    if _SCAN.search(plan.explain(optimized=False)):
        raise UsageError("a query reads the tables of its study and no files")


def _explained(error: BaseException, frames: Mapping[str, pl.DataFrame]) -> str:
    """What is wrong, in one line: with the known tables or columns where one was not found."""
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    if unknown := re.match(r"relation '(.*)' was not found", said):
        return f"no table {sanitize(unknown[1])}{_near(unknown[1], TABLES)}; tables: {', '.join(TABLES)}"
    unknown = re.match(r"unable to find column \"(.*?)\"|no column named '(.*?)' found", said)
    if unknown and (isinstance(error, ColumnNotFoundError) or unknown[2]):
        name = unknown[1] or unknown[2]
        known = list(dict.fromkeys(column for frame in frames.values() for column in frame.columns))
        return f"no column {sanitize(name)}{_near(name, known)}; columns of {', '.join(frames)}: {', '.join(known)}"
    return f"SQL: {sanitize(said.removeprefix('sql parser error: '), 500)}"


def _near(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name.lower(), list(known), 3)
    return f" (did you mean {' or '.join(close)}?)" if close else ""
