"""The sentences that say why: names harmless, numbers those of the tables."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from tracekit.analyze.composition import COMPOSITION
from tracekit.analyze.reasons import OVERTAKES, REASONS, SHIFTS
from tracekit.analyze.tipping import TIPPING
from tracekit.reports.explanations import causes, generally, moves, overtaken

HOSTILE = "<script>\x1b[31m[bold]"


def reason(label: str, before: tuple[float, float], after: tuple[float, float], **fields: Any) -> dict[str, Any]:
    """A row of reasons: (efficient, baseline) in ms before and after the tipping point."""
    gains = [1e6 * (pair[1] - pair[0]) for pair in (before, after)]
    row = {
        **dict.fromkeys(REASONS),
        "efficient": "lf",
        "baseline": "bert",
        "length_unit": "tokens",
        "mode": "inference",
        "verdict": "from",
        "at": 700.0,
        "before": 512.0,
        "after": 1024.0,
        "component": label.split(".")[0],
        "label": label,
        "efficient_before_ns": 1e6 * before[0],
        "baseline_before_ns": 1e6 * before[1],
        "efficient_after_ns": 1e6 * after[0],
        "baseline_after_ns": 1e6 * after[1],
        "efficient_at_ns": 1e6 * after[0],
        "baseline_at_ns": 1e6 * after[1],
        "gain_before_ns": gains[0],
        "gain_after_ns": gains[1],
        "change_ns": gains[1] - gains[0],
    }
    return {**row, **fields}


def table(schema: dict[str, Any], *rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame([{**dict.fromkeys(schema), **row} for row in rows], schema=schema)


def test_the_component_that_changes_most_is_the_cause() -> None:
    rows = [reason("attention.core", (10, 5), (20, 40)), reason("ffn", (30, 30), (60, 61))]
    (text,) = causes(table(REASONS, *rows))
    assert text == (
        "lf overtakes bert between 512 and 1,024 tokens because of attention.core (bert: 5.00 ms to 40.0 ms; "
        "lf: 10.0 ms to 20.0 ms). All but attention costs 60.0 ms (75.0%) of a step there, 61.0 ms (60.4%) in bert."
    )
    both = causes(table(REASONS, rows[0], reason("ffn", (30, 30), (60, 75))))[0]
    assert "because of attention.core (bert:" in both
    assert ") and ffn (bert:" in both


def test_without_a_crossing_the_difference_at_the_end_is_told() -> None:
    rows = [
        reason("attention.core", (10, 5), (50, 20), verdict="never", at=None),
        reason("ffn", (30, 30), (60, 65), verdict="never", at=None),
    ]
    (text,) = causes(table(REASONS, *rows))
    assert text == "lf is slower than bert at 1,024 tokens by 25.0 ms, 30.0 ms of it in attention.core."


SHIFT = {
    "efficient": "lf",
    "efficient_model": "lf",
    "baseline_model": "bert",
    "length_unit": "tokens",
    "from_attention": "eager",
    "to_attention": "sdpa",
    "from_baseline": "bert (eager)",
    "to_baseline": "bert (sdpa)",
    "from_at": 1245.0,
    "to_at": 3332.0,
    "ratio": 2.676,
    "lo": 2.0,
    "hi": 3.4,
    "metric": "latency",
    "explained_at": 3072.0,
    "saved_ns": 2e8,
    "explained_by": "attention.core",
    "explained_ns": 1.9e8,
}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, "in latency by 2.68 times [2.00, 3.40], from 1,245 to 3,332 tokens"),
        ({"hi": None}, "in latency by 2.68 times [2.00, ?], from 1,245 to 3,332 tokens"),
        ({"ratio": None, "to_at": None, "lo": 3.1}, "by more than 3.1 times, from 1,245 tokens to beyond what was"),
    ],
)
def test_what_another_attention_moves(change: dict[str, Any], told: str) -> None:
    (text,) = moves(table(SHIFTS, {**SHIFT, **change}))
    assert text.startswith("sdpa in place of eager in bert moves the tipping point of lf: ")
    assert told in text
    assert text.endswith("At 3,072 tokens it saves bert 200 ms, 190 ms of it in attention.core.")


def test_where_attention_overtakes_the_feed_forward() -> None:
    common: dict[str, Any] = {"length_unit": "tokens", "range_lo": 128.0, "range_hi": 4096.0}
    rows: list[dict[str, Any]] = [
        {"series": "a", "verdict": "from", "at": 500.0, "lo": 450.0, "hi": 612.0},
        {"series": "b", "verdict": "never"},
        {"series": "c", "verdict": "never"},
        {"series": "d", "verdict": "always"},
        {"series": "e", "verdict": "not_resolved"},
    ]
    assert overtaken(table(OVERTAKES, *({**common, **row} for row in rows))) == [
        (
            "Attention costs more than the feed-forward from 500 [450, 612] tokens on in a; nowhere up to 4,096 tokens in b "
            "and c; at every measured length in d; from a length that cannot be told in e."
        )
    ]


def test_the_three_findings_have_numbers() -> None:
    rows: list[dict[str, Any]] = [
        {"metric": "latency", "length_unit": "tokens", "verdict": "from", "at": 1245.0},
        {"metric": "latency", "length_unit": "tokens", "verdict": "from", "at": 3332.0},
        {"metric": "memory", "length_unit": "tokens", "verdict": "never"},
        {"metric": "latency", "length_unit": "seconds", "verdict": "from", "at": 7.25},
        {"metric": "memory", "length_unit": "seconds", "verdict": "not_resolved"},
    ]
    parts = [("attention", 128.0, 0.25), ("ffn", 128.0, 0.75), ("attention", 4096.0, 0.6), ("ffn", 4096.0, 0.4)]
    made = [{"series": "x", "component": c, "length": n, "share": share} for c, n, share in parts]
    above = pl.DataFrame(
        {
            "metric": ["latency", "latency", "latency", "memory"],
            "verdict": ["from", "from", "never", "always"],
            "share": [0.02, 0.4, 0.0, 1.0],
        }
    )
    assert generally(table(TIPPING, *rows), table(COMPOSITION, *made), above) == [
        "Of the dataset's inputs so many are longer than a tipping point: by latency 2.0% to 40.0% (in 2 of 3 pairs).",
        (
            "Tipping points depend on metric and modality: over tokens, by latency from 1,245 to 3,332 on in 2 of 2, by memory "
            "1 never; over seconds, by latency from 7.2 on in 1 of 1, by memory 1 not resolved."
        ),
        "All but attention takes 75.0% of a step at the shortest length of each curve, 40.0% at the longest.",
    ]
    assert generally(table(TIPPING), table(COMPOSITION, *made)) == []


def test_names_are_harmless() -> None:
    texts = [
        *causes(table(REASONS, reason("ffn", (1, 2), (3, 9), efficient=HOSTILE, baseline=HOSTILE))),
        *moves(table(SHIFTS, {**SHIFT, **dict.fromkeys(("efficient", "baseline_model", "to_attention"), HOSTILE)})),
        *overtaken(table(OVERTAKES, {"series": HOSTILE, "verdict": "always", "length_unit": "tokens"})),
    ]
    assert not any("\x1b" in text for text in texts)
