"""Limits, and what exceeds them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit import points
from tracekit.analyze import gate
from tracekit.analyze.compare import FAILED_NOW, RUNS_NOW, Comparison, compare
from tracekit.analyze.gate import EXCEEDED, HELD, UNCLEAR, Limit, direction, limit_of, verdict, worse
from tracekit.analyze.interval import Change
from tracekit.analyze.measured import METRICS
from tracekit.errors import UsageError
from tracekit.points import Identity, PeakMemory, Point, Sample, Trial

LATENCY, THROUGHPUT = METRICS["latency"], METRICS["throughput"]
Store = Callable[..., Path]


def changed(ratio: float, low: float, high: float) -> Change:
    return Change(100.0, 100.0 * ratio, ratio, low, high, "processes")


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("5%", Limit("", 0.05)),
        ("5", Limit("", 0.05)),
        (" 0.5 % ", Limit("", 0.005)),
        ("0%", Limit("", 0.0)),
        ("memory:3%", Limit("memory", 0.03)),
        ("first_token: 12.5%", Limit("first_token", 0.125)),
        ("throughput:200%", Limit("throughput", 2.0)),
    ],
)
def test_a_limit_is_a_percentage_with_or_without_a_metric(text: str, limit: Limit) -> None:
    assert Limit.parse(text) == limit


@pytest.mark.parametrize(
    "text", ["", "%", "-5%", "5%%", "five", "memory", "memory:", ":5%", "5%:memory", "nan", "1e3%"]
)
def test_what_is_no_limit_says_how_to_write_one(text: str) -> None:
    with pytest.raises(UsageError, match=r"write PERCENT or METRIC:PERCENT, as in 5% or memory:3%"):
        Limit.parse(text)


def test_a_limit_of_no_metric_says_which_there_are() -> None:
    with pytest.raises(UsageError, match=r"no metric speed; there are latency, first_token, throughput, memory"):
        Limit.parse("speed:5%")
    with pytest.raises(UsageError) as raised:
        Limit.parse("\x1b[2J:5%")
    assert "\x1b" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (changed(1.10, 1.06, 1.14), EXCEEDED),
        (changed(1.10, 1.05, 1.15), UNCLEAR),  # may be just the limit
        (changed(1.10, 0.90, 1.35), UNCLEAR),
        (changed(1.00, 0.90, 1.11), UNCLEAR),
        (changed(1.00, 0.96, 1.04), HELD),
        (changed(1.05, 1.05, 1.05), HELD),  # just the limit
        (changed(1.03, 1.02, 1.04), HELD),  # worse, and within the limit
        (changed(0.50, 0.40, 0.60), HELD),
    ],
)
def test_a_limit_is_exceeded_only_beyond_noise(change: Change, said: str) -> None:
    assert verdict(LATENCY, change, 0.05) == said


def test_throughput_is_worse_when_it_falls() -> None:
    slower = changed(1.25, 1.20, 1.30)  # the time of one input
    assert worse(THROUGHPUT, slower) == pytest.approx((0.2, 1 - 1 / 1.2, 1 - 1 / 1.3))
    assert direction(THROUGHPUT, slower) == gate.SLOWER
    assert verdict(THROUGHPUT, slower, 0.15) == EXCEEDED
    assert verdict(THROUGHPUT, slower, 0.24) == HELD  # of the latency it would be unclear
    assert verdict(LATENCY, slower, 0.24) == UNCLEAR
    assert direction(THROUGHPUT, changed(0.5, 0.4, 0.6)) == gate.FASTER


@given(st.floats(0.01, 100), st.floats(0, 3), st.floats(0, 5), st.sampled_from([LATENCY, THROUGHPUT]))
def test_a_verdict_follows_from_the_interval(ratio: float, noise: float, limit: float, metric: Any) -> None:
    change = changed(ratio, ratio / (1 + noise), ratio * (1 + noise))
    share, low, high = worse(metric, change)
    assert low <= share + 1e-12
    assert share <= high + 1e-12
    said = verdict(metric, change, limit)
    assert (said == EXCEEDED) == (low > limit + 1e-9)
    if said == EXCEEDED:
        assert direction(metric, change) == gate.SLOWER
        assert verdict(metric, change, limit / 2) == EXCEEDED
    if direction(metric, change) == gate.FASTER:
        assert said == HELD


def test_the_limit_of_a_metric_is_its_own_else_that_without_a_name() -> None:
    limits = [Limit("", 0.05), Limit("memory", 0.03), Limit("memory", 0.02)]
    assert limit_of("latency", limits, ["latency"]) == 0.05
    assert limit_of("memory", limits, ["latency"]) == 0.02  # the last one said
    assert limit_of("throughput", limits, ["latency"]) is None
    assert limit_of("latency", [], ["latency"]) is None


@pytest.fixture(name="sides")
def sides_fixture(tmp_path: Path, store_point: Store) -> Callable[..., tuple[Path, Path]]:
    """Two folders of two captures each, in which the model takes `ratio` times as long, and as much of the rest."""

    def make(ratio: float = 1.0, memory: float = 1.0, rate: float = 1.0, lengths: tuple[int, ...] = (128,)) -> Any:
        for side, factor in (("base", (1.0, 1.0, 1.0)), ("new", (ratio, memory, rate))):
            for capture in range(2):
                for length in lengths:
                    ms = 10 * factor[0] * (1 + capture / 1000)
                    walls = [
                        Sample(wall_ns=int(ms * 1e6), cpu_ns=None, sweep=f"{side}{capture}", round=r) for r in range(5)
                    ]
                    one = int(1e6 / factor[2] * (1 + capture / 1000))
                    store_point(
                        tmp_path / side / str(capture),
                        "bert",
                        length,
                        ms,
                        samples=walls,
                        memory=PeakMemory(bytes=int(1e6 * factor[1]), method="m"),
                        throughput=[Trial(batch=2, samples_ns=[one] * 3)],
                    )
        return tmp_path / "base", tmp_path / "new"

    return make


def verdicts(found: Comparison) -> dict[str, str]:
    return dict(found.metrics().select("metric", "verdict").iter_rows())


def test_a_limit_without_a_name_is_that_of_latency(sides: Callable[..., tuple[Path, Path]]) -> None:
    found = compare(*sides(1.1, memory=1.1), fail_on=["5%"])
    assert verdicts(found) == {"latency": EXCEEDED, "memory": "", "throughput": ""}
    assert found.exceeded
    both = compare(*sides(1.1, memory=1.1), fail_on=["5%", "memory:20%"])  # a named limit leaves the other one alone
    assert verdicts(both) == {"latency": EXCEEDED, "memory": HELD, "throughput": ""}
    memory = compare(*sides(1.0, memory=1.1), fail_on=["5%"])
    assert (memory.exceeded, verdicts(memory)["latency"]) == (False, HELD)


def test_a_limit_without_a_name_is_that_of_the_metric_asked_for(sides: Callable[..., tuple[Path, Path]]) -> None:
    base, new = sides(1.1, memory=1.04, rate=0.5)
    found = compare(base, new, metrics=["memory"], fail_on=["3%"])
    assert verdicts(found) == {"memory": EXCEEDED}
    assert verdicts(compare(base, new, metrics=["memory"], fail_on=["throughput:10%"])) == {
        "memory": "",
        "throughput": EXCEEDED,
    }
    row = compare(base, new, metrics=["throughput"]).metrics().row(0, named=True)
    assert (row["worse"], row["new"] / row["base"]) == pytest.approx((0.5, 0.5), rel=1e-3)
    assert (row["unit"], row["changed"], row["limit"]) == ("1/s", gate.SLOWER, None)


def test_without_a_limit_nothing_is_exceeded(sides: Callable[..., tuple[Path, Path]]) -> None:
    found = compare(*sides(3.0, memory=3.0))
    assert not found.exceeded
    assert set(verdicts(found).values()) == {""}
    assert set(found.metrics()["changed"]) == {gate.SLOWER, gate.SAME}


def failed(folder: Path, length: float, status: str = "oom") -> None:
    point = Point(identity=Identity(model="bert", length=length, threads=2, attention="sdpa"), status=status)
    (folder / f"{length:g}.failed.json").write_bytes(points.encode(point))


def test_a_point_that_fails_now_exceeds_any_limit(sides: Callable[..., tuple[Path, Path]]) -> None:
    base, new = sides(1.0)
    failed(new, 256)  # failed on one side alone: nothing ran before
    assert not compare(base, new, fail_on=["5%"]).exceeded
    failed(base, 256)  # on both
    assert not compare(base, new, fail_on=["5%"]).exceeded
    for file in new.rglob("*.json.gz"):
        file.unlink()
    failed(new, 128)
    for limits in (["5%"], ["latency:5%"], ["memory:3%"]):
        found = compare(base, new, fail_on=limits)
        assert found.exceeded
        assert found.metrics().select("length", "verdict", "changed").row(0) == (128, FAILED_NOW, "oom")
    assert not compare(base, new).exceeded
    back = compare(new, base, fail_on=["5%"])  # and the other way round it is mended
    assert not back.exceeded
    assert back.metrics().select("length", "verdict", "changed").row(0) == (128, RUNS_NOW, "oom")


def test_captures_that_failed_are_told_and_do_not_count(sides: Callable[..., tuple[Path, Path]]) -> None:
    base, new = sides(1.0)
    failed(new, 128, "timeout")
    found = compare(base, new, fail_on=["5%"])
    assert not found.exceeded
    assert found.metrics()["new_captures"].to_list() == [2, 2, 2]
    assert [(f.code, f.count, f.where) for f in found.findings if f.code == "some_failed"] == [
        ("some_failed", 1, "bert at 128 tokens")
    ]


def test_a_metric_that_one_side_alone_has_is_told(tmp_path: Path, store_point: Store) -> None:
    store_point(tmp_path / "a", "bert", 128, 10)
    store_point(tmp_path / "b", "bert", 128, 10, samples=[])
    found = compare(tmp_path / "a", tmp_path / "b")
    assert [(f.code, f.where) for f in found.findings if f.severity == "warning"] == [
        ("one_sided_metric", "latency of bert at 128 tokens")
    ]
    assert found.metrics()["metric"].to_list() == ["memory", "host"]
    with pytest.raises(UsageError, match="latency is not known on both sides"):
        compare(tmp_path / "a", tmp_path / "b", metrics=["latency"])


def test_metrics_that_are_none_are_an_error(tmp_path: Path, store_point: Store) -> None:
    store_point(tmp_path, "bert", 128, 10)
    with pytest.raises(UsageError, match="no metric speed; there are latency"):
        compare(tmp_path, tmp_path, metrics=["speed"])
    with pytest.raises(UsageError, match="device time of a profiled step is not known on both sides: no such work"):
        compare(tmp_path, tmp_path, fail_on=["device:5%"])
