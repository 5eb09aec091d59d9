"""`tracekit check`: is a trace sound, and what can it tell?"""

from __future__ import annotations

import argparse
from pathlib import Path

from tracekit.errors import EXIT_FAILED, EXIT_OK, UsageError

from . import reading

SUMMARY = "say what a trace is, what it can and cannot tell, and what is wrong with it"
EXAMPLES = (
    "tracekit check trace.json.gz --strict --json",
    "tracekit check broken.json --repair mended.json.gz",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("path", metavar="FILE", type=Path, help="a trace file (.json, .json.gz)")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if there is any warning or error")
    parser.add_argument(
        "--repair",
        type=Path,
        metavar="OUT",
        help="write a copy that every viewer opens, of all that can be read (gzipped for .gz)",
    )
    reading.add_options(parser, folders=False)


def run(args: argparse.Namespace) -> int:
    """Read, judge, print."""
    if args.path.is_dir():
        raise UsageError(
            f"{args.path} is a folder: name a trace file, or see a folder with: tracekit report {args.path}"
        )
    from tracekit.analyze.facts import facts
    from tracekit.analyze.quality import warning_counts

    trace = reading.reading(args).trace(args.path)
    repaired = None
    if args.repair is not None:
        from tracekit.reports.repaired import save_repaired

        repaired = save_repaired(trace.events, args.repair)
    if args.json:
        from tracekit.reports.envelope import envelope

        written = {"repaired": repaired.facts()} if repaired else {}
        print(envelope("check", [str(args.path)], trace.findings, facts=facts(trace), **written))
    elif not args.quiet:
        from tracekit.reports.checkup import print_checkup
        from tracekit.reports.text_table import plain_console

        print_checkup(trace, plain_console(), repaired)
    return EXIT_FAILED if args.strict and warning_counts(trace.findings) else EXIT_OK
