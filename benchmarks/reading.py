"""Time the analyzer on traces, against HolisticTraceAnalysis and TraceLens: CPU seconds and peak memory.

Usage: python benchmarks/reading.py TRACE... [--repeats 5] [--hta [PYTHON]]
           [--tracelens CHECKOUT [--tracelens-python PYTHON]]

Ours runs as the command line does (`tracekit/process.py`), the others as they come. Every way is measured in turns,
each time in a process of its own (children included, imports not counted): our load alone, load with every table, and
load from the cache; with `--hta` HTA's load alone (rounding off), in this environment or in that of another
interpreter; with `--tracelens` the whole report of a TraceLens checkout. Prints the medians, and how many times as much
the others take as ours with all tables. `benchmarks/enlarge.py` makes larger traces of a real one.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

TABLES = (
    *("operators", "components", "layers", "steps", "kernels", "devices", "device_launches"),
    *("memory", "memory_peaks", "live_at_peak"),
)
OURS = "load + all tables"


def cpu_seconds() -> float:
    """User and system time of this process and of its ended children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def peak_mb() -> float:
    """The most that this process, or one child, held resident."""
    both = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(who).ru_maxrss for who in both) / 1024


def ours(tables: bool, cache: bool = False) -> Callable[[Path], None]:
    """Our reader, with every table and finding if `tables`."""
    from tracekit.process import settle

    settle()
    import numpy.ma  # noqa: F401  # polars imports it at the first column

    from tracekit.analyze.trace import Trace

    def run(path: Path) -> None:
        trace = Trace(path, cache=cache)
        _ = trace.events
        if tables:
            for name in TABLES:
                getattr(trace, name)()
            _ = trace.findings

    return run


def hta() -> Callable[[Path], None]:
    """HolisticTraceAnalysis' loading alone."""
    os.environ["HTA_DISABLE_NS_ROUNDING"] = "1"
    warnings.simplefilter("ignore")
    from hta.trace_analysis import TraceAnalysis

    logging.disable()

    def run(path: Path) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            TraceAnalysis(trace_files={0: str(path.resolve())}, trace_dir=str(path.parent))

    return run


def tracelens() -> Callable[[Path], None]:
    """TraceLens' performance report, from the checkout that PYTHONPATH names."""
    warnings.simplefilter("ignore")
    from TraceLens.Reporting.generate_perf_report_pytorch import generate_perf_report_pytorch

    def run(path: Path) -> None:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            generate_perf_report_pytorch(str(path), output_csvs_dir=folder)

    return run


WAYS: dict[str, Callable[[], Callable[[Path], None]]] = {
    "load": lambda: ours(tables=False),
    OURS: lambda: ours(tables=True),
    "load from the cache": lambda: ours(tables=False, cache=True),
    "HTA load": hta,
    "TraceLens report": tracelens,
}


def measure(way: str, trace: Path, python: str, environment: dict[str, str]) -> list[float] | None:
    """[CPU seconds, peak MB] of one run in a process of its own; None when it fails."""
    command = [python, __file__, str(trace), "--once", way]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    if done.returncode != 0:
        print(f"    {way}: {(done.stderr.strip().splitlines() or ['failed'])[-1][:100]}", file=sys.stderr)
        return None
    result: list[float] = json.loads(done.stdout.splitlines()[-1])
    return result


def compare(trace: Path, ways: dict[str, tuple[str, dict[str, str]]], repeats: int) -> None:
    """Measure one trace every way, in turns, and print the medians."""
    runs: dict[str, list[list[float]]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way, (python, environment) in list(ways.items()):
            found = measure(way, trace, python, environment)
            if found is None:
                ways = {name: how for name, how in ways.items() if name != way}
            else:
                runs[way].append(found)
    medians = {way: [statistics.median(c) for c in zip(*found, strict=True)] for way, found in runs.items() if found}
    for way, (seconds, peak) in medians.items():
        ratio = f"{seconds / medians[OURS][0]:8.1f} x {peak / medians[OURS][1]:6.2f} x" if OURS in medians else ""
        print(f"{trace.name[:36]:36} {way:20} {seconds:8.3f} {peak:8.0f} {ratio}")


def main() -> None:
    """Measure every trace and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("traces", nargs="+", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--hta", nargs="?", const=sys.executable, metavar="PYTHON", help="an interpreter that has HTA")
    parser.add_argument("--tracelens", type=Path, metavar="CHECKOUT")
    parser.add_argument("--tracelens-python", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--once", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.once:
        run = WAYS[args.once]()
        before = cpu_seconds()
        run(args.traces[0])
        print(json.dumps([cpu_seconds() - before, peak_mb()]))
        return
    with tempfile.TemporaryDirectory() as cache:
        own = (sys.executable, {"TRACEKIT_CACHE_DIR": cache})
        ways = dict.fromkeys(("load", OURS, "load from the cache"), own)
        if args.hta:
            ways["HTA load"] = (args.hta, {})
        if args.tracelens:
            ways["TraceLens report"] = (args.tracelens_python, {"PYTHONPATH": str(args.tracelens.resolve())})
        print(f"{'trace':36} {'':20} {'CPU s':>8} {'peak MB':>8} {'CPU':>8}   {'memory':>6}")
        for trace in args.traces:
            measure("load from the cache", trace, *own)  # fills it
            compare(trace, ways, args.repeats)


if __name__ == "__main__":
    main()
