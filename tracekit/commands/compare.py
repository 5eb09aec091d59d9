"""`tracekit compare`: base against new; a regression gate."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tracekit.errors import EXIT_FAILED, EXIT_OK, UsageError
from tracekit.safety import sanitize

from . import reading

if TYPE_CHECKING:
    from tracekit.analyze.compare import Comparison

SUMMARY = "say what changed between two sets of points or traces, beyond noise, and why; fail on regressions"
EXAMPLES = (
    "tracekit compare before/ after/",
    "tracekit compare before/ after/ --fail-on 5% --fail-on memory:3%",
)
METRICS = ("latency", "first_token", "throughput", "memory", "host", "device")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    side = "a folder of points, with several captures of each if you have them, or one trace"
    add("base", metavar="BASE", type=Path, help=side)
    add("new", metavar="NEW", type=Path, help="the same, to be judged")
    add(
        "--fail-on",
        action="append",
        default=[],
        metavar="[METRIC:]PERCENT",
        help="exit with 1 if it got worse by more than this, beyond noise (repeat); without a METRIC: of latency, or "
        "of --metric",
    )
    add(
        "--metric",
        action="append",
        default=[],
        choices=METRICS,
        metavar="NAME",
        help=f"compare this alone (repeat): {', '.join(METRICS)}; default: all that both sides have",
    )
    add("--format", choices=("text", "markdown"), default="text", help="text (default), or markdown for a pull request")
    add(
        "--html",
        nargs="?",
        const="",
        metavar="FILE",
        help="write one offline HTML file, base and new side by side (default: comparison.html beside NEW)",
    )
    reading.add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Compare, show, and say by the exit code whether a limit was exceeded."""
    if args.json and args.format != "text":
        raise UsageError("--json and --format markdown: choose one")
    from tracekit.analyze.compare import compare

    comparison = compare(args.base, args.new, metrics=args.metric, fail_on=args.fail_on, reading=reading.reading(args))
    html = _write_html(args, comparison)
    if args.json:
        print(_document(args, comparison, html))
    else:
        _print(args, comparison, html)
    return EXIT_FAILED if comparison.exceeded else EXIT_OK


def _print(args: argparse.Namespace, comparison: Comparison, html: Path | None) -> None:
    if args.format == "markdown":
        from tracekit.reports.comparison_markdown import markdown

        if not args.quiet:
            print(markdown(comparison), end="")
        return  # nothing but markdown goes where markdown is asked for
    from tracekit.reports.text_table import plain_console

    console = plain_console()
    if not args.quiet:
        from tracekit.reports.comparison_text import print_comparison

        print_comparison(comparison, console)
    if html:
        console.print(sanitize(f"HTML comparison: {html}", None), soft_wrap=True)


def _write_html(args: argparse.Namespace, comparison: Comparison) -> Path | None:
    """The page, where one is asked for: named, or beside NEW."""
    if args.html is None:
        return None
    from tracekit.reports.comparison_page import write_comparison

    beside = args.new if args.new.is_dir() else args.new.parent
    return write_comparison(comparison, Path(args.html) if args.html else beside / "comparison.html")


def _document(args: argparse.Namespace, comparison: Comparison, html: Path | None) -> str:
    from tracekit.reports.envelope import envelope
    from tracekit.reports.formats import rows

    tables = {
        "differences": comparison.differences(),
        "metrics": comparison.metrics(),
        "changes": comparison.changes(),
        "unmatched": comparison.unmatched(),
    }
    return envelope(
        "compare",
        [str(args.base), str(args.new)],
        comparison.findings,
        exceeded=comparison.exceeded,
        **({"html": str(html)} if html else {}),
        tables={name: rows(table) for name, table in tables.items()},
    )
