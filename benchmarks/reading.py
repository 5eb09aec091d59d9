"""Time the analyzer on traces: CPU seconds and peak memory of loading, and of loading with every table.

Usage: python benchmarks/reading.py TRACE... [--repeats 5]

Each measurement is a process of its own; the import of the analyzer is not counted. Prints the median of the repeats.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

TABLES = ("operators", "components", "layers", "steps", "kernels", "device_launches", "memory")


def measure(path: Path, tables: bool) -> dict[str, float]:
    """In this process: CPU seconds and peak MB of reading `path`, with every table if `tables`."""
    from tracekit.analyze.study import Trace

    before = time.process_time()
    trace = Trace(path)
    events = trace.events.host.height + trace.events.device.height + trace.events.memory.height
    if tables:
        for name in TABLES:
            getattr(trace, name)()
    seconds = time.process_time() - before
    return {
        "seconds": seconds,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "events": float(events),
    }


def main() -> None:
    """Measure every trace both ways and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("traces", nargs="+", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--once", choices=("load", "tables"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.once:
        print(json.dumps(measure(args.traces[0], args.once == "tables")))
        return
    print(f"{'trace':40} {'events':>9} {'load s':>8} {'MB':>6} {'+tables s':>10} {'MB':>6}")
    for trace in args.traces:
        cells = []
        for what in ("load", "tables"):
            command = [sys.executable, __file__, str(trace), "--once", what]
            runs = [json.loads(subprocess.check_output(command)) for _ in range(args.repeats)]
            cells.append({key: statistics.median(run[key] for run in runs) for key in runs[0]})
        load, full = cells
        numbers = f"{load['seconds']:8.2f} {load['peak_mb']:6.0f} {full['seconds']:10.2f} {full['peak_mb']:6.0f}"
        print(f"{trace.name[:40]:40} {load['events']:9,.0f} {numbers}")


if __name__ == "__main__":
    main()
