"""Is the roof the machine's, and what does a call cost before it works?

Usage: python benchmarks/roofline.py FOLDER...

For each machine of the points (float32 on a CPU): FLOP/s of the fixed product (fastest and median run), of the fastest
operator, of the fastest component that takes 5% of a step or more; the same of bytes; and the durations of calls on at
most 1 KB in the profiled steps, which are dispatch.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

import polars as pl

from tracekit.analyze.load import load_study
from tracekit.analyze.roofline import machine, measured_peaks
from tracekit.analyze.study import Study
from tracekit.points import CALIBRATION_BYTES, CALIBRATION_SIDE

TINY = 1024  # bytes


def main() -> None:
    """Print all of it."""
    study = load_study([Path(name) for name in sys.argv[1:]])
    table = study.roofline().with_columns(share=pl.col("time_ns") / pl.col("time_ns").sum().over("series", "length"))
    for one, peaks in measured_peaks(study).items():
        points = [point for point in study.points if machine(point) == one and point.calibration]
        own = table.filter((pl.col("share") >= 0.05) & pl.col("series").is_in({study.label(p) for p in points}))
        print(f"{' '.join(map(str, one))}: {len(points)} points")
        for name, work, runs, column, peak in (
            (
                "GFLOP/s",
                2 * CALIBRATION_SIDE**3,
                [c.matmul_ns for p in points for c in p.calibration],
                "flops",
                peaks.flops,
            ),
            ("GB/s", 2 * CALIBRATION_BYTES, [c.copy_ns for p in points for c in p.calibration], "bytes", peaks.bytes),
        ):
            best = own.sort(f"{column}_per_s", descending=True, nulls_last=True).row(0, named=True)
            print(f"  fixed work: fastest {work / min(runs):.1f} {name}, median {work / statistics.median(runs):.1f}")
            print(f"  peak: {(peak or 0) / 1e9:.1f} {name} ({getattr(peaks, f'{column}_from')})")
            where = f"{best['label']} of {best['series']} at {best['length']:g}"
            print(f"  fastest component: {best[f'{column}_per_s'] / 1e9:.1f} {name} ({where})")
    print_dispatch(study)


def print_dispatch(study: Study) -> None:
    """Quartiles of what calls on next to nothing take."""
    tiny = (pl.col("bytes") <= TINY) & pl.col("flops").is_null() & pl.col("step").is_not_null()
    for trace in study.traces:
        took = trace.host.filter(tiny)["dur_ns"]
        if took.len() >= 10 and trace.point:
            low, middle, high = (float(took.quantile(q) or 0) / 1e3 for q in (0.25, 0.5, 0.75))
            where = f"{study.label(trace.point)} at {trace.point.length:g}"
            print(f"  {where}: {took.len()} calls on {TINY} bytes or less: {low:.1f} {middle:.1f} {high:.1f} us")


if __name__ == "__main__":
    main()
