"""Tables into files: a folder with one file a table and a schema, or a single file.

A folder is ours when it holds the schema that we wrote. Only there is a file replaced without being told to.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

import tracekit
from tracekit.analyze.catalog import TABLES, columns
from tracekit.analyze.study import Study
from tracekit.analyze.trace import Trace
from tracekit.errors import UsageError
from tracekit.safety import atomic_write, refuse_special_target, sanitize
from tracekit.units import counted

from .formats import FORMATS

SCHEMA_FILE = "schema.json"
SCHEMA = 1


@dataclass(frozen=True)
class Written:
    """A file that was written, what is in it, and how many rows that has (None: a picture)."""

    name: str
    path: Path
    rows: int | None = None


def schema() -> dict[str, Any]:
    """Every table: what it is, and the name, polars type and unit of each column. The same whatever a study holds."""
    return {
        "schema": SCHEMA,
        "tool": f"tracekit {tracekit.__version__}",
        "tables": {
            name: {"summary": table.summary, "columns": [asdict(column) for column in columns(name)]}
            for name, table in TABLES.items()
        },
    }


def schema_text() -> str:
    """`schema` as the JSON of a `schema.json`."""
    return json.dumps(schema(), indent=1) + "\n"


def write_tables(
    study: Study | Trace,
    folder: Path | str,
    file_format: str = "parquet",
    tables: Sequence[str] = (),
    force: bool = False,
) -> list[Written]:
    """Write tables (default: all) as `<table>.<suffix>` into `folder`, with a `schema.json` that documents them.

    Files that are there are replaced with `force`, or when the folder has a schema.json of ours. Raises UsageError for
    an unknown table or format, and when a file may not be written; then nothing is.
    """
    study = Study.of(study) if isinstance(study, Trace) else study
    folder = Path(folder)
    chosen = FORMATS.get(file_format)
    if chosen is None:
        raise UsageError(f"no format {sanitize(file_format)}: choose from {', '.join(FORMATS)}")
    paths = {name: folder / f"{name}{chosen.suffix}" for name in known(tables)}
    claim(folder, list(paths.values()), force)
    written = []
    for name, path in paths.items():
        table = TABLES[name].make(study)
        put(path, chosen.encode(table))
        written.append(Written(name, path, table.height))
    return written


def write_frame(table: pl.DataFrame, path: Path, file_format: str, force: bool = False, name: str = "") -> Written:
    """Write one table to one file; an existing one is replaced with `force`. Raises UsageError."""
    free([path], force)
    put(path, FORMATS[file_format].encode(table))
    return Written(name, path, table.height)


def known(tables: Sequence[str]) -> tuple[str, ...]:
    """The names of these tables, or of all. Raises UsageError for one that there is not."""
    for name in tables:
        if name not in TABLES:
            raise UsageError(f"no table {sanitize(name)}; tables: {', '.join(TABLES)}")
    return tuple(dict.fromkeys(tables)) or tuple(TABLES)


def claim(folder: Path, paths: Sequence[Path], force: bool) -> None:
    """Make `folder` ours by its schema, when each of `paths` in it may be written. Raises UsageError when not."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{sanitize(folder)} is no folder")
    marker = folder / SCHEMA_FILE
    free(list(paths) if _is_ours(marker) else [marker, *paths], force or _is_ours(marker))
    put(marker, schema_text().encode())


def free(paths: Sequence[Path], force: bool) -> None:
    """Raise UsageError when one of `paths` exists and may not be replaced."""
    for path in paths:
        refuse_special_target(path)
        if not force and path.exists():
            raise UsageError(f"{sanitize(path)} exists: replace it with --force, or choose another name")


def put(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; devices, links and folders are refused."""
    with atomic_write(path) as file:
        file.write(data)


def _is_ours(marker: Path) -> bool:
    try:
        with marker.open("rb") as file:
            found = json.loads(file.read(1 << 20))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and str(found.get("tool", "")).startswith("tracekit ") and "tables" in found


def listed(written: Sequence[Written]) -> Iterator[str]:
    """One line a file: its path, and how many rows."""
    for one in written:
        yield sanitize(one.path, None) + ("" if one.rows is None else f": {counted(one.rows, 'row')}")
