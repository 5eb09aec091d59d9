"""`tracekit open`: show a trace in the Perfetto UI. The browser hands it over; nothing is uploaded."""

from __future__ import annotations

import argparse
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from tracekit.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, TracekitError, UsageError

if TYPE_CHECKING:
    from tracekit.reports.perfetto import TraceServer

SUMMARY = "open a trace in the Perfetto UI"
EXAMPLES = (
    "tracekit open traces/bert/.../b1-n512-1234abcd.pt.trace.json.gz",
    "tracekit open --no-browser trace.json.gz",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("trace", type=Path, metavar="TRACE", help="a trace file (.json, .json.gz)")
    parser.add_argument(
        "--no-browser", action="store_true", help="print the address and wait, instead of opening a browser"
    )
    parser.add_argument(
        "--port", type=int, default=0, help="port on 127.0.0.1, the same at both ends of a tunnel (default: any free)"
    )
    parser.add_argument("--ui", default=None, metavar="URL", help="another Perfetto UI, such as one of your own")
    parser.add_argument("--timeout", type=float, default=600.0, metavar="SECONDS", help="give up after (default: 600)")


def run(args: argparse.Namespace) -> int:
    """Serve the trace until the UI has it, Ctrl-C, or the timeout."""
    from tracekit.reports.perfetto import UI, TraceServer, check_trace

    if not 0 < args.timeout <= threading.TIMEOUT_MAX or not 0 <= args.port < 1 << 16:
        raise UsageError("--timeout is a number of seconds above 0, --port a number below 65,536")
    check_trace(args.trace)
    with TraceServer(args.trace, args.ui or UI, args.port) as server:
        try:
            _announce(args, server.address)
            done = server.handed_over.wait(args.timeout)
        except KeyboardInterrupt:
            return EXIT_OK if server.fetched.is_set() else EXIT_INTERRUPTED
    if not done:
        raise TracekitError(f"{_missing(server)} within {args.timeout:g} s", exit_code=EXIT_FAILED)
    if not args.quiet:
        print("handed over to Perfetto", file=sys.stderr)
    return EXIT_OK


def _missing(server: TraceServer) -> str:
    if server.fetched.is_set():
        return "the page has the trace, but Perfetto did not answer it (can the browser reach it?)"
    return "no page fetched the trace"


def _announce(args: argparse.Namespace, address: str) -> None:
    if args.json:
        from tracekit.reports.envelope import envelope

        print(envelope("open", [str(args.trace)], address=address), flush=True)
    else:
        print(address, flush=True)
    opened = False
    if not args.no_browser:
        import webbrowser

        opened = webbrowser.open(address)
    if not args.quiet:
        page = "in the page that opens" if opened else "open this address in a browser on this machine and"
        hint = "allow pop-ups for it if the browser blocks one"
        print(f"{page} click the button ({hint}); Ctrl-C ends it", file=sys.stderr)
