"""Doubts: each speaks where its cause is made, is silent where it is not, and knows neither units nor machines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit.analyze.doubts import Doubt, doubt_size, doubts, trend
from tracekit.points import Calibration, Identity, PeakMemory, Point, Profile, Sample, Trial

MS = 1_000_000
QUIET = [100 + (7 * i) % 5 for i in range(12)]  # ms, 4% around 102 and in no order


def made(
    walls: Sequence[float] = QUIET,
    cpu: float | None = 1.98,
    delay: float | None = 0.01,
    threads: int = 2,
    device: str = "cpu",
    works: Sequence[float] = (),
    **fields: Any,
) -> Point:
    """A point of one sample a round: wall times in ms, CPU time and waiting for a core as shares of them."""
    samples = [
        Sample(
            wall_ns=int(wall * MS),
            cpu_ns=None if cpu is None else int(wall * MS * cpu),
            run_delay_ns=None if delay is None else int(wall * MS * delay),
            sweep="a",
            round=i,
        )
        for i, wall in enumerate(walls)
    ]
    fixed = [Calibration(round=i, unix_s=i, matmul_ns=int(w * MS), copy_ns=MS) for i, w in enumerate(works)]
    identity = Identity(model="bert", length=128, threads=threads, device=device)
    profile = Profile(steps=3, warmup=1, wall_ns=330 * MS)
    return Point(**{"identity": identity, "samples": samples, "calibration": fixed, "profile": profile, **fields})


def codes(point: Point) -> list[tuple[str, str]]:
    return [(doubt.metric, doubt.code) for doubt in doubts(point)]


def only(point: Point) -> Doubt:
    (doubt,) = doubts(point)
    return doubt


def test_a_point_measured_well_has_none() -> None:
    point = made(
        works=QUIET,
        memory=PeakMemory(bytes=1, method="profiler [memory] events"),
        throughput=[Trial(batch=8, samples_ns=[MS, MS, MS])],
    )
    assert doubts(point) == []
    assert doubt_size(point, "latency") == 0.0
    assert doubts(made(QUIET[:5])) == []
    assert doubts(Point(identity=point.identity)) == []
    assert doubts(msgspec.structs.replace(made(QUIET[:1]), status="oom")) == []


@pytest.mark.parametrize(("rounds", "text"), [(1, "only one round"), (4, "only 4 rounds")])
def test_few_rounds(rounds: int, text: str) -> None:
    doubt = only(made(QUIET[:rounds]))
    assert (doubt.metric, doubt.code, doubt.size) == ("latency", "few_repeats", None)
    assert doubt.text.startswith(text)
    assert doubt_size(made(QUIET[:rounds]), "latency") == 0.0


def test_many_samples_of_one_round_are_few_unless_nobody_counted_rounds() -> None:
    samples = [msgspec.structs.replace(sample, round=3) for sample in made().samples]
    assert codes(made(samples=samples)) == [("latency", "few_repeats")]
    elsewhere = [Sample(wall_ns=sample.wall_ns, cpu_ns=None) for sample in samples]
    assert codes(made(samples=elsewhere)) == []
    assert codes(made(samples=elsewhere[:3])) == [("latency", "few_repeats")]


def test_drift_and_whether_the_machine_did_it() -> None:
    rising = [wall * 1.03**i for i, wall in enumerate(QUIET)]
    doubt = only(made(rising))
    assert doubt.code == "drift"
    assert doubt.size == pytest.approx(1.03**11 - 1, rel=0.1)
    assert "rose by 3" in doubt.text
    assert "fixed work" not in doubt.text
    assert "as fixed work" in only(made(rising, works=rising)).text
    assert "as fixed work" not in only(made(rising, works=rising[::-1])).text
    assert doubts(made(works=rising)) == []
    fell = only(made(rising[::-1]))
    assert fell.text.startswith("fell by 2")
    assert doubt_size(made(rising), "latency") == pytest.approx(doubt_size(made(rising[::-1]), "latency"))
    assert doubt_size(made(rising), "latency") == pytest.approx(11 * math.log(1.03) / 2, rel=0.1)
    assert doubt_size(made(rising), "latency", interleaved=True) == 0.0


def test_single_wild_rounds_are_no_drift() -> None:
    wild = [*QUIET[:10], 900, 900]
    assert trend(wild) == 0.0
    assert trend([900, 900, *QUIET[:10]]) == 0.0
    assert trend(QUIET[:5]) == trend([]) == trend([0, 1, 2, 3, 4, 5]) == 0.0
    assert trend([float(i) for i in range(1000, 21000)]) > 1  # in no more time than a hundred


def test_outliers_are_doubted_only_where_they_are_many() -> None:
    assert codes(made([*QUIET, 300])) == []
    second = only(made([*QUIET[:5], 30, 300, *QUIET[5:], 30, 300]))
    assert (second.code, second.size) == ("outliers", 0.25)


def test_noise() -> None:
    doubt = only(made([100, 180, 60, 110, 70, 160, 65, 150, 90, 100]))
    assert doubt.code == "noisy"
    assert doubt.size == pytest.approx(0.37, abs=0.05)
    assert doubt_size(made([100, 180, 60, 110, 70, 160, 65, 150, 90, 100]), "latency") == 0.0


def test_a_busy_machine_may_hide_no_more_than_the_cpu_time_allows() -> None:
    busy = made(cpu=1.0, delay=0.3)
    doubt = only(busy)
    assert (doubt.metric, doubt.code) == ("latency", "busy_machine")
    assert doubt.size == pytest.approx(0.3)
    assert doubt.text == "threads waited for a core 30% of the time"
    assert doubt_size(busy, "latency") == pytest.approx(-math.log(0.7))
    assert doubt_size(busy, "memory") == 0.0
    assert doubt_size(made(cpu=1.9, delay=0.3), "latency") == pytest.approx(-math.log(0.95))
    assert doubt_size(made(cpu=0.6, delay=1.3), "latency") == pytest.approx(-math.log(0.3))
    assert "added up, waited for a core 130%" in only(made(cpu=0.6, delay=1.3)).text
    assert doubt_size(made(cpu=None, delay=1.3, threads=0), "latency") == pytest.approx(-math.log(0.05))
    trials = made(cpu=1.0, delay=0.3, throughput=[Trial(batch=2, samples_ns=[MS, MS, MS])])
    assert codes(trials) == [("latency", "busy_machine"), ("throughput", "busy_machine")]
    assert doubt_size(trials, "throughput") == doubt_size(trials, "latency")


@pytest.mark.parametrize("threads", [1, 2])
def test_waiting_for_what_is_neither_work_nor_a_core(threads: int) -> None:
    doubt = only(made(cpu=0.6, delay=0.0, threads=threads))
    assert (doubt.code, doubt.text) == ("waiting", "nothing computed 40% of the time")
    assert doubt.size == pytest.approx(0.4)
    assert doubt_size(made(cpu=0.6, delay=0.0, threads=threads), "latency") == pytest.approx(-math.log(0.6))
    assert doubts(made(cpu=0.95, delay=0.0, threads=threads)) == []
    assert doubts(made(cpu=0.6, delay=0.0, threads=threads, device="cuda")) == []
    assert codes(made(cpu=0.6, delay=0.4, threads=threads)) == [("latency", "busy_machine")]


def test_a_profiler_that_slows_the_step_touches_the_components() -> None:
    doubt = only(made(profile=Profile(steps=2, warmup=1, wall_ns=408 * MS)))
    assert (doubt.metric, doubt.code) == ("components", "profiler_inflation")
    assert doubt.size == pytest.approx(0.5)
    assert "2.0 times" in doubt.text


def test_other_numbers_have_doubts_of_their_own() -> None:
    assert codes(made(memory=PeakMemory(bytes=1, method="Estimated from shapes"))) == [("memory", "estimated_memory")]
    first = made(first_token=made(QUIET[:2], delay=0.2).samples)
    assert codes(first) == [("first_token", "few_repeats"), ("first_token", "busy_machine")]
    assert codes(made(throughput=[Trial(batch=1, samples_ns=[MS])])) == [("throughput", "few_repeats")]
    trials = [Trial(batch=1, samples_ns=[MS, 9 * MS, 5 * MS]), Trial(batch=9, samples_ns=[MS, MS, MS])]
    assert codes(made(throughput=trials)) == []  # of the best trial alone


@given(
    walls=st.lists(st.integers(10, 1000), min_size=1, max_size=20),
    cpu=st.none() | st.sampled_from([0.3, 0.7, 1.0, 1.9]),
    delay=st.none() | st.sampled_from([0.0, 0.1, 1.5]),
    factor=st.sampled_from([2, 64, 1024]),
)
def test_slower_is_not_more_doubtful(walls: list[int], cpu: float | None, delay: float | None, factor: int) -> None:
    """All times of a point times a number: the same doubts, and none has a size beyond what its kind allows."""
    point = made(walls, cpu, delay, works=walls, throughput=[Trial(batch=1, samples_ns=[w * MS for w in walls])])
    slower = [
        msgspec.structs.replace(
            s,
            wall_ns=s.wall_ns * factor,
            cpu_ns=None if s.cpu_ns is None else s.cpu_ns * factor,
            run_delay_ns=None if s.run_delay_ns is None else s.run_delay_ns * factor,
        )
        for s in point.samples
    ]
    scaled = msgspec.structs.replace(
        point,
        samples=slower,
        calibration=[msgspec.structs.replace(c, matmul_ns=c.matmul_ns * factor) for c in point.calibration],
        throughput=[Trial(batch=1, samples_ns=[w * MS * factor for w in walls])],
        profile=Profile(steps=3, warmup=1, wall_ns=330 * MS * factor),
    )
    assert [(d.metric, d.code, d.text) for d in doubts(scaled)] == [(d.metric, d.code, d.text) for d in doubts(point)]
    for metric in ("latency", "throughput"):
        assert doubt_size(scaled, metric) == pytest.approx(doubt_size(point, metric))
        assert 0 <= doubt_size(point, metric, interleaved=True) <= doubt_size(point, metric) < 12
    assert doubts(msgspec.structs.replace(point, samples=[])) == [
        doubt for doubt in doubts(point) if doubt.metric == "throughput" and doubt.code != "busy_machine"
    ]
