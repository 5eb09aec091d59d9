"""Time the analyzer on traces: CPU seconds and peak memory of loading, and of loading with every table.

Usage: python benchmarks/reading.py TRACE... [--repeats 5] [--hta]

Each measurement is a process of its own, children included; imports are not counted. With `--hta`, loading with
HolisticTraceAnalysis (rounding off) is timed in the same alternating runs. Prints the median of the repeats.
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
import warnings
from collections.abc import Callable
from pathlib import Path

TABLES = ("operators", "components", "layers", "steps", "kernels", "device_launches", "memory")


def cpu_seconds() -> float:
    """User and system time of this process and of its ended children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def peak_mb() -> float:
    """The most that this process, or one child, held resident."""
    both = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(who).ru_maxrss for who in both) / 1024


def ours(tables: bool) -> Callable[[Path], None]:
    """Our reader, with every table if `tables`."""
    from tracekit.analyze.trace import Trace

    def run(path: Path) -> None:
        trace = Trace(path)
        _ = trace.events
        for name in TABLES if tables else ():
            getattr(trace, name)()

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


MEASURED: dict[str, Callable[[], Callable[[Path], None]]] = {
    "load": lambda: ours(tables=False),
    "load + all tables": lambda: ours(tables=True),
    "HTA load": hta,
}


def main() -> None:
    """Measure every trace every way, in turns, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("traces", nargs="+", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--hta", action="store_true", help="time HolisticTraceAnalysis too")
    parser.add_argument("--once", choices=MEASURED, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.once:
        run = MEASURED[args.once]()
        before = cpu_seconds()
        run(args.traces[0])
        print(json.dumps([cpu_seconds() - before, peak_mb()]))
        return
    ways = [way for way in MEASURED if args.hta or not way.startswith("HTA")]
    print(f"{'trace':36} {'':18} {'CPU s':>7} {'peak MB':>8}")
    for trace in args.traces:
        runs: dict[str, list[list[float]]] = {way: [] for way in ways}
        for _ in range(args.repeats):
            for way in ways:
                command = [sys.executable, __file__, str(trace), "--once", way]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode == 0:
                    runs[way].append(json.loads(done.stdout.splitlines()[-1]))
        for way in ways:
            if len(runs[way]) < args.repeats:
                print(f"{trace.name[:36]:36} {way:18}  failed")
                continue
            seconds, peak = (statistics.median(column) for column in zip(*runs[way], strict=True))
            print(f"{trace.name[:36]:36} {way:18} {seconds:7.2f} {peak:8.0f}")


if __name__ == "__main__":
    main()
