"""Do the peaks that reports rank models by agree with what a fresh process holds?

Usage: python benchmarks/memory_ranking.py FOLDER [--least 0.05]

A point's peak memory is the profiler's allocator events with parameters, inputs and what steps keep. The same point has
a second opinion: VmHWM, the most that its fresh process held resident after its first step, libraries included. For
each length and pair of curves this prints whether the two rank them alike; pairs whose VmHWM differ by less than
`--least` of the smaller are ties, which say nothing. Exit code 1 where a pair that is no tie is ranked otherwise.
"""

from __future__ import annotations

import argparse
import sys
from itertools import combinations
from pathlib import Path

from tracekit.points import Point, find_files, read_point
from tracekit.units import byte_size, length_text


def measured(folder: Path) -> dict[tuple[str, float, str], list[Point]]:
    """The points that have both opinions, by length and mode."""
    groups: dict[tuple[str, float, str], list[Point]] = {}
    for path in find_files(folder):
        point = read_point(path)
        if point and point.ok and point.memory and point.memory.resident_peak_bytes:
            key = (point.identity.length_unit, point.length, point.identity.mode)
            groups.setdefault(key, []).append(point)
    return groups


def resident(point: Point) -> int:
    """Bytes of VmHWM."""
    assert point.memory
    return point.memory.resident_peak_bytes or 0


def main() -> int:
    """Compare all pairs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--least", type=float, default=0.05)
    args = parser.parse_args()
    agree = ties = 0
    against: list[str] = []
    for (unit, length, mode), points in sorted(measured(args.folder).items()):
        for one, other in combinations(points, 2):
            assert one.memory
            assert other.memory
            gap = resident(one) - resident(other)
            if abs(gap) < args.least * min(resident(one), resident(other)):
                ties += 1
            elif gap * (one.memory.bytes - other.memory.bytes) > 0:
                agree += 1
            else:
                names = (f"{p.model} ({p.identity.attention})" for p in (one, other))
                peaks = " / ".join(
                    f"{byte_size(p.memory.bytes)} {byte_size(resident(p))}" for p in (one, other) if p.memory
                )
                against.append(f"{' and '.join(names)}, {mode}, {length_text(length, unit)}: events VmHWM {peaks}")
    print(f"{agree} pairs ranked alike, {len(against)} otherwise, {ties} ties (VmHWM within {args.least:.0%})")
    print(*against, sep="\n")
    return int(bool(against))


if __name__ == "__main__":
    sys.exit(main())
