"""`tracekit open`: show traces in the Perfetto UI, with lanes of what we know. The browser hands them over."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tracekit.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, TracekitError, UsageError
from tracekit.safety import sanitize

from . import reading

if TYPE_CHECKING:
    from tracekit.analyze.quality import Finding
    from tracekit.analyze.study import Study
    from tracekit.reports.perfetto import TraceServer

SUMMARY = "open traces in the Perfetto UI, with lanes for components, phases and memory"
EXAMPLES = (
    "tracekit open traces/bert/.../b1-n512-1234abcd.pt.trace.json.gz",
    "tracekit open bert-512.json.gz longformer-512.json.gz",
    "tracekit open --save bert-lanes.json.gz trace.json.gz",
    "tracekit open --no-browser trace.json.gz",
)
_MOST = 8  # traces in one picture


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "traces",
        nargs="+",
        type=Path,
        metavar="TRACE",
        help=f"trace files (.json, .json.gz), or a folder of at most {_MOST}; several begin together",
    )
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument("--raw", action="store_true", help="the file as it is, without lanes of ours")
    ways.add_argument(
        "--save", type=Path, metavar="FILE", help="write the traces with their lanes to FILE (.json, .json.gz) instead"
    )
    parser.add_argument(
        "--direct",
        action="store_true",
        help="without the page and its click: Perfetto fetches the file itself, from port 9001, the only one that it "
        "may; some browsers ask first whether it may reach this machine, and fail without a word if not",
    )
    parser.add_argument(
        "--no-browser", action="store_true", help="print the address and wait, instead of opening a browser"
    )
    parser.add_argument(
        "--port", type=int, default=0, help="port on 127.0.0.1, the same at both ends of a tunnel (default: any free)"
    )
    parser.add_argument("--ui", default=None, metavar="URL", help="another Perfetto UI, such as one of your own")
    parser.add_argument("--timeout", type=float, default=600.0, metavar="SECONDS", help="give up after (default: 600)")
    reading.add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Make the file, then write it or serve it until the UI has it, Ctrl-C, or the timeout."""
    if not 0 < args.timeout <= threading.TIMEOUT_MAX or not 0 <= args.port < 1 << 16:
        raise UsageError("--timeout is a number of seconds above 0, --port a number below 65,536")
    if args.save:
        return _save(args)
    from tracekit.reports.perfetto import UI, TraceServer, check_ui

    check_ui(args.ui or UI)
    with (
        _served(args) as (path, title, expand, findings),
        TraceServer(path, args.ui or UI, args.port, title=title, expand=expand, direct=args.direct) as server,
    ):
        try:
            _announce(args, server, findings)
            done = server.handed_over.wait(args.timeout)
        except KeyboardInterrupt:
            return EXIT_OK if server.fetched.is_set() else EXIT_INTERRUPTED
    if not done:
        raise TracekitError(f"{_missing(server)} within {args.timeout:g} s", exit_code=EXIT_FAILED)
    if not args.quiet:
        print("handed over to Perfetto", file=sys.stderr)
    return EXIT_OK


@contextlib.contextmanager
def _served(args: argparse.Namespace) -> Iterator[tuple[Path, str, str, list[Finding]]]:
    """The file to serve, its title, the groups of tracks to unfold, and what was found in the traces."""
    if args.raw:
        from tracekit.reports.perfetto import check_trace

        if len(args.traces) > 1:
            raise UsageError("--raw shows one file as it is; leave it out to see several side by side")
        check_trace(args.traces[0])
        yield args.traces[0], "", "", []
        return
    from tracekit.reports.lanes import GROUP
    from tracekit.reports.overlay import save_overlay

    study = _study(args)
    with tempfile.TemporaryDirectory(prefix="tracekit-") as folder:
        path = Path(folder) / "overlay.json.gz"
        save_overlay(study, path)
        many = f"{len(study.traces)} traces: {study.title}"
        yield path, study.traces[0].path.name if len(study.traces) == 1 else many, GROUP, study.findings


def _study(args: argparse.Namespace) -> Study:
    """The traces, few enough for one picture."""
    from tracekit.analyze.load import load_study
    from tracekit.points import find_files
    from tracekit.reports.perfetto import check_trace

    for path in args.traces:
        if not path.is_dir():
            check_trace(path)
        elif (count := sum(1 for _ in find_files(path))) > _MOST:
            raise UsageError(f"{sanitize(path)}: {count} files; name at most {_MOST} of them to see them side by side")
    study = load_study(args.traces, reading.reading(args))
    if not 0 < len(study.traces) <= _MOST:
        raise UsageError(f"{len(study.traces)} traces; name 1 to {_MOST} to see them side by side")
    reading.say_quality(args, study.findings)
    return study


def _save(args: argparse.Namespace) -> int:
    from tracekit.reports.overlay import save_overlay

    if args.direct:
        raise UsageError("--save writes a file and opens nothing: leave --direct out")
    if not args.save.name.lower().endswith((".json", ".json.gz")):
        raise UsageError(f"--save {args.save}: name a file that ends in .json or .json.gz")
    study = _study(args)
    if any(args.save.exists() and args.save.samefile(trace.path) for trace in study.traces):
        raise UsageError(f"--save {args.save}: that is the trace itself; choose another file name")
    save_overlay(study, args.save)
    if args.json:
        from tracekit.reports.envelope import envelope

        print(envelope("open", [str(path) for path in args.traces], study.findings, saved=str(args.save)))
    elif not args.quiet:
        print(sanitize(f"saved: {args.save}", None), file=sys.stderr)
    return EXIT_OK


def _missing(server: TraceServer) -> str:
    if server.direct:
        return "Perfetto did not fetch the trace (did the browser let it reach this machine? try without --direct)"
    if server.fetched.is_set():
        return "the page has the trace, but Perfetto did not answer it (can the browser reach it?)"
    return "no page fetched the trace"


def _announce(args: argparse.Namespace, server: TraceServer, findings: list[Finding]) -> None:
    if args.json:
        from tracekit.reports.envelope import envelope

        print(envelope("open", [str(path) for path in args.traces], findings, address=server.address), flush=True)
    else:
        print(server.address, flush=True)
    opened = False
    if not args.no_browser:
        import webbrowser

        opened = webbrowser.open(server.address)
    if args.quiet:
        return
    if server.direct:
        page = "Perfetto fetches the trace" if opened else "open this address in a browser on this machine"
        hint = "allow it to reach this machine if the browser asks"
    else:
        page = "in the page that opens" if opened else "open this address in a browser on this machine and"
        page += " click the button"
        hint = "allow pop-ups for it if the browser blocks one"
    print(f"{page} ({hint}); Ctrl-C ends it", file=sys.stderr)
