"""`tracekit export`: the tables and charts of a study as files for other tools."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tracekit.errors import EXIT_OK, UsageError

from . import reading

if TYPE_CHECKING:
    from tracekit.analyze.study import Study
    from tracekit.reports.export import Written

SUMMARY = "write the tables as parquet, csv, json or markdown, and the charts as svg or png"
EXAMPLES = (
    "tracekit export traces/ --out tables/",
    "tracekit export traces/ --table latency --out latency.csv",
    "tracekit export traces/ --table operators --format json --out - | jq .",
    "tracekit export traces/ --charts svg --out pictures/",
)
FORMATS = ("parquet", "csv", "json", "markdown")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("paths", nargs="*", metavar="PATH", help="a folder of points, or trace files (.json, .json.gz)")
    parser.add_argument(
        "--out",
        metavar="PLACE",
        help="a folder (one file a table, and schema.json); or, for one table, a file, or - for stdout",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="default: by the ending of PLACE, else parquet. parquet and json keep names as they are; in csv and "
        "markdown control characters are shown as escapes, and formulas and markup are disarmed",
    )
    parser.add_argument("--table", action="append", default=[], metavar="NAME", help="only this one (repeatable)")
    parser.add_argument(
        "--charts",
        choices=("svg", "png"),
        help="write the charts (extra: charts), and no tables unless --table or --format asks for some",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace files that are there. A folder that an earlier export wrote (its schema.json says so) needs no "
        "--force: files of the same name are replaced, others left alone",
    )
    parser.add_argument("--schema", action="store_true", help="print every table's columns, types and units, as JSON")
    reading.add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Write, and say what was written."""
    if args.schema:
        from tracekit.reports.export import schema_text

        print(schema_text(), end="")
        return EXIT_OK
    if not args.paths:
        raise UsageError("name a folder of points or a trace file: tracekit export traces/ --out tables/")
    if not args.out:
        raise UsageError("say where to: --out FOLDER, or for one table --out FILE, or --out - for stdout")
    from tracekit.analyze.load import load_study
    from tracekit.reports.export import known

    known(args.table)
    single = _single(args)
    study = load_study([Path(path) for path in args.paths], reading.reading(args))
    reading.say_quality(args, study.findings)
    if args.out == "-":
        _print(study, args.table[0], args.format or "csv")
        return EXIT_OK
    written = _one(study, args, single) if single else _many(study, args)
    _say(args, study, written)
    return EXIT_OK


def _single(args: argparse.Namespace) -> str | None:
    """The format of the one file that is asked for; None where a folder is. Raises UsageError."""
    from tracekit.reports.formats import FORMATS, by_suffix

    ending = by_suffix(args.out) if not Path(args.out).is_dir() and not args.out.endswith("/") else None
    if ending is None and args.out != "-":
        return None
    if args.charts:
        raise UsageError("charts are several files: --out names a folder for them")
    if len(args.table) != 1:
        raise UsageError(f"{args.out} is one file: name the table in it with --table NAME, or give a folder")
    if ending and args.format not in (None, ending):
        raise UsageError(f"{args.out} is named as {ending}, but --format says {args.format}")
    if args.out == "-" and args.json:
        raise UsageError("--out - prints a table and --json an object, on the same stdout: leave one out")
    if args.out == "-" and not FORMATS[args.format or "csv"].text:
        raise UsageError(f"{args.format} is no text: write it to a file")
    return ending or args.format or "csv"


def _print(study: Study, table: str, file_format: str) -> None:
    from tracekit.analyze.catalog import TABLES
    from tracekit.reports.formats import FORMATS

    sys.stdout.buffer.write(FORMATS[file_format].encode(TABLES[table].make(study)))
    sys.stdout.buffer.flush()


def _one(study: Study, args: argparse.Namespace, file_format: str) -> list[Written]:
    from tracekit.analyze.catalog import TABLES
    from tracekit.reports.export import write_frame

    return [write_frame(TABLES[args.table[0]].make(study), Path(args.out), file_format, args.force, args.table[0])]


def _many(study: Study, args: argparse.Namespace) -> list[Written]:
    written: list[Written] = []
    if args.charts:
        from tracekit.reports.pictures import write_charts

        written += write_charts(study, args.out, args.charts, args.force)
    if not args.charts or args.format or args.table:
        from tracekit.reports.export import write_tables

        written += write_tables(study, args.out, args.format or "parquet", args.table, args.force)
    return written


def _say(args: argparse.Namespace, study: Study, written: list[Written]) -> None:
    if args.json:
        from tracekit.reports.envelope import envelope

        files = [{"name": one.name, "path": str(one.path), "rows": one.rows} for one in written]
        print(envelope("export", args.paths, study.findings, files=files))
    elif not args.quiet:
        from tracekit.reports.export import listed

        print(*listed(written), sep="\n")
