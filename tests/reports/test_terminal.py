"""The terminal report: what it says, at what width, and what it lets through."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tracekit import points
from tracekit.analyze.load import load, load_study
from tracekit.analyze.study import Study
from tracekit.points import Identity, Point
from tracekit.reports.terminal import print_report

Store = Callable[..., Path]


def span(name: str, start: float, dur: float, cat: str = "user_annotation") -> dict[str, Any]:
    return {"ph": "X", "cat": cat, "name": name, "pid": 1, "tid": 1, "ts": start, "dur": dur, "args": {}}


@pytest.fixture
def folder(tmp_path: Path, store_point: Store) -> Path:
    for length, bert, longformer in ((128, 10, 30), (512, 50, 60), (2048, 400, 200)):
        store_point(tmp_path, "bert", length, bert)
        store_point(tmp_path, "longformer", length, longformer, identity={"attention": "eager"}, baseline="bert")
    return tmp_path


def shown(study: Study, width: int = 80, **options: Any) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False, **options)
    print_report(study, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [40, 80, 120, 160])
def test_fits_any_width(folder: Path, width: int) -> None:
    text = shown(load_study([folder]), width)
    assert max(map(len, text.splitlines())) <= width


def test_the_answer_comes_first(folder: Path) -> None:
    text = shown(load_study([folder]), 100)
    assert text.index("is faster than bert (sdpa) from ") < text.index("Latency")
    assert text.index("Latency") < text.index("Peak memory") < text.index("Host time") < text.index("Operators")
    assert "Test CPU, 2 threads" in text
    row = next(line for line in text.splitlines() if re.match(r"\s*2,048", line))
    assert "400 ms" in row
    assert "200 ms" in row


def test_the_matrix_follows_the_sentences_where_there_are_several_pairs(folder: Path, store_point: Store) -> None:
    assert "Tipping points:" not in shown(load_study([folder]), 100)
    for length in (128, 512, 2048):
        store_point(folder, "bert", length, length / 4, identity={"attention": "eager"})
    text = shown(load_study([folder]), 100)
    matrix = text[text.index("Tipping points:") : text.index("Latency")]
    assert text.index("is faster than bert (sdpa) from ") < text.index("Tipping points:")
    assert re.search(r"longformer \(eager\) against bert \(sdpa\) +from \d", matrix)
    assert "pair, in tokens" in matrix
    assert " ".join(text.split()).count("no drop-in equals in quality") == 1


def test_components_state_their_total_and_what_is_unattributed(folder: Path) -> None:
    text = shown(load_study([folder]), 160)
    table = text[text.index("Host time of one profiled step: bert") :]
    table = table[: table.index("Operators")]
    for label, time, share in (
        ("attention", "240 ms", "60.0%"),
        ("ffn", "120 ms", "30.0%"),
        ("unattributed", "40.0 ms", "10.0%"),
    ):
        row = next(line for line in table.splitlines() if label in line)
        assert time in row
        assert share in row
    assert "400 ms" in next(line for line in table.splitlines() if "total" in line)


def test_operators_total_is_the_busy_time(folder: Path) -> None:
    text = shown(load_study([folder]))
    table = text[text.index("Operators by self time, whole trace: longformer (eager) at 2,048 tokens") :]
    assert re.search(r"aten::mm\s+1\s+100 ms\s+50.0%", table)
    assert re.search(r"ranges \(self\)\s+5\s+100 ms\s+50.0%", table)
    assert re.search(r"total\s+6\s+200 ms\s+100.0%", table)


HOSTILE = [
    "[bold]x[/bold]",
    "[/]",
    "\x1b[31mred\x1b[0m",
    "\x1b]8;;http://e.x\x07link",
    "a\nb",
    "\u202eabc",
    ":skull:",
    "\x9b31m",
]


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_foreign_names_are_shown_not_obeyed(tmp_path: Path, store_point: Store, name: str) -> None:
    store_point(tmp_path, name, 64, 5, [name], identity={"attention": name})
    text = shown(load_study([tmp_path]), 160)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
    if "[" in name and "\x1b" not in name:
        assert name in text


def test_failed_points_and_findings_are_told(folder: Path) -> None:
    failed = Point(
        identity=Identity(model="bert", length=16384, attention="sdpa", threads=2),
        status="oom",
        reason="no room",
    )
    failed.identity.path(folder, points.FAILED_SUFFIX).write_bytes(points.encode(failed))
    (folder / "notes.json").write_text("{}")
    (folder / "broken.json").write_text('{"traceEvents": [')
    text = shown(load_study([folder]), 120)
    assert re.search(r"16,384 tokens\s+oom\s+no room", text)
    assert "skipped_file x1" in text
    assert "unreadable_file x1" in text


def test_one_foreign_trace_is_worth_showing(tmp_path: Path) -> None:
    path = tmp_path / "foreign.json"
    path.write_text(
        json.dumps({"traceEvents": [span("aten::mm", 0, 10, "cpu_op"), span("aten::add", 20, 5, "cpu_op")]})
    )
    text = shown(load_study([path]))
    assert "aten::mm" in text
    assert "no_ranges" in text
    assert "Latency" not in text
    assert load(path).operators().height == 2
