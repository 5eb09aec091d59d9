"""Sentences about tipping points: what each verdict says, and what it does not claim."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from tracekit.analyze.tipping import TIPPING
from tracekit.reports.verdicts import INTERVALS, MEDIANS, QUALITY, disagree, hint, sentence, sentences


def measured(*series: str) -> pl.DataFrame:
    """Latencies at 64 tokens, each curve quicker than the one before."""
    times = {"median_ns": [9.0 - i for i in range(len(series))]}
    same = {"length": 64.0, "batch": 1, "mode": "inference", "length_unit": "tokens"}
    return pl.DataFrame({"series": list(series), **times}).with_columns(**{k: pl.lit(v) for k, v in same.items()})


def row(**given: Any) -> dict[str, Any]:
    """A row of tipping points of longformer against bert, 128 to 4,096 tokens."""
    pair = {"efficient": "longformer", "baseline": "bert", "metric": "latency", "length_unit": "tokens", "batch": 1}
    ends = {"range_lo": 128.0, "range_hi": 4096.0, "ratio_lo_end": 0.5, "ratio_hi_end": 2.0}
    return {**dict.fromkeys(TIPPING), **pair, **ends, "reason": "", **given}


def table(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=TIPPING)


def said(*rows: dict[str, Any], throughput: pl.DataFrame | None = None) -> str:
    (verdict,), caveat = sentences(measured("bert", "longformer"), table(*rows), throughput)
    assert caveat == f"on one machine; {INTERVALS}; {QUALITY}"
    assert verdict.series == "longformer"
    return verdict.text


@pytest.mark.parametrize(
    ("given", "text"),
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
        (
            {"verdict": "not_resolved", "metric": "memory", "reason": "several crossings"},
            "neither lighter nor heavier in memory than bert, as far as this can tell: several crossings",
        ),
        (
            {"verdict": "never", "metric": "memory", "ratio_lo_end": 1.0, "ratio_hi_end": 0.999},
            "not lighter in memory than bert at any measured length, 128 to 4,096 tokens: within 0.5% at both ends",
        ),
        ({"verdict": "never", "baseline": "b\x1b[31m", "ratio_lo_end": None}, "slower than b"),
    ],
)
def test_each_verdict(given: dict[str, Any], text: str) -> None:
    shown = said(row(**given))
    assert shown.startswith(text)
    assert "\x1b" not in shown
    assert sentence(row(**given)) == f"longformer is {shown}"


def test_one_sentence_for_all_metrics_of_a_pair() -> None:
    memory = row(metric="memory", verdict="always", ratio_lo_end=1.5, ratio_hi_end=1.5)
    latency = row(verdict="from", at=3332.0, lo=2511.0, hi=3468.0)
    throughput = row(metric="throughput", verdict="from", at=2900.0, lo=2400.0, hi=3100.0)
    assert said(memory, throughput, latency) == (
        "faster than bert from 3,332 [2,511, 3,468] tokens on; higher in throughput from 2,900 [2,400, 3,100] tokens on; "
        "lighter in memory at every measured length (1.50 times)"
    )
    unresolved = row(metric="memory", verdict="not_resolved", reason="several crossings")
    assert said(latency, unresolved).endswith(" tokens on; not resolved in memory: several crossings")
    never = row(verdict="never")
    assert said(never, {**memory, "range_hi": 2048.0}).endswith(
        "at every measured length, 128 to 2,048 tokens (1.50 times)"
    )


def best_batches(**batches: list[int]) -> pl.DataFrame:
    return pl.DataFrame([{"series": name, "best_batch": batch} for name, found in batches.items() for batch in found])


@pytest.mark.parametrize(
    ("batches", "reason"),
    [
        (
            {"bert": [32, 4], "longformer": [16]},
            "throughput of the best batch of each, 16 against 4 to 32",
        ),
        ({"bert": [1, 1], "longformer": [1]}, "the two disagree, though both are of batch 1"),
        ({"bert": [4]}, "tokens on; the two disagree"),
    ],
)
def test_latency_and_throughput_that_disagree_are_explained_by_what_was_measured(
    batches: dict[str, list[int]], reason: str
) -> None:
    latency = row(verdict="from", at=3000.0, lo=2500.0, hi=3500.0)
    throughput = row(metric="throughput", verdict="from", at=900.0, lo=800.0, hi=1000.0)
    shown = said(latency, throughput, throughput=best_batches(**batches))
    assert "900 [800, 1,000] tokens on; the two disagree" in shown
    assert shown.endswith(reason)


FROM = {"verdict": "from", "at": 1000.0, "lo": 900.0, "hi": 1100.0}
UPTO = {"verdict": "between", "until": 1000.0, "until_lo": 900.0, "until_hi": 1100.0}


@pytest.mark.parametrize(
    ("one", "other", "differ"),
    [
        (FROM, {**FROM, "lo": 1050.0, "hi": 1300.0}, False),
        (FROM, {**FROM, "lo": 1101.0, "hi": 1300.0}, True),
        (FROM, {**FROM, "lo": None, "hi": 700.0}, True),
        (FROM, {"verdict": "always"}, True),
        ({**FROM, "lo": None}, {"verdict": "always"}, False),
        (FROM, {"verdict": "never"}, True),
        ({"verdict": "always"}, {"verdict": "never"}, True),
        ({"verdict": "always"}, {"verdict": "always"}, False),
        (UPTO, {"verdict": "always"}, True),
        (UPTO, UPTO, False),
        (FROM, {"verdict": "not_resolved"}, False),
    ],
    ids=str,
)
def test_what_counts_as_disagreement(one: dict[str, Any], other: dict[str, Any], differ: bool) -> None:
    assert disagree(row(**one), row(**other)) == disagree(row(**other), row(**one)) == differ


def test_sentences_are_in_the_order_of_the_study() -> None:
    pairs = table(row(efficient="c", verdict="never"), row(efficient="b", verdict="never"))
    verdicts, _ = sentences(measured("bert", "a", "b", "c"), pairs)
    assert [verdict.series for verdict in verdicts] == ["a", "b", "c"]


def test_without_baselines_medians_are_compared_and_no_more_is_claimed() -> None:
    nothing = table()
    verdicts, caveat = sentences(measured("a", "b"), nothing)
    assert [v.text for v in verdicts] == ["faster than a at every measured length, 64 tokens"]
    assert caveat == f"on one machine; {MEDIANS}; {QUALITY}"
    several = measured("a", "b\x1b").with_columns(model=pl.col("series"))
    assert hint(several, nothing, None).endswith("by --baseline NAME: a, b\\x1b")
    assert "as b was" in hint(several, nothing, "b")
    assert hint(several, table(row(verdict="never")), None) == ""
    assert hint(several.head(1), nothing, None) == ""


def test_a_model_of_no_pair_is_not_forgotten() -> None:
    verdicts, caveat = sentences(measured("bert", "longformer", "mine"), table(row(verdict="never", range_lo=None)))
    assert [v.series for v in verdicts] == ["longformer", "mine"]
    assert verdicts[1].text == "faster than bert at every measured length, 64 tokens"
    assert caveat == f"on one machine; {INTERVALS}; mine {MEDIANS}; {QUALITY}"
