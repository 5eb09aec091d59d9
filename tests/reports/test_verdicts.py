"""Sentences about tipping points: what each verdict says, and what it does not claim."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from tracekit.analyze.tipping import TIPPING
from tracekit.reports.verdicts import CAVEAT, TIPPING_CAVEAT, sentences


def measured(*series: str) -> pl.DataFrame:
    """Latencies at 64 tokens, each curve quicker than the one before."""
    times = {"median_ns": [9.0 - i for i in range(len(series))]}
    same = {"length": 64.0, "batch": 1, "mode": "inference", "length_unit": "tokens"}
    return pl.DataFrame({"series": list(series), **times}).with_columns(**{k: pl.lit(v) for k, v in same.items()})


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
    verdicts, caveat = sentences(measured("bert", "longformer"), table)
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
    verdicts, caveat = sentences(measured("a", "b"), pl.DataFrame(schema=TIPPING))
    assert [v.text for v in verdicts] == ["faster than a at every measured length, 64 tokens"]
    assert caveat == CAVEAT


def test_a_model_of_no_pair_is_not_forgotten() -> None:
    row = {
        "efficient": "longformer",
        "baseline": "bert",
        "metric": "latency",
        "verdict": "never",
        "length_unit": "tokens",
    }
    table = pl.DataFrame([{**dict.fromkeys(TIPPING), **row}], schema=TIPPING)
    verdicts, caveat = sentences(measured("bert", "longformer", "mine"), table)
    assert [v.series for v in verdicts] == ["longformer", "mine"]
    assert verdicts[1].text == "faster than bert at every measured length, 64 tokens"
    assert caveat == f"{TIPPING_CAVEAT}; mine {CAVEAT}"
