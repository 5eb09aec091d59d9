"""The terminal report: what it says, and at what width. What it lets through: test_safety."""

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
from tracekit.points import Identity, Point, Profile, Sample
from tracekit.reports import page_data
from tracekit.reports.asked import NOTHING, Asked
from tracekit.reports.envelope import study_tables
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


def shown(study: Study, width: int = 80, asked: Asked = NOTHING, **options: Any) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False, **options)
    print_report(study, console, asked)
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


def test_operators_of_one_component_at_one_length_and_the_total_is_the_whole(folder: Path) -> None:
    text = shown(load_study([folder]), asked=Asked(component="attention", length=512, by="layer"))
    title = "Operators of attention by self time, whole trace: longformer (eager) at 512"
    table = text[text.index(title) : text.index("Data quality") if "Data quality" in text else None]
    assert re.search(r"aten::mm\s+1\s+30.0 ms\s+50.0%", table)
    assert re.search(r"other components\s+\d+\s+24.0 ms\s+40.0%", table)
    assert re.search(r"total\s+6\s+60.0 ms\s+100.0%", table)
    assert "2,048" not in table


@pytest.mark.parametrize("by", ["shape", "layer", "step"])
def test_operators_can_be_told_apart(folder: Path, by: str) -> None:
    for width in (80, 160):
        text = shown(load_study([folder]), width, Asked(by=by, top=1))
        assert re.search(rf"operator\s+{by}", text)
        assert max(map(len, text.splitlines())) <= width
    assert "█" * 4 in text  # half of a step as a bar


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


def busy(ms: float, count: int = 5) -> list[Sample]:
    return [Sample(wall_ns=int(ms * 1e6), cpu_ns=int(ms * 1e6), run_delay_ns=int(ms * 3e5))] * count


@pytest.mark.parametrize("width", [40, 80, 160])
def test_doubts_are_marked_beside_their_number_and_explained_beneath(
    folder: Path, store_point: Store, width: int
) -> None:
    store_point(folder, "bert", 4096, 900, samples=busy(900, 2), profile=Profile(steps=1, warmup=0, wall_ns=18 * 10**8))
    store_point(folder, "longformer", 4096, 400, identity={"attention": "eager"}, baseline="bert")
    text = shown(load_study([folder]), width)
    assert max(map(len, text.splitlines())) <= width
    latency, rest = text[text.index("Latency") :].split("Peak memory", 1)
    words = " ".join(latency.split())
    assert words.count("b: busy machine (threads waited for a core over 5% of the time)") == 1
    assert words.count("f: few repeats") == 1
    if width > 40:
        rows = {line.split()[0]: line for line in latency.splitlines() if line.strip()}
        assert re.search(r"900 ms ±0.0%  bf +400 ms ±1.0%\s*$", rows["4,096"])
        assert re.search(r"400 ms ±1.0% +200 ms ±1.0%\s*$", rows["2,048"])
    rest = " ".join(rest.split())
    memory = rest[: rest.index("Host time")]
    assert "b:" not in memory
    bert = rest[rest.index("Host time of one profiled step: bert") : rest.index("Host time of one profiled step: long")]
    assert "4,096 p" in bert
    assert "p: profiler (steps took over 1.5 times as long" in bert
    assert "p: profiler" not in rest.replace(bert, "")
    assert "warning busy_machine x1" in rest
    assert "note few_repeats x1" in rest


def test_a_study_without_doubts_has_neither_mark_nor_legend(folder: Path) -> None:
    text = shown(load_study([folder]), 80)
    assert re.search(r"2,048 +400 ms ±1.0% +200 ms ±1.0%\s*\n", text)
    assert "busy" not in text
    assert "Data quality" not in text


def test_json_has_doubts_as_rows(folder: Path, store_point: Store) -> None:
    assert study_tables(load_study([folder]), NOTHING)["doubts"] == []
    store_point(folder, "bert", 4096, 900, samples=busy(900))
    (row,) = study_tables(load_study([folder]), NOTHING)["doubts"]
    assert (row["series"], row["length"], row["metric"], row["code"]) == (
        "bert (sdpa)",
        4096,
        "latency",
        "busy_machine",
    )
    assert row["size"] == pytest.approx(0.3)
    json.dumps(row, allow_nan=False)


def test_of_several_captures_the_middle_one_is_shown_and_said(store_point: Callable[..., Path], tmp_path: Path) -> None:
    for number, ms in enumerate((7.0, 5.0, 9.0)):
        store_point(tmp_path / f"capture-{number}", "bert", 128, ms)
    study = load(tmp_path)
    assert isinstance(study, Study)
    text = shown(study)
    assert "7.00 ms" in text
    assert "9.00 ms" not in text
    assert [(f.count, f.where) for f in study.findings if f.code == "captures"] == [(1, "bert at 128, 3 captures")]
    curves = page_data.curves(study, study.tipping_points())
    assert curves[0]["body"] == [["128", "7.00 ms"]]
