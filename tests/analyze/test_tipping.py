"""Tipping points: the statistics on curves of which the truth is known, and the pairs of a study."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit.analyze.crossing import Tipping, padding, tipping_point
from tracekit.analyze.load import load_study
from tracekit.analyze.polynomials import nonnegative_fits
from tracekit.analyze.resample import Curve, Pair
from tracekit.errors import UsageError
from tracekit.points import FAILED_SUFFIX, Identity, Point, Sample, Trial, encode

LENGTHS = (128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0)


def exact(costs: Sequence[float | None], lengths: Sequence[float] = LENGTHS) -> Curve:
    """A curve without noise: two equal rounds at each length; None where the model cannot run."""
    ran = {n: [[c], [c]] for n, c in zip(lengths, costs, strict=True) if c is not None}
    return Curve(ran, frozenset(lengths) - set(ran))


def ratios(*values: float | None, is_exact: bool = False) -> Tipping:
    """The verdict on speed-ups at LENGTHS; None: the baseline cannot run."""
    efficient = [1e6 * n for n in LENGTHS]
    baseline = [None if r is None else e * r for e, r in zip(efficient, values, strict=True)]
    return tipping_point(Pair(exact(efficient), exact(baseline), exact=is_exact))


def noisy(scale: float, sd: float, seed: int, rounds: int = 8) -> tuple[Curve, Curve]:
    """Efficient and baseline, ratio n / 700, with drift of 20% common to a round."""
    rng = np.random.default_rng(seed)
    curves: list[dict[float, list[list[float]]]] = [{}, {}]
    for n in LENGTHS:
        drift = rng.normal(0, 0.2, rounds)
        for curve, cost in zip(curves, (n, n * n / 700), strict=True):
            curve[n] = [[scale * cost * math.exp(d + rng.normal(0, sd))] for d in drift]
    return Curve(curves[0]), Curve(curves[1])


def test_exact_crossings_are_found_exactly() -> None:
    found = ratios(*(n / 700 for n in LENGTHS))
    assert found.verdict == "from"
    assert (found.at, found.lo, found.hi) == pytest.approx((700, 700, 700))
    assert found.fit_at == pytest.approx(700)
    assert (found.range_lo, found.range_hi) == (128, 4096)
    assert found.ratio_hi_end == pytest.approx(4096 / 700)


@pytest.mark.parametrize(
    ("speedups", "verdict"),
    [
        ((1.1, 1.2, 1.3, 1.4, 1.5, 1.6), "always"),
        ((0.9, 0.8, 0.7, 0.6, 0.5, 0.4), "never"),
        ((0.5, 0.9, 1.2, 1.4, 1.5, 1.6), "from"),
        ((0.5, 0.9, 1.2, 1.4, 0.9, 0.6), "between"),
        ((1.5, 1.4, 1.2, 0.8, 0.7, 0.6), "between"),
        ((1.5, 0.8, 1.2, 1.3, 1.4, 1.5), "not_resolved"),
        ((0.5, 1.5, 0.5, 1.3, 0.5, 1.5), "not_resolved"),
    ],
)
def test_every_verdict(speedups: tuple[float, ...], verdict: str) -> None:
    found = ratios(*speedups)
    assert found.verdict == verdict
    assert bool(found.reason) == (verdict == "not_resolved")


def test_between_says_where_it_begins_and_ends() -> None:
    found = ratios(0.5, 0.9, 1.2, 1.4, 0.9, 0.6)
    assert found.at is not None
    assert found.until is not None
    assert 256 < found.at < 512 < 1024 < found.until < 2048
    early = ratios(1.5, 1.4, 1.2, 0.8, 0.7, 0.6)
    assert early.at is None
    assert early.until is not None


def test_where_the_baseline_cannot_run_the_efficient_model_is_better() -> None:
    found = ratios(0.5, 0.6, 0.7, 0.8, None, None)
    assert (found.verdict, found.at, found.lo, found.hi) == ("from", 2048, 1024, 2048)
    assert found.reason == "the baseline cannot run at 2048"
    assert found.ratio_hi_end is None
    assert ratios(1.5, 1.6, 1.7, 1.8, None, None).verdict == "always"
    broken = tipping_point(Pair(exact([1, 2, None], LENGTHS[:3]), exact([2, 4, 9], LENGTHS[:3])))
    assert (broken.verdict, broken.until_lo, broken.until_hi) == ("between", 256, 512)


def test_exact_scalars_are_known_no_better_than_the_lengths_around() -> None:
    found = ratios(*(n / 700 for n in LENGTHS), is_exact=True)
    assert (found.verdict, found.lo, found.hi) == ("from", 512, 1024)
    assert found.at == pytest.approx(700)


def test_a_crossing_near_the_end_of_the_range_leaves_the_interval_open() -> None:
    rng = np.random.default_rng(0)
    own = Curve({n: [[n * math.exp(rng.normal(0, 0.1))] for _ in range(8)] for n in LENGTHS})
    base = Curve({n: [[n * n / 128 * 1.02 * math.exp(rng.normal(0, 0.1))] for _ in range(8)] for n in LENGTHS})
    found = tipping_point(Pair(own, base))
    assert found.lo is None
    assert found.hi is not None
    assert found.hi < 256


def test_never_is_not_said_where_a_median_is_better() -> None:
    wild = (0.5, 5, 6, 0.6, 5, 0.9, 5.5, 4)
    own = Curve({n: [[2.0 * n]] * 8 for n in LENGTHS})
    base = Curve({n: [[n * (factor if n == 512 else 1.0)] for factor in wild] for n in LENGTHS})
    found = tipping_point(Pair(own, base))
    assert (found.verdict, found.reason) == ("not_resolved", "better at some measured lengths, but not surely")
    calm = Curve({n: [[1.0 * n]] * 8 for n in LENGTHS})
    assert tipping_point(Pair(own, calm)).verdict == "never"


def test_noise_and_too_few_rounds_resolve_nothing() -> None:
    own, other = noisy(1e6, 0.1, 1), noisy(1e6, 0.1, 2)
    same = tipping_point(Pair(own[0], other[0]))
    assert same.verdict == "not_resolved"
    once = Curve({n: [[1.0]] for n in LENGTHS})
    assert tipping_point(Pair(once, once)).verdict == "not_resolved"


def test_shared_rounds_are_narrower_under_common_drift() -> None:
    own, base = noisy(1e6, 0.01, 0)
    together = tipping_point(Pair(own, base, frozenset(LENGTHS)))
    apart = tipping_point(Pair(own, base))
    assert together.lo is not None
    assert together.hi is not None
    assert together.lo <= 700 <= together.hi
    assert apart.lo is None or apart.hi is None or apart.hi / apart.lo > 1.5 * together.hi / together.lo
    drifted = tipping_point(Pair(own, base, doubt=dict.fromkeys(LENGTHS, 0.5)))
    assert drifted.verdict == "not_resolved"


@given(st.floats(1e-3, 1e9), st.integers(0, 20))
def test_units_do_not_matter_and_the_seed_decides(scale: float, seed: int) -> None:
    one, other = (tipping_point(Pair(*noisy(s, 0.03, seed), frozenset(LENGTHS)), 100) for s in (1.0, scale))
    assert one.verdict == other.verdict
    assert (one.at, one.lo, one.hi) == pytest.approx((other.at, other.lo, other.hi), rel=1e-6)
    assert one == tipping_point(Pair(*noisy(1.0, 0.03, seed), frozenset(LENGTHS)), 100)


@given(st.lists(st.floats(0.2, 5), min_size=6, max_size=6))
def test_an_estimate_lies_in_its_interval_and_between_its_neighbours(speedups: list[float]) -> None:
    found = ratios(*speedups)
    if found.verdict == "from" and found.at is not None and found.lo is not None and found.hi is not None:
        assert found.lo <= found.at <= found.hi
        last = max(n for n, r in zip(LENGTHS, speedups, strict=True) if not r > 1)
        assert last * (1 - 1e-9) <= found.lo
        assert found.hi <= 2 * last * (1 + 1e-9)


@given(st.tuples(*[st.floats(0, 100)] * 3).filter(lambda c: sum(c) > 1))
def test_nonnegative_fits_find_what_is_there(coefficients: tuple[float, float, float]) -> None:
    lengths = np.array(LENGTHS) / 4096
    costs = coefficients @ lengths[None].repeat(3, 0) ** np.arange(3)[:, None]
    assert nonnegative_fits(lengths, costs[None], 2)[0] == pytest.approx(coefficients, abs=1e-3 * sum(coefficients))


def test_padding_is_seen_where_there_is_some() -> None:
    lengths = np.array(LENGTHS)
    assert padding(lengths, np.log(100 + np.ceil(lengths / 512) * 512)[None]) == 512
    assert padding(lengths, np.log(100 + lengths + lengths**2 / 500)[None]) == 0


def _samples(ms: float, sweep: str) -> list[Sample]:
    return [
        Sample(wall_ns=int(ms * 1e6 * f), cpu_ns=None, sweep=sweep, round=r)
        for r, f in enumerate((0.99, 1.0, 1.01, 1.005, 0.995))
    ]


@pytest.fixture
def folder(tmp_path: Path, store_point: Callable[..., Path]) -> Path:
    def trial(ms: float) -> list[Trial]:
        return [Trial(batch=1, samples_ns=[int(2e6 * ms)] * 3), Trial(batch=4, samples_ns=[int(4e6 * ms)] * 3)]

    def store(model: str, n: int, ms: float, attention: str, **fields: Any) -> None:
        more = {"samples": _samples(ms, "s1"), "throughput": trial(ms), **fields}
        store_point(tmp_path, model, n, ms, identity={"attention": attention}, **more)

    for n in (128, 256, 512, 1024, 2048):
        store("longformer", n, n / 10, "eager", baseline="bert")
        store("bert", n, n * n / 4000, "eager")
        store("bert", n, n * n / 8000, "sdpa", samples=_samples(n * n / 8000, "s2"))
    return tmp_path


def test_an_efficient_model_meets_every_attention_of_its_baseline(folder: Path) -> None:
    frame = load_study([folder]).tipping_points(draws=200)
    assert frame.height == 2 * 4
    latency = {row["baseline_attention"]: row for row in frame.iter_rows(named=True) if row["metric"] == "latency"}
    assert latency["eager"]["at"] == pytest.approx(400)
    assert latency["sdpa"]["at"] == pytest.approx(800)
    assert latency["eager"]["interleaved"]
    assert not latency["sdpa"]["interleaved"]
    memory = frame.filter(metric="memory")["verdict"].to_list()
    assert memory == ["never", "never"]  # both equal: not better
    assert frame.filter(metric="throughput")["at"].to_list() == pytest.approx([400, 800])
    assert frame.filter(metric="attention")["at"].to_list() == pytest.approx([400, 800])  # 60% of every step
    assert load_study([folder]).tipping_points(draws=200).equals(frame)


def test_a_conclusion_is_withheld_where_the_doubt_is_larger_than_the_difference(
    tmp_path: Path, store_point: Callable[..., Path]
) -> None:
    def store(model: str, n: int, ms: float, waiting: float, **fields: Any) -> None:
        """`waiting`: the share of wall time in which threads waited for a core."""
        samples = [
            Sample(
                wall_ns=s.wall_ns, cpu_ns=s.wall_ns, run_delay_ns=int(waiting * s.wall_ns), sweep="s1", round=s.round
            )
            for s in _samples(ms, "s1")
        ]
        store_point(tmp_path, model, n, ms, samples=samples, **fields)

    for n in (128, 256, 512, 1024):
        store("longformer", n, n / 10, 0.5, identity={"attention": "eager"}, baseline="bert")
        store("bert", n, n / 9, 0.0)
    busy = load_study([tmp_path]).tipping_points(draws=200).filter(metric="latency").row(0, named=True)
    assert busy["verdict"] == "not_resolved"
    assert busy["reason"] == "withheld, since what is doubtful (busy machine) may be more than the difference"
    for n in (128, 256, 512, 1024):
        store("bert", n, n / 9, 0.5)  # both alike, in turns: no doubt about their ratio
    alike = load_study([tmp_path]).tipping_points(draws=200).filter(metric="latency").row(0, named=True)
    assert alike["verdict"] == "always"


def test_rounds_without_a_sweep_were_not_taken_in_turns(tmp_path: Path, store_point: Callable[..., Path]) -> None:
    for n in (128, 256, 512, 1024):
        store_point(tmp_path, "longformer", n, n / 10, samples=_samples(n / 10, ""), baseline="bert")
        store_point(tmp_path, "bert", n, n * n / 4000, samples=_samples(n * n / 4000, ""))
    row = load_study([tmp_path]).tipping_points(draws=50).filter(metric="latency").row(0, named=True)
    assert row["at"] == pytest.approx(400)
    assert not row["interleaved"]


def test_a_length_at_which_the_baseline_cannot_run_counts(tmp_path: Path, store_point: Callable[..., Path]) -> None:
    for n in (128, 256, 512):
        store_point(tmp_path, "longformer", n, n / 10, baseline="bert")
        store_point(tmp_path, "bert", n, n / 20)
    store_point(tmp_path, "longformer", 1024, 102, baseline="bert")
    failed = Point(identity=Identity(model="bert", length=1024, threads=2, attention="sdpa"), status="oom")
    failed.identity.path(tmp_path, FAILED_SUFFIX).write_bytes(encode(failed))
    row = load_study([tmp_path]).tipping_points(draws=50).filter(metric="latency").row(0, named=True)
    assert (row["verdict"], row["lo"], row["hi"]) == ("from", 512, 1024)
    assert row["reason"] == "the baseline cannot run at 1024"


def test_any_model_may_be_the_baseline(folder: Path) -> None:
    frame = load_study([folder]).tipping_points("longformer", draws=100)
    assert set(frame["baseline_model"]) == {"longformer"}
    assert frame.filter(metric="latency")["verdict"].to_list() == ["between", "between"]
    with pytest.raises(UsageError, match=r"'nobody' is no model of this study; it has: bert, longformer"):
        load_study([folder]).tipping_points("nobody")


def test_the_intervals_hold_the_truth(root: Path) -> None:
    spec = importlib.util.spec_from_file_location("tipping_benchmark", root / "benchmarks" / "tipping.py")
    assert spec is not None
    assert spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = benchmark
    spec.loader.exec_module(benchmark)
    scores = {name: benchmark.score(scene, 0.03, 8, 40, 200) for name, scene in benchmark.SCENES.items()}
    assert all(scores[name].not_wrong >= 0.9 for name in ("crossing", "flat", "padded"))
    assert scores["crossing"].sharp >= 0.7


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("factor", [1.5, 1e3, 1e6])
def test_two_rounds_that_know_nothing_break_nothing(seed: int, factor: float) -> None:
    """Student's t with one degree of freedom draws without bounds; numpy's warnings are errors here."""
    lengths = (32.0, 64.0, 128.0, 256.0, 512.0)
    wild = Curve({n: [[1.0], [factor * n]] for n in lengths})
    calm = Curve({n: [[5.0], [factor * n * 2]] for n in lengths})
    assert tipping_point(Pair(wild, calm), draws=3000, seed=seed).verdict == "not_resolved"
