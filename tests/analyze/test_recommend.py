"""What a dataset costs under each curve, and which to use: on curves of which the truth is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit.analyze.dataset import Dataset, of_lengths
from tracekit.analyze.expected import ABOVE, DISTINCT, EXPECTED, Question, above
from tracekit.analyze.joint import draw_jointly
from tracekit.analyze.recommend import Recommendation, answer
from tracekit.analyze.resample import Curve, Pair, draw
from tracekit.analyze.study import Study
from tracekit.errors import UsageError
from tracekit.points import Identity, PeakMemory, Point, Sample, Trial

LENGTHS = (128.0, 256.0, 512.0, 1024.0, 2048.0)
Cost = Callable[[float], float]


def points(
    model: str,
    cost: Cost,
    noise: float = 0.0,
    sweep: str = "s",
    seed: int = 0,
    rounds: int = 6,
    lengths: Sequence[float] = LENGTHS,
    memory: Cost = lambda n: 1e6 * n,
    **fields: Any,
) -> list[Point]:
    """A point a length, in ms; a round drifts by 20% for all models of one sweep, where there is noise at all."""
    identity = {k: v for k, v in fields.items() if k in Identity.__struct_fields__}
    rest = {k: v for k, v in fields.items() if k not in identity}
    own = np.random.default_rng([seed, sum(model.encode())])
    found = []
    for n in lengths:
        drift = np.random.default_rng([seed, int(n), sum(sweep.encode())]).normal(0, 0.2, rounds) * (noise > 0)
        walls = [round(1e6 * cost(n) * math.exp(d + own.normal(0, noise))) for d in drift]
        samples = [Sample(wall_ns=w, cpu_ns=None, sweep=sweep, round=r) for r, w in enumerate(walls)]
        made = Identity(model=model, length=n, **identity)
        peak = PeakMemory(bytes=int(memory(n)), method="m")
        found.append(Point(**{"identity": made, "samples": samples, "memory": peak, **rest}))
    return found


def study(*curves: list[Point]) -> Study:
    """Of points alone: tables per point need no trace."""
    return Study("study", [], [point for curve in curves for point in curve])


def recommended(made: Study, asked: Dataset | Question, draws: int = 300) -> Recommendation:
    return made.recommendation(asked, draws)


def test_sums_over_measured_lengths_are_exact() -> None:
    made = study(points("a", lambda n: n / 10), points("b", lambda n: n / 5, batch=2))
    frame = made.expected(of_lengths([128, 128, 512]))
    assert frame.schema == EXPECTED
    row = frame.row(0, named=True)
    assert row["total_ns"] == row["total_lo_ns"] == row["total_hi_ns"] == pytest.approx(1e6 * (12.8 * 2 + 51.2))
    assert row["mean_ns"] == pytest.approx(row["total_ns"] / 3)
    assert (row["rank"], row["inputs"], row["range_lo"], row["range_hi"]) == (1, 3, 128, 2048)
    assert row["below_share"] == row["above_share"] == row["cannot_run_share"] == row["outside_cost_share"] == 0
    assert row["batched_total_ns"] is None
    assert (row["peak_bytes"], row["peak_95_bytes"]) == pytest.approx((512e6, 512e6))
    assert frame["total_ns"][1] == pytest.approx(row["total_ns"])  # twice as long for two at a time


@given(st.lists(st.integers(128, 2048), min_size=1, max_size=30), st.floats(0.5, 2))
def test_a_power_law_is_summed_exactly_between_the_measured_lengths(lengths: list[int], power: float) -> None:
    (total,) = study(points("a", lambda n: n**power)).expected(of_lengths(lengths), draws=20)["total_ns"]
    assert total == pytest.approx(1e6 * sum(n**power for n in lengths), rel=1e-6)


def test_many_distinct_lengths_are_thinned_and_the_sum_stays() -> None:
    lengths = np.random.default_rng(0).uniform(128, 2048, 20_000)
    (total,) = study(points("a", lambda n: n**1.7)).expected(of_lengths(lengths), draws=20)["total_ns"]
    assert len(lengths) > 10 * DISTINCT
    assert total == pytest.approx(1e6 * (lengths**1.7).sum(), rel=1e-4)


def test_throughput_and_memory() -> None:
    trials = [Trial(batch=1, samples_ns=[10**7] * 3), Trial(batch=8, samples_ns=[4 * 10**7] * 3)]
    made = study(
        points("a", lambda n: 10, throughput=trials, memory=lambda n: 3e6 * n),
        points("b", lambda n: 9, throughput=trials[:1], memory=lambda n: 1e6 * n),
    )
    data = of_lengths([*[128] * 19, 2048])
    by = {metric: recommended(made, Question(data, metric)) for metric in ("latency", "throughput", "memory")}
    assert {metric: (said.verdict, said.best) for metric, said in by.items()} == {
        "latency": ("use", "b"),
        "throughput": ("use", "a"),
        "memory": ("use", "b"),
    }
    assert by["throughput"].ratio == pytest.approx(2)
    assert by["throughput"].total == pytest.approx(20 * 5e6)
    assert by["memory"].ratio == pytest.approx(3)
    assert by["memory"].saving == pytest.approx(2 * 2048e6)
    rows = {row["series"]: row for row in made.expected(data).to_dicts()}
    assert rows["b"]["peak_95_bytes"] == pytest.approx(128e6)
    with pytest.raises(UsageError, match="no throughput was measured here: collect with --throughput"):
        recommended(study(points("a", lambda n: n)), Question(data, "throughput"))


def test_the_better_one_is_told_and_what_it_saves() -> None:
    found = recommended(
        study(points("slow", lambda n: n / 5), points("fast", lambda n: n / 10)), of_lengths([256] * 10)
    )
    assert (found.verdict, found.best, found.next, found.tied) == ("use", "fast", "slow", ())
    assert (found.ratio, found.ratio_lo, found.ratio_hi) == pytest.approx((2, 2, 2))
    assert found.saving == pytest.approx(10 * 25.6e6)
    assert found.saving_per_input == pytest.approx(25.6e6)
    assert found.probability == 1
    assert found.mix is None
    assert found.reasons == ()


def test_the_same_seed_gives_the_same_numbers() -> None:
    made = study(points("a", lambda n: n, 0.1), points("b", lambda n: n * n / 700, 0.1))
    one, other = (answer(made, of_lengths([200, 900, 3000]), 100, seed=3) for _ in range(2))
    assert one.expected.equals(other.expected)
    assert one.recommendation == other.recommendation
    assert not answer(made, of_lengths([200, 900, 3000]), 100, seed=4).expected.equals(one.expected)


def test_equal_curves_are_a_tie_nearly_always() -> None:
    data = of_lengths([128, 300, 700, 2000])
    pairs = [study(points("a", lambda n: n, 0.03, seed=s), points("b", lambda n: n, 0.03, seed=s)) for s in range(40)]
    verdicts = [recommended(pair, data).verdict for pair in pairs]
    assert verdicts.count("tie") >= 36
    exact = recommended(study(points("a", lambda n: n), points("b", lambda n: n)), of_lengths([128, 512]))
    assert (exact.verdict, exact.tied, exact.probability) == ("tie", ("b",), 0.5)


def test_turns_taken_tell_a_small_difference_that_drift_would_hide() -> None:
    data = of_lengths([128, 512, 2048])

    def verdict(sweep: str) -> tuple[str, bool]:
        found = answer(study(points("a", lambda n: n, 0.005), points("b", lambda n: 1.04 * n, 0.005, sweep)), data, 300)
        return found.recommendation.verdict, found.apart

    assert verdict("s") == ("use", False)
    assert verdict("t") == ("tie", True)


def busy(curve: list[Point], share: float) -> list[Point]:
    """The curve, its threads waiting for a core for a share of the time."""
    return [
        msgspec.structs.replace(
            p, samples=[msgspec.structs.replace(s, run_delay_ns=int(share * s.wall_ns)) for s in p.samples]
        )
        for p in curve
    ]


def test_doubts_are_in_the_intervals_and_cancel_where_turns_were_taken() -> None:
    data = of_lengths([128, 512, 2048])
    one, other = points("a", lambda n: n, 0.005), points("b", lambda n: 1.1 * n, 0.005)
    calm, both, single = (
        study(*pair) for pair in ((one, other), (busy(one, 0.3), busy(other, 0.3)), (one, busy(other, 0.3)))
    )

    def width(made: Study) -> float:
        row = made.expected(data, 300).row(1, named=True)
        return float(row["total_hi_ns"] / row["total_lo_ns"])

    assert width(both) > 1.3 * width(calm)  # not averaged out over the lengths
    assert [recommended(made, data).verdict for made in (calm, both, single)] == ["use", "use", "tie"]


def test_two_curves_are_drawn_as_a_pair_is() -> None:
    rng = np.random.default_rng(0)
    costs = {n: np.exp(rng.normal(0, 0.1, (2, 7)) + rng.normal(0, 0.5, 7)) * n for n in LENGTHS}
    curves = [{n: {("s", r): [c] for r, c in enumerate(both[k])} for n, both in costs.items()} for k in range(2)]
    one, two = draw_jointly(curves, 4000, 0)
    sides = [Curve({n: [[c] for c in both[k]] for n, both in costs.items()}) for k in range(2)]
    pair = draw(Pair(sides[0], sides[1], frozenset(LENGTHS)), 4000, 1)
    assert one.logs[0] == pytest.approx(pair.efficient[0])
    assert two.logs[0] == pytest.approx(pair.baseline[0])
    assert np.quantile(two.logs - one.logs, [0.1, 0.9], axis=0) == pytest.approx(
        np.quantile(pair.log_ratio, [0.1, 0.9], axis=0), rel=0.1, abs=0.01
    )
    assert np.std(two.logs - one.logs) < 0.5 * np.std(one.logs - one.logs[0])


def test_what_was_hardly_measured_cannot_be_told() -> None:
    made = study(points("a", lambda n: n), points("b", lambda n: 2 * n))
    found = recommended(made, of_lengths([512, 8000, 8000, 8000, 8000]))
    assert (found.verdict, found.best) == ("untold", "a")
    assert found.reasons == (
        "80.0% of the inputs are longer than 2,048 tokens, outside of what a was measured at; they take 98.4% of its time",
    )
    some = recommended(made, of_lengths([2048] * 10 + [2100]))
    assert some.verdict == "use"
    far = recommended(made, Question(of_lengths([512, 8000]), "memory"))
    assert far.verdict == "untold"
    assert "more than twice as long as any that a was measured at" in far.reasons[0]


def test_a_single_sample_tells_nothing_of_noise() -> None:
    found = recommended(study(points("a", lambda n: n, rounds=1), points("b", lambda n: 2 * n)), of_lengths([512]))
    assert found.verdict == "untold"
    assert "a: measured once at each length" in found.reasons[0]
    frame = study(points("a", lambda n: n, rounds=1)).expected(of_lengths([512]))
    assert frame["total_ns"][0] == pytest.approx(512e6)
    assert frame["total_lo_ns"][0] is None


def oom(curve: list[Point], since: float) -> list[Point]:
    """The curve, out of memory from a length on."""
    gone = [Point(identity=p.identity, status="oom", reason="no memory") for p in curve if p.length >= since]
    return [p for p in curve if p.length < since] + gone


def test_who_cannot_run_an_input_is_not_recommended_for_it() -> None:
    fast, slow = oom(points("fast", lambda n: n / 2), 1024), points("slow", lambda n: n)
    data = of_lengths([128, 512, 512, 1024])
    found = recommended(study(fast, slow), data)
    assert (found.verdict, found.best, found.next) == ("only", "slow", None)
    assert found.reasons == ("fast runs out of memory on 25.0% of the inputs (from 1,024 tokens on)",)
    assert found.mix is not None
    assert (found.mix.short, found.mix.long, found.mix.at, found.mix.long_share) == ("fast", "slow", 1024, 0.25)
    rows = {row["series"]: row for row in study(fast, slow).expected(data).to_dicts()}
    assert (rows["fast"]["rank"], rows["fast"]["total_ns"], rows["fast"]["cannot_run_share"]) == (None, None, 0.25)
    neither = recommended(study(fast, oom(slow, 1024)), data)
    assert (neither.verdict, neither.best, neither.mix) == ("none", None, None)
    assert len(neither.reasons) == 2


def test_no_other_to_compare_with() -> None:
    found = recommended(study(points("a", lambda n: n)), of_lengths([512]))
    assert (found.verdict, found.best, found.reasons) == ("only", "a", ())
    once = study(points("a", lambda n: n), points("b", lambda n: 1, lengths=(256.0,)))
    assert recommended(once, of_lengths([512])).reasons == ("b was measured at one length only",)
    assert recommended(once, of_lengths([256])).best == "b"


def test_the_best_mix_is_the_best_of_all_switches() -> None:
    costs: dict[str, Cost] = {"square": lambda n: n * n / 600, "line": lambda n: n, "flat": lambda n: 1500}
    made = study(*(points(name, cost) for name, cost in costs.items()))
    lengths = [128] * 50 + [256] * 30 + [512] * 20 + [1024] * 10 + [2048] * 8
    mix = recommended(made, of_lengths(lengths)).mix
    single = min(sum(map(cost, lengths)) for cost in costs.values())
    best, *switch = min(
        (sum(costs[a if n < at else b](n) for n in lengths), a, b, at)
        for at in LENGTHS[1:]
        for a in costs
        for b in costs
    )
    assert mix is not None
    assert [mix.short, mix.long, mix.at] == switch == ["square", "line", 1024]
    assert mix.long_share == pytest.approx(18 / 118)
    assert mix.total == pytest.approx(1e6 * best)
    assert mix.saving == pytest.approx(1 - best / single)
    assert mix.saving_lo == mix.saving_hi == mix.saving


def test_guesses_far_out_do_not_overflow() -> None:
    made = study(points("a", lambda n: n**2, 0.5, rounds=2), points("b", lambda n: n**3, 0.5, rounds=2))
    found = recommended(made, of_lengths([1e-6, 1e12]), draws=1000)
    assert found.verdict == "untold"


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ({}, "several units: say which by --unit: tokens, seconds"),
        ({"unit": "pixels"}, "--unit pixels, but the lengths of this study are in tokens, seconds"),
        ({"unit": "seconds"}, "several modes: say which by --mode: decode, training"),
        ({"unit": "seconds", "mode": "inference"}, "--mode inference: this study has decode, training"),
        ({"unit": "seconds", "mode": "decode"}, "several devices: say which by --device: cpu, cuda"),
        ({"unit": "tokens", "device": "cuda"}, "--device cuda: this study has cpu"),
    ],
)
def test_which_curves_are_meant(question: dict[str, str], reason: str) -> None:
    made = study(
        points("a", lambda n: n),
        points("a", lambda n: n, mode="decode"),
        points("s", lambda n: n, mode="training", length_unit="seconds"),
        points("s", lambda n: n, mode="decode", length_unit="seconds"),
        points("s", lambda n: n, mode="decode", device="cuda", length_unit="seconds"),
    )
    data = replace(of_lengths([512]), unit=question.pop("unit", None))
    with pytest.raises(UsageError, match=reason):
        recommended(made, Question(data, **question))
    text = made.expected(replace(data, unit=None, text=True))  # texts have tokens; inference is the default
    assert set(text.select("length_unit", "mode").row(0)) == {"tokens", "inference"}
    with pytest.raises(UsageError, match="holds texts, but the lengths of this study are in seconds"):
        recommended(study(points("s", lambda n: n, length_unit="seconds")), replace(data, unit=None, text=True))
    with pytest.raises(UsageError, match="do not say which input length"):
        recommended(study(), data)


@pytest.mark.parametrize(
    ("verdict", "ends", "shares"),
    [
        ("always", {}, (1, 1, 1, 1)),
        ("never", {}, (0, 0, 0, 0)),
        ("not_resolved", {"at": 2.0}, (None, None, None, None)),
        ("from", {"at": 3.0, "lo": 2.0, "hi": 4.0}, (0.5, 0.25, 0.75, 0.7)),
        ("from", {"at": 3.0, "lo": None, "hi": None}, (0.5, 0, 1, 0.7)),
        ("between", {"until": 3.0, "until_lo": 2.0, "until_hi": 4.0}, (0.5, 0.25, 0.75, 0.3)),
        (
            "between",
            {"at": 2.0, "lo": 2.0, "hi": 3.0, "until": 4.0, "until_lo": 3.5, "until_hi": 4.5},
            (0.5, 0.25, 0.75, 0.5),
        ),
    ],
)
def test_shares_of_inputs_by_verdict(verdict: str, ends: dict[str, float], shares: tuple[float | None, ...]) -> None:
    names = ("at", "lo", "hi", "until", "until_lo", "until_hi")
    words = dict.fromkeys(("efficient", "baseline", "mode", "device", "metric", "length_unit"), "x")
    row = {**words, **dict.fromkeys(names), **ends, "verdict": verdict, "range_lo": 2.0, "range_hi": 4.0}
    frame = above(of_lengths([1, 2, 3, 4]), pl.DataFrame([row]))
    assert frame.schema == ABOVE
    found = frame.row(0, named=True)
    assert tuple(found[name] for name in ("share", "share_lo", "share_hi", "length_share")) == shares
    assert found["outside_share"] == 0.25
