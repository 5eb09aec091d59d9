"""Sentences about tipping points: what each verdict says, and what it does not claim."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from tracekit.analyze.tipping import TIPPING
from tracekit.reports.verdicts import CAVEAT, TIPPING_CAVEAT, sentences


def said(**row: Any) -> str:
    given = {
        "efficient": "longformer",
        "baseline": "bert",
        "metric": "latency",
        "length_unit": "tokens",
        "reason": "",
        "range_lo": 128.0,
        "range_hi": 4096.0,
        "ratio_lo_end": 0.5,
        "ratio_hi_end": 2.0,
        **row,
    }
    table = pl.DataFrame([{**dict.fromkeys(TIPPING), **given}], schema=TIPPING)
    verdicts, caveat = sentences(pl.DataFrame(), table)
    assert caveat == TIPPING_CAVEAT
    assert verdicts[0].series == "longformer"
    return verdicts[0].text


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"verdict": "never"}, "slower than bert at every measured length, 128 to 4,096 tokens (2.00 to 0.50 times)"),
        (
            {"verdict": "always", "metric": "memory", "ratio_lo_end": 1.5, "ratio_hi_end": 1.5},
            "lighter in memory than bert at every measured length, 128 to 4,096 tokens (1.50 times)",
        ),
        (
            {"verdict": "from", "at": 1245.2, "lo": 1004.4, "hi": 1328.0},
            "faster than bert from 1,245 [1,004, 1,328] tokens on",
        ),
        ({"verdict": "from", "at": 3000.0, "lo": 2500.0}, "faster than bert from 3,000 [2,500, above 4,096] tokens on"),
        (
            {"verdict": "from", "at": 2.5, "lo": 1.25, "hi": 3.0, "length_unit": "seconds"},
            "faster than bert from 2.5 [1.2, 3.0] seconds on",
        ),
        (
            {"verdict": "between", "until": 512.0, "until_lo": 500.0, "until_hi": 600.0},
            "faster than bert only up to 512 [500, 600] tokens",
        ),
        (
            {"verdict": "not_resolved", "reason": "several crossings"},
            "neither faster nor slower than bert, as far as this can tell: several crossings",
        ),
        ({"verdict": "never", "baseline": "b\x1b[31m", "ratio_lo_end": None}, "slower than b"),
    ],
)
def test_each_verdict(row: dict[str, Any], text: str) -> None:
    shown = said(**row)
    assert shown.startswith(text)
    assert "\x1b" not in shown


def test_without_baselines_medians_are_compared_and_no_more_is_claimed() -> None:
    latency = pl.DataFrame(
        {"series": ["a", "b"], "length": [64.0, 64.0], "batch": [1, 1], "mode": ["inference"] * 2}
        | {"length_unit": ["tokens"] * 2, "median_ns": [2.0, 1.0]}
    )
    verdicts, caveat = sentences(latency, pl.DataFrame(schema=TIPPING))
    assert [v.text for v in verdicts] == ["faster than a at every measured length, 64 tokens"]
    assert caveat == CAVEAT
