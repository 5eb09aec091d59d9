"""`tracekit query`: SQL over the tables of a study."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tracekit.errors import EXIT_OK, UsageError

from . import reading

if TYPE_CHECKING:
    import polars as pl

    from tracekit.analyze.study import Study

SUMMARY = "ask the tables in SQL"
EXAMPLES = (
    'tracekit query traces/ "select component, sum(host_ns) as ns from components group by component order by ns desc"',
    "tracekit query traces/ --tables",
    'tracekit query traces/ "select * from operators_by_shape" --out operators.parquet',
)
FORMATS = ("table", "csv", "json", "markdown", "parquet")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "words", nargs="*", metavar="PATH ... SQL", help="folders or trace files, and last one SELECT (polars' SQL)"
    )
    parser.add_argument("--tables", action="store_true", help="list tables and columns instead")
    parser.add_argument("--format", choices=FORMATS, help="default: by the ending of FILE, else a table")
    parser.add_argument("--out", metavar="FILE", help="write all rows to a file instead of stdout")
    parser.add_argument("--force", action="store_true", help="replace the file if it is there")
    parser.add_argument(
        "--top", type=reading.positive, default=50, metavar="N", help="rows to show in a table (default: 50)"
    )
    reading.add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Ask, and show or write the answer."""
    if args.tables:
        return _list_tables(args)
    paths, sql = _inputs(args.words)
    file_format = _format(args)
    from tracekit.analyze.query import query

    study = _study(args, paths)
    answer = query(study, sql)
    if args.out:
        from tracekit.reports.export import listed, write_frame

        written = write_frame(answer, Path(args.out), file_format, args.force)
        if not args.quiet and not args.json:
            print(*listed([written]))
    elif not args.json:
        _print(answer, file_format, args.top)
    if args.json:
        _print_object(args, paths, study, answer)
    return EXIT_OK


def _inputs(words: list[str]) -> tuple[list[Path], str]:
    """The traces, and the statement, which comes last."""
    if len(words) < 2 or Path(words[-1]).exists():
        raise UsageError('name the traces, then the SQL: tracekit query traces/ "select * from latency"')
    return [Path(word) for word in words[:-1]], words[-1]


def _study(args: argparse.Namespace, paths: list[Path]) -> Study:
    from tracekit.analyze.load import load_study

    study = load_study(paths, reading.reading(args))
    reading.say_quality(args, study.findings)
    return study


def _format(args: argparse.Namespace) -> str:
    from tracekit.reports.formats import by_suffix

    ending = by_suffix(args.out) if args.out else None
    if args.out and not ending and args.format in (None, "table"):
        raise UsageError(f"{args.out} has no ending of a format: say --format csv, json, markdown or parquet")
    if ending and args.format not in (None, ending):
        raise UsageError(f"{args.out} is named as {ending}, but --format says {args.format}")
    if args.format == "parquet" and not args.out:
        raise UsageError("parquet is no text: name a file with --out")
    return str(args.format or ending or "table")


def _print(answer: pl.DataFrame, file_format: str, top: int) -> None:
    if file_format == "table":
        from tracekit.reports.rows import print_rows

        print_rows(answer, top)
        return
    from tracekit.reports.formats import FORMATS

    sys.stdout.buffer.write(FORMATS[file_format].encode(answer))
    sys.stdout.buffer.flush()


def _print_object(args: argparse.Namespace, paths: list[Path], study: Study, answer: pl.DataFrame) -> None:
    """The answer, or which file has it."""
    from tracekit.reports.envelope import envelope
    from tracekit.reports.formats import rows

    more: dict[str, object] = {"path": args.out, "height": answer.height} if args.out else {"rows": rows(answer)}
    names = [{"name": name, "type": str(dtype)} for name, dtype in answer.schema.items()]
    print(envelope("query", [str(path) for path in paths], study.findings, columns=names, **more))


def _list_tables(args: argparse.Namespace) -> int:
    """Every table with its columns; of the traces that are named, how many rows each has."""
    from tracekit.analyze.catalog import TABLES

    paths = [Path(word) for word in args.words]
    study = _study(args, paths) if paths else None
    heights = {name: table.make(study).height for name, table in TABLES.items()} if study else {}
    if args.json:
        from tracekit.reports.envelope import envelope
        from tracekit.reports.export import schema

        tables = schema()["tables"]
        for name, height in heights.items():
            tables[name]["rows"] = height
        print(envelope("query", args.words, study.findings if study else (), tables=tables))
    else:
        from tracekit.reports.rows import print_tables

        print_tables(heights)
    return EXIT_OK
