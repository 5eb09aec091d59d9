"""`tracekit report`: what a folder of points, or any trace, says; in the terminal, as HTML, as JSON."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tracekit.errors import EXIT_OK, UsageError
from tracekit.safety import sanitize

from . import asking, inputs, reading

if TYPE_CHECKING:
    from tracekit.analyze.gpu import DeviceAnalyses
    from tracekit.analyze.study import Study
    from tracekit.reports.asked import Asked

SUMMARY = "show latency, memory and where the time goes, for points or any PyTorch trace"
EXAMPLES = (
    "tracekit report traces/",
    "tracekit report traces/ --html report.html",
    "tracekit report traces/ --baseline bert",
    "tracekit report traces/ --at 16384",
)
_HTML_SUFFIXES = (".html", ".htm")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("paths", nargs="*", metavar="PATH", help="a folder of points, or trace files (.json, .json.gz)")
    parser.add_argument(
        "--html",
        nargs="?",
        const="",
        metavar="FILE",
        help="write one offline HTML file (default: report.html beside the traces)",
    )
    reading.add_options(parser)
    parser.add_argument(
        "--hta", action="store_true", help="add what HolisticTraceAnalysis says of device traces (extra: hta)"
    )
    asking.add_options(parser)
    inputs.add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Load, then show or write."""
    paths, html = _inputs(args)
    question = inputs.question(args)
    from tracekit.analyze.load import load_study

    study = load_study(paths, reading.reading(args))
    asked = asking.asked(args, study, question)
    analyses = _device_analyses(study) if args.hta else {}
    if args.json:
        from tracekit.reports.envelope import envelope, study_tables

        more: dict[str, object] = {"html": str(_write_html(study, html, asked, analyses))} if html else {}
        if question is not None:
            more |= inputs.facts(study, question, asked.baseline)
        if analyses:
            from tracekit.reports import hta

            more["hta"] = hta.rows(analyses)
        tables = study_tables(study, asked)
        print(envelope("report", [str(p) for p in paths], study.findings, tables=tables, **more))
        return EXIT_OK
    from tracekit.reports.terminal import print_report
    from tracekit.reports.text_table import plain_console

    console = plain_console()
    if not args.quiet:
        print_report(study, console, asked)
        if analyses:
            from tracekit.reports import hta

            console.print(*hta.blocks(analyses), sep="\n")
    if html:
        console.print(sanitize(f"HTML report: {_write_html(study, html, asked, analyses)}", None), soft_wrap=True)
    return EXIT_OK


def _device_analyses(study: Study) -> dict[str, DeviceAnalyses]:
    from tracekit.analyze.gpu import analyse_traces

    found = analyse_traces(study.traces)
    if not found:
        raise UsageError("--hta is for device traces, and none of these has device work")
    return found


def _inputs(args: argparse.Namespace) -> tuple[list[Path], Path | None]:
    """The traces and the HTML file. A word after --html that does not end in .html or .htm is a trace."""
    paths = [Path(p) for p in args.paths]
    html = args.html
    if html and not html.lower().endswith(_HTML_SUFFIXES):
        paths.append(Path(html))
        html = ""
    if not paths:
        raise UsageError("name a folder of points or a trace file: tracekit report traces/")
    if html is None:
        return paths, None
    beside = paths[0] if paths[0].is_dir() else paths[0].parent
    return paths, Path(html) if html else beside / "report.html"


def _write_html(study: Study, path: Path, asked: Asked, analyses: dict[str, DeviceAnalyses]) -> Path:
    from tracekit.reports.html import write_html

    return write_html(study, path, asked, analyses)
