"""The matrix of tipping points: what a cell says, how pairs and modes are laid out, and that no figure is broken."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from tracekit.reports.matrix import Column, Matrix, matrix
from tracekit.reports.matrix_text import matrix_block

Row = Callable[..., dict[str, Any]]
Table = Callable[..., pl.DataFrame]


def made(table: pl.DataFrame) -> Matrix:
    found = matrix(table)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("given", "kind", "shown"),
    [
        ({"verdict": "from", "at": 1245.2, "lo": 1004.4, "hi": 1328.0}, "from", "from 1,245 [1,004, 1,328]"),
        ({"verdict": "from", "at": 3000.0, "lo": 2500.0}, "from", "from 3,000 [2,500, >4,096]"),
        ({"verdict": "from", "at": 140.0, "hi": 200.0}, "from", "from 140 [<128, 200]"),
        ({"verdict": "always", "ratio_lo_end": 1.24, "ratio_hi_end": 21.9}, "always", "always (1.2x to 22x)"),
        ({"verdict": "always", "ratio_lo_end": None, "ratio_hi_end": 1.8}, "always", "always (1.8x)"),
        ({"verdict": "never", "ratio_lo_end": 0.6, "ratio_hi_end": 0.6}, "never", "never (0.60x)"),
        ({"verdict": "never", "ratio_lo_end": None, "ratio_hi_end": None}, "never", "never "),
        ({"verdict": "between", "at": 2100.0, "until": 4000.0}, "between", "2,100 to 4,000 "),
        (
            {"verdict": "between", "until": 512.0, "until_lo": 500.0, "until_hi": 600.0},
            "between",
            "up to 512 [500, 600]",
        ),
        ({"verdict": "not_resolved", "at": 900.0, "reason": "several crossings"}, "not_resolved", "not resolved "),
    ],
    ids=str,
)
def test_a_cell_of_each_verdict(tipping_row: Row, tipping_table: Table, given: Any, kind: str, shown: str) -> None:
    table = tipping_table(tipping_row(**given), tipping_row("other", metric="memory", verdict="never"))
    first, second = made(table).pairs
    assert (first.cells[0].kind, f"{first.cells[0].text} {first.cells[0].detail}") == (kind, shown)
    assert first.cells[0].sentence.startswith("longformer is ")
    assert [(cell.kind, cell.text) for cell in (first.cells[1], second.cells[0])] == [
        ("not_measured", "not measured")
    ] * 2


def test_one_pair_needs_no_matrix(tipping_row: Row, tipping_table: Table) -> None:
    assert matrix(tipping_table()) is None
    metrics = [tipping_row(verdict="never", metric=metric) for metric in ("latency", "memory")]
    assert matrix(tipping_table(*metrics)) is None
    assert matrix(tipping_table(*metrics, tipping_row(baseline="other", verdict="never"))) is not None


def test_metrics_stand_in_one_order_and_new_ones_after_them(tipping_row: Row, tipping_table: Table) -> None:
    metrics = ("attention", "memory", "throughput", "latency")
    rows = [tipping_row(name, verdict="never", metric=metric) for metric in metrics for name in ("a", "b")]
    assert [column.title for column in made(tipping_table(*rows)).columns] == list(reversed(metrics))


def test_modes_are_columns_of_one_pair(tipping_row: Row, tipping_table: Table) -> None:
    def row(model: str, mode: str, **given: Any) -> dict[str, Any]:
        names = {"efficient_model": model, "baseline_model": "bert", "mode": mode, "verdict": "never"}
        return tipping_row(f"{model} (eager, {mode})", f"bert (sdpa, {mode})", **{**names, **given})

    rows = [row(model, mode) for model in ("a", "b") for mode in ("training", "inference")]
    found = made(tipping_table(*rows))
    assert found.columns == (Column("latency", "inference"), Column("latency", "training"))
    assert [(pair.efficient, pair.baseline) for pair in found.pairs] == [
        ("a (eager)", "bert (sdpa)"),
        ("b (eager)", "bert (sdpa)"),
    ]
    # Curves that no column of the table tells apart (threads, say) keep the labels that do.
    twice = [{**one, "efficient": f"{one['efficient']} {threads}"} for one in rows for threads in (1, 2)]
    found = made(tipping_table(*twice))
    assert len(found.pairs) == len(twice)
    assert [column.title for column in found.columns] == ["latency"]


def test_pairs_of_one_unit_stand_together(tipping_row: Row, tipping_table: Table) -> None:
    units = ("pixels", "tokens", "pixels")
    rows = [tipping_row(f"m{i}", verdict="never", length_unit=unit) for i, unit in enumerate(units)]
    found = made(tipping_table(*rows))
    assert found.units == ["pixels", "tokens"]
    assert [pair.efficient for pair in found.pairs] == ["m0", "m2", "m1"]


def printed(found: Matrix, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(matrix_block(found, width))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture
def many(tipping_row: Row, tipping_table: Table) -> Matrix:
    """Four metrics of pairs with figures of many digits, and a long name."""
    verdicts: list[dict[str, Any]] = [
        {"verdict": "from", "at": 12450.0, "lo": 10040.0, "hi": 13280.0},
        {"verdict": "always", "ratio_lo_end": 0.017, "ratio_hi_end": 21.4},
        {"verdict": "not_resolved", "reason": "several crossings"},
    ]
    return made(
        tipping_table(
            *(
                tipping_row(name, "bert (eager)", metric=metric, **verdicts[(i + j) % 3])
                for i, name in enumerate(("longformer (eager)", "performer with a long name (eager)"))
                for j, metric in enumerate(("latency", "throughput", "memory", "attention"))
            )
        )
    )


@pytest.mark.parametrize("width", [40, 60, 80, 100, 160])
def test_no_figure_is_broken(many: Matrix, width: int) -> None:
    text = printed(many, width)
    assert max(map(len, text.splitlines())) <= width
    cells = [cell for pair in many.pairs for cell in pair.cells]
    for cell in cells:
        same = sum(other.text == cell.text for other in cells)
        assert len(re.findall(rf"{re.escape(cell.text)}(?!\S)", text)) == same
        assert cell.detail in text
    assert "…" not in text


def test_where_there_is_room_a_pair_is_one_line(many: Matrix) -> None:
    narrow, wide = printed(many, 80), printed(many, 180)
    line = "longformer (eager) against bert (eager)"
    assert line in wide
    assert line not in narrow
    assert next(row for row in wide.splitlines() if line in row).count("12,450") == 2
    assert re.search(r"^longformer \(eager\) +from 12,450", narrow, re.MULTILINE)


def test_names_are_shown_not_obeyed(tipping_row: Row, tipping_table: Table) -> None:
    hostile = ("[bold]x[/bold]", "\x1b[31mred", "a\nb", "\u202eabc")
    rows = [tipping_row(name, name, verdict="never", length_unit=name, metric=name) for name in hostile]
    text = printed(made(tipping_table(*rows)), 200)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert "[bold]x[/bold] against [bold]x[/bold]" in text
