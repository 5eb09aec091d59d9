"""By how much a cost changed: the statistics on costs of which the truth is known, and readings of points."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit.analyze.interval import (
    PROCESS_SPREAD,
    PROCESS_SPREAD_RAW,
    Change,
    change,
    difference,
    mean_difference,
    student,
)
from tracekit.analyze.matching import Capture
from tracekit.analyze.measured import METRICS, Measured
from tracekit.analyze.trace import Trace
from tracekit.points import Calibration, Identity, PeakMemory, Point, Sample, Trial

LATENCY, MEMORY, THROUGHPUT = (METRICS[name] for name in ("latency", "memory", "throughput"))
# Student's t at 97.5%, of the usual tables.
TABLE = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 8: 2.306, 10: 2.228, 14: 2.145, 30: 2.042}


def reading(*walls: float, pace: Sequence[float] | float = (), sweep: str = "", **more: Any) -> Measured:
    """Of rounds that took `walls` each, beside fixed work that took `pace`."""
    paces = [pace] * len(walls) if isinstance(pace, int | float) else pace
    return Measured(
        statistics.median(walls),
        [math.log(wall) for wall in walls],
        [(sweep, number) for number in range(len(walls))],
        [math.log(wall / one) for wall, one in zip(walls, paces, strict=True)] if paces else (),
        statistics.median(paces) if paces else None,
        series=16 if paces else 0,
        **more,
    )


def of(base: Sequence[Measured], new: Sequence[Measured], alike: bool = True) -> Change:
    return change(LATENCY, base, new, alike)


def test_students_t_is_that_of_the_tables() -> None:
    assert {freedom: student(freedom) for freedom in TABLE} == pytest.approx(TABLE, rel=2e-3)
    assert student(1e6) == pytest.approx(1.959964, abs=1e-4)


@pytest.mark.parametrize("captures", range(2, 9))
@pytest.mark.parametrize("strays", [0.0, 0.1])
def test_the_interval_holds_the_true_change(captures: int, strays: float) -> None:
    """Of processes that differ by 2%; some of them met other work, which made them slower by any factor."""
    rng = np.random.default_rng([captures, round(100 * strays)])
    tries, true = 1000, math.log(1.1)
    sides = rng.normal(0, 0.02, (tries, 2, captures))
    sides += rng.exponential(0.2, sides.shape) * (rng.random(sides.shape) < strays)
    found = np.array([difference(base, new + true) for base, new in sides])
    held = np.mean(np.abs(found[:, 0] - true) <= found[:, 1])
    assert held >= 0.94 - 2 * math.sqrt(0.94 * 0.06 / tries)


def test_more_captures_tell_a_smaller_change() -> None:
    rng = np.random.default_rng(0)
    half = [np.median([difference(*rng.normal(0, 0.02, (2, n)))[1] for _ in range(200)]) for n in (2, 3, 5, 10, 20)]
    assert half == sorted(half, reverse=True)
    assert half[2] < 0.04  # five a side see a change of 5%


def test_one_stray_capture_neither_hides_a_change_nor_makes_one() -> None:
    base = np.array([0.0, 0.004, -0.003, 0.002, -0.001])
    for stray in (0.5, 5.0):
        hidden = difference(np.append(base, stray), np.append(base, stray / 2) + 0.1)
        assert hidden[0] - hidden[1] > 0.05
        made = difference(base, np.append(base[:4], stray))
        assert abs(made[0]) < made[1]


@pytest.mark.parametrize("rounds", [5, 30])
@pytest.mark.parametrize("captures", [1, 2, 4])
def test_one_capture_on_a_side_uses_the_assumed_spread(rounds: int, captures: int) -> None:
    rng = np.random.default_rng([rounds, captures])
    tries, hits = 600, 0
    for _ in range(tries):
        sides = [
            [
                reading(*np.exp(level + rng.normal(0, 0.01, rounds)), pace=1.0)
                for level in rng.normal(0, PROCESS_SPREAD, n)
            ]
            for n in (captures, 1)
        ]
        found = of(sides[0], sides[1])
        assert found.repeats == "rounds"
        hits += found.lo <= 1 <= found.hi
    assert hits / tries >= 0.94 - 2 * math.sqrt(0.94 * 0.06 / tries)


def test_two_captures_that_agree_by_chance_are_not_sure() -> None:
    found = of([reading(1, 1, pace=1.0)] * 2, [reading(1, 1, pace=1.0)])
    assert math.log(found.hi) == pytest.approx(1.96 * PROCESS_SPREAD * math.sqrt(1 + 1 / 2))


def test_without_fixed_work_more_spread_is_assumed() -> None:
    paced, raw = of([reading(1, 1, pace=1.0)], [reading(1, 1, pace=1.0)]), of([reading(1, 1)], [reading(1, 1)])
    assert math.log(paced.hi) == pytest.approx(1.96 * PROCESS_SPREAD * math.sqrt(2))
    assert math.log(raw.hi) == pytest.approx(1.96 * PROCESS_SPREAD_RAW * math.sqrt(2))
    assert (paced.paced, raw.paced, raw.drift) == (True, False, None)


def test_one_round_tells_nothing_of_its_scatter() -> None:
    single, many = of([reading(1)], [reading(1)]), of([reading(1, 1, 1)], [reading(1, 1, 1)])
    assert single.hi > many.hi


def in_turns(base: Any, new: Any, every: int = 2) -> Change:
    """Captures whose times alternate, with `every` 2; with 1, one side after the other."""
    at = [2.0 * n + 1 if every == 2 else n + 1.0 for n in range(len(base))]
    later = [one + 1 if every == 2 else one + len(base) for one in at]
    return of(
        [reading(wall, pace=1.0, unix_s=t) for wall, t in zip(base, at, strict=True)],
        [reading(wall, pace=1.0, unix_s=t) for wall, t in zip(new, later, strict=True)],
    )


def test_captures_in_turns_are_compared_with_their_neighbours() -> None:
    """A state of the machine that fixed work does not tell, and that lasts longer than a capture, hits both."""
    state = np.array([1.0, 1.0, 1.3, 1.3, 1.0])
    wobble = np.array([1.0, 1.004, 0.998, 1.002, 0.997])
    found = in_turns(100 * state, 110 * state * wobble)
    apart = in_turns(100 * state, 110 * state * wobble, every=1)
    assert (found.repeats, apart.repeats) == ("pairs", "processes")
    assert found.ratio == pytest.approx(1.1, rel=0.005)
    assert 1.08 < found.lo < found.hi < 1.12
    assert apart.hi / apart.lo > 2 * (found.hi / found.lo) - 1
    assert in_turns(100 * state[:4], 110 * state[:4]).repeats == "processes"  # too few pairs to tell how they differ


@pytest.mark.parametrize("strays", [0.0, 0.1])
def test_the_interval_of_pairs_holds_the_true_change(strays: float) -> None:
    rng = np.random.default_rng(round(100 * strays))
    tries, true = 1000, math.log(1.1)
    pairs = rng.normal(true, 0.02, (tries, 5)) + rng.exponential(0.2, (tries, 5)) * (rng.random((tries, 5)) < strays)
    found = np.array([mean_difference(one) for one in pairs])
    assert np.mean(np.abs(found[:, 0] - true) <= found[:, 1]) >= 0.94 - 2 * math.sqrt(0.94 * 0.06 / tries)


def test_a_slower_machine_cancels_where_fixed_work_was_timed() -> None:
    base = [reading(100 + n, 101 + n, pace=(10, 10)) for n in range(3)]
    slow = [reading(2 * (100 + n), 3 * (101 + n), pace=(20, 30)) for n in range(3)]
    found = of(base, slow)
    assert found.repeats == "processes"
    assert found.ratio == pytest.approx(1)
    assert found.drift == pytest.approx(2.5)
    assert (found.base, found.new) == (101.5, 254.0)  # as measured


@pytest.mark.parametrize("case", ["no fixed work", "on one side", "another machine", "another series"])
def test_a_slower_machine_counts_where_fixed_work_does_not_tell(case: str) -> None:
    pace: tuple[float, ...] = () if case == "no fixed work" else (10.0,)
    theirs: tuple[float, ...] = () if case in ("no fixed work", "on one side") else (20.0,)
    base, new = [reading(100, pace=pace)] * 2, [reading(200, pace=theirs)] * 2
    if case == "another series":
        new = [Measured(one.cost, one.rounds, one.turns, one.paced, one.pace_ns, series=4) for one in new]
    found = of(base, new, alike=case != "another machine")
    assert (found.paced, found.drift) == (False, None)
    assert found.ratio == pytest.approx(2)


def test_captures_that_took_turns_need_no_fixed_work() -> None:
    """Each round was slower than the last, for both alike."""
    drift = [1.0, 1.5, 2.0, 3.0, 5.0]
    base, new = reading(*drift, sweep="s", drift=0.5), reading(*(1.1 * d for d in drift), sweep="s", drift=0.5)
    found = of([base], [new])
    assert found.repeats == "turns"
    assert found.ratio == pytest.approx(1.1)
    assert math.log(found.hi / found.lo) / 2 == pytest.approx(1.96 * PROCESS_SPREAD * math.sqrt(2))


@pytest.mark.parametrize(("sweeps", "alike"), [(("s", "t"), True), (("", ""), True), (("s", "s"), False)])
def test_rounds_of_other_sweeps_or_machines_are_no_turns(sweeps: tuple[str, str], alike: bool) -> None:
    base, new = (reading(1, 2, sweep=sweep) for sweep in sweeps)
    assert of([base], [new], alike).repeats == "rounds"


def test_doubts_widen_what_was_not_normalised() -> None:
    def width(captures: int, pace: Sequence[float] = (), **doubt: Any) -> float:
        side = [reading(1, pace=pace, **doubt) for _ in range(captures)]
        found = of(side, side)
        return math.log(found.hi / found.lo) / 2

    assert width(3, doubt=0.1) == pytest.approx(1.96 * 0.1 * math.sqrt(2))
    assert width(3, drift=0.1) == pytest.approx(1.96 * 0.1 * math.sqrt(2))  # the machine's drift is in it
    assert width(3, pace=(1,), doubt=0.1, drift=0.1) == 0
    assert width(1, pace=(1,), doubt=0.1) > width(1, pace=(1,)) == width(1, pace=(1,), drift=0.1)


def test_a_count_has_no_noise() -> None:
    found = change(MEMORY, [reading(100)], [reading(103)], alike=True)
    assert (found.repeats, found.paced) == ("exact", False)
    assert (found.lo, found.ratio, found.hi) == pytest.approx((1.03, 1.03, 1.03))
    unsure = change(MEMORY, [reading(100), reading(104)], [reading(102)], alike=True)
    assert unsure.lo < 1 < unsure.hi


COSTS = st.floats(1.0, 1e15)
SIDE = st.lists(st.lists(st.tuples(COSTS, st.floats(1.0, 1e9)), min_size=1, max_size=5), min_size=1, max_size=6)


@given(SIDE, SIDE, st.sampled_from([LATENCY, MEMORY]), st.booleans(), st.booleans())
def test_swapped_sides_mirror_the_interval(base: Any, new: Any, metric: Any, paced: bool, alike: bool) -> None:
    sides = [
        [
            reading(*(w for w, _ in one), pace=[p for _, p in one] if paced else (), sweep="s", doubt=0.01)
            for one in side
        ]
        for side in (base, new)
    ]
    there, back = change(metric, sides[0], sides[1], alike), change(metric, sides[1], sides[0], alike)
    assert (there.base, there.new, there.repeats, there.paced) == (back.new, back.base, back.repeats, back.paced)
    assert there.lo <= there.ratio * (1 + 1e-9)
    assert there.ratio <= there.hi * (1 + 1e-9)
    logs = [math.log(one) for one in (there.ratio, there.lo, there.hi)]
    assert logs == pytest.approx([-math.log(one) for one in (back.ratio, back.hi, back.lo)], abs=1e-6)


def test_without_any_bound_the_interval_is_still_one() -> None:
    found = of([reading(1), reading(1e15)], [reading(1e3), reading(1e18)])
    assert 0 < found.lo < found.ratio < found.hi < math.inf


def capture(**fields: Any) -> Capture:
    made = Point(identity=Identity(model="m", length=1.0, threads=1), **fields)
    return Capture(Trace("a.json", made), made)


def samples(*walls: int, sweep: str = "s", rounds: int | None = None) -> list[Sample]:
    return [
        Sample(wall_ns=wall, cpu_ns=None, sweep=sweep, round=number % (rounds or len(walls)))
        for number, wall in enumerate(walls)
    ]


def paces(*times: int, series: int = 8) -> list[Calibration]:
    return [Calibration(round=n, unix_s=0, matmul_ns=ns, copy_ns=1, series=series) for n, ns in enumerate(times)]


def test_a_reading_is_the_median_of_rounds_each_over_its_fixed_work() -> None:
    found = LATENCY.read(capture(samples=samples(10, 20, 12, 24, 500, 22, rounds=2), calibration=paces(2, 4)))
    assert found is not None
    assert found.cost == 17  # of the rounds' medians, 12 and 22
    assert np.exp(found.rounds) == pytest.approx([12, 22])
    assert np.exp(found.paced) == pytest.approx([6, 5.5])
    assert (found.pace_ns, found.series) == (3, 8)


@pytest.mark.parametrize(
    "calibration",
    [[], paces(2), paces(2, 4, series=1), [*paces(2), *paces(2, 4, series=3)[1:]], paces(2, 0)],
    ids=["none", "of one round", "single pieces", "mixed series", "no time"],
)
def test_fixed_work_that_does_not_tell_is_left_out(calibration: list[Calibration]) -> None:
    found = LATENCY.read(capture(samples=samples(10, 20), calibration=calibration))
    assert found is not None
    assert (list(found.paced), found.pace_ns, found.series) == ([], None, 0)


def test_samples_of_one_round_are_rounds_of_their_own() -> None:
    """As of points that are described by hand: nothing else tells of their noise."""
    found = LATENCY.read(capture(samples=samples(10, 20, 40, sweep="", rounds=1)))
    assert found is not None
    assert (found.cost, len(found.rounds)) == (20, 3)
    assert of([found], [found]).repeats == "rounds"


def test_drift_of_the_machine_is_a_doubt_of_what_is_not_paced() -> None:
    walls = [100, 110, 120, 130, 140, 150, 160, 170]
    found = LATENCY.read(capture(samples=samples(*walls), calibration=paces(*walls)))
    assert found is not None
    assert (found.doubt, found.drift > 0.1) == (0, True)


def test_points_that_were_not_measured_have_no_reading() -> None:
    nothing = capture()
    assert {name for name, metric in METRICS.items() if metric.name in ("host", "device") or metric.read(nothing)} == {
        "host",
        "device",
    }
    assert LATENCY.read(capture(samples=samples(0, -5))) is None
    assert MEMORY.read(capture(memory=PeakMemory(bytes=0, method="m"))) is None
    assert LATENCY.read(Capture(Trace("a.json"), None)) is None


def test_throughput_is_the_time_of_one_input_in_the_best_batch() -> None:
    trials = [
        Trial(batch=1, samples_ns=[100]),
        Trial(batch=4, samples_ns=[200, 240, 220]),
        Trial(batch=8, samples_ns=[]),
    ]
    found = THROUGHPUT.read(capture(throughput=trials, calibration=paces(5, 5)))
    assert found is not None
    assert found.cost == pytest.approx(55)
    assert THROUGHPUT.shown(found.cost) == pytest.approx(1e9 / 55)
    assert np.exp(found.paced) == pytest.approx([10, 12, 11])


@pytest.mark.parametrize("trials", [[Trial(batch=1, samples_ns=[0, 0])], [Trial(batch=0, samples_ns=[5])], []])
def test_trials_that_took_no_time_have_no_throughput(trials: list[Trial]) -> None:
    assert THROUGHPUT.read(capture(throughput=trials)) is None
