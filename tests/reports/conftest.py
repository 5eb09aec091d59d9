"""Fixtures for reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from tracekit.analyze.tipping import TIPPING

Row = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def tipping_row() -> Row:
    """A row of tipping points, of longformer against bert over 128 to 4,096 tokens unless told otherwise."""

    def row(efficient: str = "longformer", baseline: str = "bert", **given: Any) -> dict[str, Any]:
        pair = {"efficient": efficient, "baseline": baseline, "efficient_model": efficient, "baseline_model": baseline}
        settings = {"efficient_attention": "eager", "baseline_attention": "sdpa", "mode": "inference", "batch": 1}
        same = {"dtype": "float32", "device": "cpu", "metric": "latency", "length_unit": "tokens", "reason": ""}
        ends = {"range_lo": 128.0, "range_hi": 4096.0, "ratio_lo_end": 0.5, "ratio_hi_end": 2.0}
        return {**dict.fromkeys(TIPPING), **pair, **settings, **same, **ends, **given}

    return row


@pytest.fixture(scope="session")
def tipping_table() -> Callable[..., pl.DataFrame]:
    """A table of such rows."""
    return lambda *rows: pl.DataFrame(list(rows), schema=TIPPING)
