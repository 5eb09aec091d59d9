"""The roofline as a section and in the terminal: its numbers are the frame's, its text is harmless, nothing is guessed."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from tracekit import points
from tracekit.analyze.load import load_study
from tracekit.analyze.study import Study
from tracekit.components import PALETTE
from tracekit.points import CALIBRATION_BYTES, CALIBRATION_SIDE, Calibration, Identity, Point, Sample
from tracekit.reports import roofline
from tracekit.reports.figure import Section
from tracekit.reports.limits import grids
from tracekit.reports.terminal import print_report
from tracekit.units import significant

PEAK_FLOPS, PEAK_BYTES = 120e9, 12e9
LENGTHS = (128, 256, 512)
CALIBRATION = Calibration(
    round=0,
    unix_s=0,
    matmul_ns=round(2e9 * CALIBRATION_SIDE**3 / PEAK_FLOPS),
    copy_ns=round(2e9 * CALIBRATION_BYTES / PEAK_BYTES),
)
HOSTILE = ("</script><b>x", "[bold]x[/bold]", "\x1b[31mred", "datum['x']", "\u202eevil", "${7*7}")


def store(
    folder: Path,
    model: str,
    length: int,
    calibrated: bool = True,
    opaque: bool = False,
    delay: int = 0,
    identity: dict[str, Any] | None = None,
) -> None:
    """A step of a product in the ffn (`opaque`: of which nothing is known) and an addition in the norm."""
    width = 4 * length
    parts: list[tuple[str, str, int, float]] = [
        ("ffn", "mm_of_somebody" if opaque else "mm", width, width**3 / 3e4),
        ("norm", "add", width, 30 * length),
    ]
    events, start = [], 0.0
    for component, op, side, took in parts:
        args = {"Ev Idx": 1, "Input Dims": [[side, side]] * 2, "Input type": ["float"] * 2}
        span = {"ph": "X", "pid": 1, "tid": 1, "ts": start, "dur": took}
        events += [
            {**span, "cat": "user_annotation", "name": f"tracekit::{component}#x", "args": {"Ev Idx": 0}},
            {**span, "cat": "cpu_op", "name": f"aten::{op}", "args": args},
        ]
        start += took
    step = {"ph": "X", "cat": "user_annotation", "name": "ProfilerStep#1", "pid": 1, "tid": 1, "ts": 0, "dur": start}
    made = Identity(model=model, length=length, **(identity or {}))
    samples = [Sample(wall_ns=round(start * 1000), cpu_ns=None, run_delay_ns=delay) for _ in range(3)]
    point = Point(identity=made, samples=samples, calibration=[CALIBRATION] if calibrated else [])
    path = made.path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(points.header(point) + b'"traceEvents": ' + json.dumps([*events, step]).encode() + b"}")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("roofline")
    for model in ("bert", "longformer", "nystromformer", "performer", "reformer"):
        for length in LENGTHS:
            store(folder, model, length)
    return load_study([folder])


def section(study: Study) -> Section:
    found = roofline.section(study)
    assert found is not None
    return found


def data(spec: dict[str, Any], column: str) -> list[dict[str, Any]]:
    """Rows of the one data set that has `column`."""
    (rows,) = [rows for rows in spec["datasets"].values() if column in rows[0]]
    return list(rows)


def test_points_and_table_are_the_frame(study: Study) -> None:
    table = study.roofline()
    frame = {(r["series"], r["length"], r["label"]): r for r in table.to_dicts()}
    drawn = 0
    for figure in section(study).figures:
        assert figure.spec
        for point in data(figure.spec, "size"):
            row = frame[point["series"], point["length"], point["label"]]
            assert point["rate"] == pytest.approx(row["flops_per_s"] / 1e9)
            assert (point["intensity"], point["roof_share"]) == pytest.approx((row["intensity"], row["roof_share"]))
            assert (point["size"] == 90) == (point["length"] == max(LENGTHS))
            drawn += 1
        for cells in figure.body:
            row = frame[cells[1], float(max(LENGTHS)), cells[0]]
            assert cells[7] == ("-" if row["flops_per_s"] is None else significant(row["flops_per_s"] / 1e9))
            assert cells[9:11] == [f"{row['roof_share']:.0%}", row["bound"]]
    assert drawn == table["flops"].count() == 5 * len(LENGTHS)  # the norms have no FLOPs: they are in the table alone
    assert sum(len(figure.body) for figure in section(study).figures) == 5 * 2


def test_few_curves_a_chart_and_none_left_out(study: Study) -> None:
    figures = section(study).figures
    shown = [{cells[1] for cells in figure.body} for figure in figures]
    assert [len(names) for names in shown] == [3, 2]
    assert set.union(*shown) == set(study.latency()["series"])
    assert len({figure.id for figure in figures}) == len(figures)


def test_the_roof_is_the_peaks(study: Study) -> None:
    figure = section(study).figures[0]
    assert figure.spec
    assert "120 GFLOP/s (the fastest run of a product of matrices of 512)" in figure.note
    assert "12.0 GB/s (the fastest copy of 16 MiB)" in figure.note
    lines = [rows for rows in figure.spec["datasets"].values() if "text" in rows[0]]
    corners = {(round(row["intensity"], 4), round(row["rate"], 4)) for rows in lines for row in rows}
    assert (10.0, 120.0) in corners  # the ridge: 120 GFLOP/s over 12 GB/s
    for at, rate in corners:
        assert rate == pytest.approx(min(120, 12 * at), rel=1e-4)
    colour = figure.spec["layer"][-1]["encoding"]["color"]["scale"]
    assert dict(zip(colour["domain"], colour["range"], strict=True)) == {"ffn": PALETTE["ffn"]}


def test_without_peaks_there_is_no_roof_and_nothing_is_said_to_be_a_bound(tmp_path: Path) -> None:
    store(tmp_path, "bert", 128, calibrated=False)
    study = load_study([tmp_path])
    (figure,) = section(study).figures
    assert figure.spec
    assert "not known" in figure.note
    assert not [rows for rows in figure.spec["datasets"].values() if "text" in rows[0]]
    assert all(cells[9:14] == ["-"] * 5 for cells in figure.body)
    assert "overhead" not in section(study).note
    assert list(grids(study, 80)) == []


def test_nothing_known_is_no_section(tmp_path: Path, store_point: Callable[..., Path]) -> None:
    store_point(tmp_path, "bert", 128, 10)
    assert roofline.section(load_study([tmp_path])) is None
    assert roofline.section(Study("nothing", [])) is None


def test_names_are_harmless(tmp_path: Path) -> None:
    for name in HOSTILE:
        store(
            tmp_path, name, 128, identity={"attention": name, "device": "cpu", "length_unit": name, "dtype": "float32"}
        )
    study = load_study([tmp_path])
    found = section(study)
    texts = [
        found.note,
        *(t for f in found.figures for t in (f.title, f.note, *f.head, *(c for r in f.body for c in r))),
    ]
    texts += [cell for grid in grids(study, 80) for row in (grid.head, grid.notes, *grid.body) for cell in row]
    assert not [text for text in texts if "\x1b" in text or "\u202e" in text]
    fields = {  # a name is a value of a column, never the column's
        encoding["field"]
        for figure in found.figures
        for layer in (figure.spec or {})["layer"]
        for encoding in layer["encoding"].values()
        if isinstance(encoding, dict) and "field" in encoding
    }
    assert fields == {"intensity", "rate", "text", "label", "path", "length", "series", "size"}


@pytest.mark.parametrize("width", [60, 80, 160])
def test_the_terminal_says_what_limits_the_costliest_components(study: Study, width: int) -> None:
    (grid,) = grids(study, width)
    assert grid.head == ["curve", "at", "ffn", "norm"]
    table = study.roofline().filter(pl.col("length") == max(LENGTHS))
    for name, at, *cells in grid.body:
        rows = {row["label"]: row for row in table.filter(pl.col("series") == name).to_dicts()}
        assert at == "512 tokens"
        assert cells == [f"{rows[label]['bound']} {rows[label]['roof_share']:.0%}" for label in ("ffn", "norm")]
    console = Console(file=io.StringIO(), width=width)
    print_report(study, console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "What it is limited by" in text
    assert max(map(len, text.splitlines())) <= width


def test_what_cannot_be_told_is_a_question_mark_that_is_explained(tmp_path: Path) -> None:
    store(tmp_path, "bert", 128)
    store(tmp_path, "vit", 128, opaque=True)
    (grid,) = grids(load_study([tmp_path]), 80)
    cells = {name: dict(zip(grid.head[2:], row, strict=True)) for name, _, *row in grid.body}
    assert cells["vit"]["ffn"].startswith("? ")
    assert cells["vit"]["norm"].startswith("memory ")
    assert [note for note in grid.notes if note.startswith("?: ")]
    body = [row for figure in section(load_study([tmp_path])).figures for row in figure.body]
    assert [row[10] for row in body if row[:2] == ["ffn", "vit"]] == ["no formula for 100% of its time"]


def test_a_busy_machine_is_said_to_be_one(tmp_path: Path) -> None:
    store(tmp_path, "bert", 128, delay=10**9)
    store(tmp_path, "vit", 128)
    (grid,) = grids(load_study([tmp_path]), 80)
    assert [note for note in grid.notes if "busy" in note and "bert" in note and "vit" not in note]
    assert "busy" in section(load_study([tmp_path])).note
