"""`tracekit compare --html` as a user types it: where the page goes, and what it does to the exit code."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

Run = Callable[..., subprocess.CompletedProcess[str]]
Store = Callable[..., Path]


def test_the_page_goes_beside_new_or_where_it_is_told(run_cli: Run, tmp_path: Path, store_point: Store) -> None:
    for side, ms in (("base", 10.0), ("new", 20.0)):
        store_point(tmp_path / side, "bert", 128, ms)
    sides = (tmp_path / "base", tmp_path / "new")
    done = run_cli("compare", *sides, "--fail-on", "5%", "--html", "-q")
    assert done.returncode == 1, done.stderr
    written = tmp_path / "new" / "comparison.html"
    assert done.stdout == f"HTML comparison: {written}\n"
    assert written.read_text().startswith("<!doctype html>")
    named = tmp_path / "out" / "mine.htm"
    done = run_cli("compare", *sides, "--html", named, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["html"] == str(named)
    assert "latency of bert at 128 tokens (+100.0%)" in named.read_text()
