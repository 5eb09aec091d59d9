"""Time `tracekit report` on a study of 7 curves x 8 lengths whose traces are cached: CPU seconds, file size, Chromium.

Usage: python benchmarks/report.py FOLDER [--repeats 7]

FOLDER is any study. What it has less than 7 curves and 8 lengths is filled up in a scratch folder with copies of its
points under names and lengths of their own: the work of a report is that of real traces, its answers mean nothing.
Every run is a process from start to exit (user and system time; least and median). Interactive: from opening the page
to the last of its charts drawn and an idle frame, wall time, in headless Chromium (needs playwright and a chromium).
"""

from __future__ import annotations

import argparse
import gzip
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from tracekit.points import TRACE_SUFFIX, Point, find_files, header, open_text, read_point

CURVES, LENGTHS = 7, 8
_LIMIT_MS = 60_000


def enlarged(folder: Path, out: Path) -> int:
    """Write 7 curves x 8 lengths, made of the points of `folder`, below `out`; returns how many are copies."""
    curves: dict[str, list[tuple[Point, Path]]] = {}
    for path in find_files(folder):
        if path.name.endswith(TRACE_SUFFIX) and (point := read_point(path)):
            curves.setdefault(point.identity.series().digest(), []).append((point, path))
    if not curves:
        sys.exit(f"{folder} holds no points: collect some with tracekit collect")
    real = sorted(curves.values(), key=len, reverse=True)
    copies = 0
    for curve in range(CURVES):
        points = sorted(real[curve % len(real)], key=lambda one: one[0].length)[:LENGTHS]
        for place in range(LENGTHS):
            point, path = points[min(place, len(points) - 1)]
            identity = point.identity
            model = identity.model + ("" if curve < len(real) else f" {curve}")
            length = identity.length * 2.0 ** max(0, place + 1 - len(points))
            changed = msgspec.structs.replace(identity, model=model, length=length)
            copies += changed != identity
            _copy(path, changed.path(out), msgspec.structs.replace(point, identity=changed))
    return copies


def _copy(trace: Path, to: Path, point: Point) -> None:
    """The trace under another header: that is its first line."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with open_text(trace) as file, gzip.open(to, "wb", compresslevel=1) as out:
        file.readline()
        out.write(header(point))
        shutil.copyfileobj(file, out)


def cpu_seconds(folder: Path, *options: str) -> float:
    """User and system time of one report, from start to exit."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "tracekit", "report", str(folder), *options]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}  # as installed
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, env={**env, "COLUMNS": "160"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def interactive_ms(page_file: Path, repeats: int) -> tuple[list[float], int] | None:
    """Milliseconds until every chart is drawn, for each run, and how many charts; None without Chromium."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        return None
    taken, charts = [], 0
    with sync_playwright() as playwright:
        for _ in range(repeats):
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page(viewport={"width": 1280, "height": 1180})
            begin = time.perf_counter()
            page.goto(page_file.as_uri())
            page.wait_for_function(_DRAWN, timeout=_LIMIT_MS)
            page.evaluate("() => new Promise(done => requestIdleCallback(done))")
            taken.append((time.perf_counter() - begin) * 1e3)
            charts = page.locator(".chart").count()
            browser.close()
    return taken, charts


_DRAWN = """() => {
    const charts = [...document.querySelectorAll('.chart')]
    return charts.length > 0 && charts.every(chart => chart.querySelector('svg, canvas'))
}"""


def main() -> None:
    """Make the study, fill the cache, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        study, page_file = Path(scratch) / "study", Path(scratch) / "report.html"
        copies = enlarged(args.folder, study)
        os.environ["TRACEKIT_CACHE_DIR"] = str(Path(scratch) / "cache")
        html = ("--html", str(page_file), "--quiet")
        first = cpu_seconds(study)
        print(f"{CURVES * LENGTHS} points, {copies} of them copies under another name or length")
        print(f"{'':12} {'least':>8} {'median':>8}")
        print(f"{'not cached':12} {first:8.2f} {'':8} CPU s (one run)")
        runs: dict[str, list[float]] = {"terminal": [], "HTML": []}
        for _ in range(args.repeats):
            runs["terminal"].append(cpu_seconds(study))
            runs["HTML"].append(cpu_seconds(study, *html))
        for name, seconds in runs.items():
            print(f"{name:12} {min(seconds):8.2f} {statistics.median(seconds):8.2f} CPU s")
        print(f"{'page':12} {page_file.stat().st_size / 1e6:8.2f} {'':8} MB")
        found = interactive_ms(page_file, args.repeats)
        if found is None:
            print("SKIPPED: time to interactive needs playwright and a chromium (or google-chrome) on the path")
            return
        taken, charts = found
        print(f"{'interactive':12} {min(taken) / 1e3:8.2f} {statistics.median(taken) / 1e3:8.2f} s ({charts} charts)")


if __name__ == "__main__":
    main()
