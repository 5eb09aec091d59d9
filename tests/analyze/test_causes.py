"""What a change is made of: traces of which every part is known."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracekit.analyze.causes import CHANGES, LEVELS, causes, kernel_causes, memory_causes
from tracekit.analyze.interval import Change
from tracekit.analyze.matching import Capture
from tracekit.analyze.measured import METRICS
from tracekit.analyze.shares import BETWEEN, NO_OPERATOR, NOT_EXPLAINED
from tracekit.analyze.trace import Trace
from tracekit.points import Identity, PeakMemory, Point


class Call(NamedTuple):
    """An operator in a component, for some microseconds; `kernel`: what it launches, for some more."""

    component: str = "ffn"
    name: str = "aten::mm"
    us: int = 100
    shapes: list[Any] | None = None
    dtypes: list[str] | None = None
    kernel: str = ""
    kernel_us: int = 10


def span(name: str, start: float, dur: float, cat: str = "user_annotation", **args: Any) -> dict[str, Any]:
    return {"ph": "X", "cat": cat, "name": name, "pid": 1, "tid": 1, "ts": start, "dur": dur, "args": args}


def events(steps: Sequence[Sequence[Call]], stepped: bool) -> list[dict[str, Any]]:
    found, start, number = [], 0.0, 0
    for step, calls in enumerate(steps):
        begin = start
        for call in calls:
            number += 1
            given = {"Input Dims": call.shapes, "Input type": call.dtypes}
            found.append(span(f"tracekit::{call.component}#{number}", start, call.us))
            args = {key: value for key, value in given.items() if value is not None}
            found.append(span(call.name, start, call.us, "cpu_op", **args))
            if call.kernel:
                found.append(span("cudaLaunchKernel", start, call.us / 2, "cuda_runtime", correlation=number))
                work = span(call.kernel, start, call.kernel_us, "kernel", device=0, stream=7, correlation=number)
                found.append({**work, "tid": 7})
            start += call.us
        if stepped:
            found.append(span(f"ProfilerStep#{step}", begin, start - begin))
    return found


def write(
    folder: Path, steps: Sequence[Sequence[Call]], stepped: bool = True, more: Sequence[Any] = (), **fields: Any
) -> Capture:
    """A capture whose profiled steps consist of `steps`; `more`: further events."""
    path = folder / f"{len(list(folder.iterdir()))}.json"
    path.write_text(json.dumps({"traceEvents": [*events(steps, stepped), *more]}))
    made = Point(**{"identity": Identity(model="m", length=1.0), **fields})
    return Capture(Trace(path, made, cache=False), made)


Write = Callable[..., Capture]


@pytest.fixture(name="write")
def write_fixture(tmp_path: Path) -> Write:
    return lambda *steps, **more: write(tmp_path, steps, **more)


def whole(base: float = 100.0, ratio: float = 1.5, noise: float = 0.0) -> Change:
    return Change(base, base * ratio, ratio, ratio * math.exp(-noise), ratio * math.exp(noise), "processes")


def parts(table: pl.DataFrame, level: str = "component", column: str = "change") -> dict[str, Any]:
    key = LEVELS[level][-1]
    rows = table.filter(pl.col("level") == level, pl.col("name") != BETWEEN)  # which is no time here
    assert rows[key].n_unique() == rows.height
    return dict(rows.select(key, column).iter_rows())


def test_parts_are_shares_of_the_step_times_its_cost(write: Write) -> None:
    base = write([Call("attention", us=60), Call("ffn", us=40)])
    new = write([Call("attention", us=100), Call("ffn", us=50)])
    found = causes("latency", whole(100, 1.5), [base], [new])
    assert parts(found, column="base") == pytest.approx({"attention": 60, "ffn": 40})
    assert parts(found, column="new") == pytest.approx({"attention": 100, "ffn": 50})
    assert parts(found, column="change") == pytest.approx({"attention": 40, "ffn": 10})
    assert parts(found, column="share") == pytest.approx({"attention": 0.8, "ffn": 0.2})
    assert list(parts(found)) == ["attention", "ffn"]  # the largest first
    assert found.schema == CHANGES


CALLS = st.builds(
    Call,
    st.sampled_from(["attention", "ffn", "norm", "layer"]),
    st.sampled_from(["aten::mm", "aten::bmm", "aten::add"]),
    st.integers(2, 1000),
    st.sampled_from([None, [[2, 2]], [[4, 4]]]),
    st.sampled_from([None, ["float"], ["half"]]),
    st.sampled_from(["", "", "gemm", "add"]),
    st.integers(1, 50),
)
STEPS = st.lists(st.lists(CALLS, min_size=1, max_size=4), min_size=1, max_size=3)
SIDES = st.lists(st.tuples(STEPS, st.booleans()), min_size=1, max_size=2)


@settings(max_examples=12)
@given(SIDES, SIDES, st.sampled_from(["latency", "host", "device"]), st.floats(0.1, 10))
def test_the_parts_of_every_level_sum_to_the_whole(base: Any, new: Any, metric: str, ratio: float) -> None:
    change = whole(1000, ratio, 0.1)
    with TemporaryDirectory() as folder:
        sides = [[write(Path(folder), steps, stepped) for steps, stepped in side] for side in (base, new)]
        tables = [causes(metric, change, *sides)]
        if all(METRICS["device"].read(one) for side in sides for one in side):
            tables.append(kernel_causes(change, *sides))
            assert tables[-1].height
    for table in tables:
        for _, rows in table.group_by("level"):
            assert rows["base"].sum() == pytest.approx(1000)
            assert rows["new"].sum() == pytest.approx(1000 * ratio)
            assert rows["change"].sum() == pytest.approx(1000 * (ratio - 1), abs=1e-6)
            assert rows.filter(~pl.col("change").is_between("lo", "hi")).height == 0
        assert table.height == 0 or set(table["level"]) in ({"component", "phase", "layer", "operator"}, {"kernel"})
    told = [[METRICS[metric].read(one) for one in side] for side in sides] if metric != "latency" else []
    if told and all(any(side) for side in told):
        assert tables[0].height  # what is known to change has parts


def test_what_operators_do_otherwise_is_told(write: Write) -> None:
    square, wide = [[64, 64], [64, 64]], [[64, 128], [64, 64]]
    base = write(
        [
            Call(name="gone"),
            Call(name="more", shapes=square),
            Call(name="shape", shapes=square, dtypes=["float"]),
            Call(name="type", shapes=square, dtypes=["float", "float"]),
            Call(name="same", shapes=square, dtypes=["float"]),
        ]
    )
    new = write(
        [
            Call(name="more", shapes=wide),
            Call(name="more", shapes=wide),
            Call(name="shape", shapes=wide, dtypes=["float"]),
            Call(name="type", shapes=square, dtypes=["c10::Half", "float"]),
            Call(name="same", shapes=square, dtypes=["float"]),
            Call(name="new"),
        ]
    )
    found = causes("latency", whole(), [base], [new])
    assert parts(found, "operator", "status") == {
        "gone": "vanished",
        "more": "calls",
        "shape": "shapes",
        "type": "dtypes",
        "same": "",
        "new": "appeared",
    }
    assert parts(found, "operator", "detail") == {
        "gone": "1 -> 0 calls a step",
        "more": "1 -> 2 calls a step",
        "shape": "[64,64] -> [64,128]",
        "type": "float -> c10::Half",
        "same": "",
        "new": "0 -> 1 calls a step",
    }
    assert parts(found, "operator", "base_calls")["more"] == 1
    assert parts(found, "operator", "new_calls")["more"] == 2


def test_an_operator_that_moved_is_another_in_each_component(write: Write) -> None:
    found = causes("latency", whole(), [write([Call("attention"), Call("ffn")])], [write([Call("ffn"), Call("ffn")])])
    rows = found.filter(pl.col("name") == "aten::mm").select("component", "name", "status")
    assert sorted(rows.iter_rows()) == [("attention", "aten::mm", "vanished"), ("ffn", "aten::mm", "calls")]


@pytest.mark.parametrize("recorded", ["base", "new"])
def test_shapes_recorded_on_one_side_alone_are_no_change(write: Write, recorded: str) -> None:
    with_shapes = write([Call(shapes=[[2, 2]], dtypes=["float"]), Call(shapes=[[4, 4]], dtypes=["half"])])
    sides = [with_shapes], [write([Call(), Call()])]
    found = causes("latency", whole(), *(sides if recorded == "base" else sides[::-1]))
    assert set(found["status"]) == {""}
    assert set(found["detail"]) == {""}


def test_other_numbers_of_profiled_steps_are_no_more_calls(write: Write) -> None:
    step = [Call("attention", us=60), Call("ffn", us=40)]
    found = causes("latency", whole(100, 1.0), [write(step)], [write(*[step] * 5)])
    assert set(found["status"]) == {""}
    assert parts(found) == pytest.approx({"attention": 0, "ffn": 0})
    assert found["share"].null_count() == found.height  # of no change there is no share


def test_a_component_that_is_absent_costs_nothing(write: Write) -> None:
    base = [write([Call("attention", us=50), Call("norm", us=50)])]
    new = [write([Call("attention", us=50)]), write([Call("attention", us=50), Call("ffn", us=50)])]
    found = causes("latency", whole(100, 1.0), base, new)
    assert parts(found, column="base") == pytest.approx({"attention": 50, "norm": 50, "ffn": 0})
    assert parts(found, column="new") == pytest.approx({"attention": 75, "norm": 0, "ffn": 25})


def test_one_capture_has_its_steps_as_repeats(write: Write) -> None:
    steps = [[Call("attention", us=us), Call("ffn", us=100)] for us in (90, 100, 110)]
    width = pl.col("hi") - pl.col("lo")
    wide, *none = (
        causes("latency", whole(), [write(*rows)], [write(*rows)]).filter(pl.col("level") == "component").select(width)
        for rows in (steps, steps[1:2], [steps[1]] * 3)
    )
    assert wide.min().item() > 1
    assert [table.max().item() for table in none] == [pytest.approx(0)] * 2


def test_the_noise_of_the_whole_moves_every_part(write: Write) -> None:
    side = [write([Call("attention", us=75), Call("ffn", us=25)])]
    found = causes("latency", whole(100, 1.0, noise=0.1), side, side)
    assert parts(found.with_columns(half=(pl.col("hi") - pl.col("lo")) / 2), column="half") == pytest.approx(
        {"attention": 7.5, "ffn": 2.5}
    )


def test_a_latency_is_split_by_device_work_where_all_captures_have_some(write: Write) -> None:
    base, same = (
        write([Call("attention", us=50, kernel="k", kernel_us=90), Call("ffn", us=50, kernel="k")]) for _ in "ab"
    )
    assert parts(causes("latency", whole(100, 1.0), [base], [same]), column="base") == pytest.approx(
        {"attention": 90, "ffn": 10}
    )
    host = write([Call("attention", us=50), Call("ffn", us=50)])
    found = causes("latency", whole(100, 1.0), [base], [host])  # without device activity: both by the host
    assert parts(found) == pytest.approx({"attention": 0, "ffn": 0})
    other = write([Call("attention", us=50), Call("ffn", us=50)], identity=Identity(model="m", length=1, device="cuda"))
    assert parts(causes("latency", whole(100, 1.0), [base], [other]), column="base")["attention"] == pytest.approx(90)


def test_kernels_appear_vanish_and_are_called_more_often(write: Write) -> None:
    base = write(
        [Call(kernel="old", kernel_us=10), Call(kernel="same", kernel_us=30), Call(kernel="often", kernel_us=60)]
    )
    new = write(
        [Call(kernel="new", kernel_us=40), Call(kernel="same", kernel_us=30), *[Call(kernel="often", kernel_us=15)] * 2]
    )
    found = kernel_causes(whole(100, 1.0), [base], [new])
    assert parts(found, "kernel") == pytest.approx({"new": 40, "often": -30, "old": -10, "same": 0})
    assert parts(found, "kernel", "status") == {"new": "appeared", "often": "calls", "old": "vanished", "same": ""}
    assert set(found["metric"]) == {"device"}


def test_a_trace_without_steps_is_one_as_a_whole(write: Write) -> None:
    calls = [Call("attention", us=60, kernel="k"), Call("ffn", us=40, kernel="k")]
    found = causes("host", whole(100, 1.0), [write(calls, stepped=False)], [write(calls)])
    assert parts(found) == pytest.approx({"attention": 0, "ffn": 0})


def test_device_work_of_no_operator_has_a_row(write: Write) -> None:
    alone = {**span("k", 0, 30, "kernel", device=0, stream=7), "tid": 7}
    calls = [Call("ffn", us=40, kernel="k", kernel_us=10)]
    side = [write(calls, stepped=False, more=[alone])]
    read = METRICS["device"].read(side[0])
    assert read is not None
    assert read.cost == 40_000
    found = causes("device", whole(40, 1.0), side, side)
    assert parts(found, column="base") == pytest.approx({"unattributed": 30, "ffn": 10})
    assert parts(found, "operator", "base")[NO_OPERATOR] == pytest.approx(30)
    assert set(found["status"]) == {""}
    assert parts(kernel_causes(whole(40, 1.0), side, side), "kernel", "base") == pytest.approx({"k": 40})


def test_steps_without_device_work_do_not_count(write: Write) -> None:
    steps = [[Call("attention", kernel="k", kernel_us=30), Call("ffn", kernel="k", kernel_us=10)], [Call("ffn")]]
    found = causes("device", whole(40, 1.0), [write(*steps)], [write(*steps)])
    assert parts(found, column="base") == pytest.approx({"attention": 30, "ffn": 10})


def test_where_a_side_has_no_profile_nothing_is_explained(write: Write) -> None:
    full, empty = write([Call()]), write(stepped=False)
    for sides in (([full], [empty]), ([empty], [full]), ([empty], [empty])):
        assert causes("latency", whole(), *sides).height == 0
        assert kernel_causes(whole(), *sides).height == 0
    told = causes("latency", whole(100, 1.0), [full], [full, empty])  # one of several tells nothing
    assert parts(told) == pytest.approx({"ffn": 0})


def test_captures_that_failed_do_not_count(write: Write) -> None:
    failed = Capture(None, Point(identity=Identity(model="m", length=1.0), status="oom"))
    found = causes("latency", whole(100, 1.0), [write([Call()]), failed], [failed, write([Call()])])
    assert parts(found) == pytest.approx({"ffn": 0})


def block(time: float, address: int, size: int) -> dict[str, Any]:
    where = {"Addr": address, "Bytes": size, "Device Type": 0, "Device Id": -1, "Total Allocated": 0}
    return {**span("[memory]", time, 0, "cpu_instant_event", **where), "ph": "i", "s": "t"}


def test_parts_of_memory_sum_to_the_change_of_the_peak(write: Write) -> None:
    def side(attention: int, ffn: int, peak: int) -> list[Capture]:
        memory = PeakMemory(bytes=peak, method="allocator events", parameter_bytes=1000, input_bytes=10, held_bytes=0)
        calls = [Call("attention", us=50), Call("ffn", us=50)]
        return [write(calls, more=[block(10, 1, attention), block(60, 2, ffn)], memory=memory)]

    base, new = side(300, 200, 1600), side(700, 150, 1900)
    change = Change(1600, 1900, 1900 / 1600, 1900 / 1600, 1900 / 1600, "exact")
    found = memory_causes(change, base, new)
    assert parts(found) == pytest.approx(
        {"attention": 400, "ffn": -50, NOT_EXPLAINED: -50, "parameters": 0, "inputs": 0}, abs=1e-6
    )
    assert found["change"].sum() == pytest.approx(300)
    assert found["share"].sum() == pytest.approx(1)
    assert set(found["metric"]) == {"memory"}
    exact = memory_causes(Change(1510, 1510, 1, 1, 1, "exact"), side(300, 200, 1510), side(300, 200, 1510))
    assert NOT_EXPLAINED not in parts(exact)


def test_memory_recorded_on_one_side_alone_explains_nothing(write: Write) -> None:
    memory = PeakMemory(bytes=2000, method="m", parameter_bytes=1500)
    told = [write([Call()], more=[block(10, 1, 500)], memory=memory)]
    silent = [write([Call()], memory=memory)]
    change = Change(2000, 3000, 1.5, 1.5, 1.5, "exact")
    assert memory_causes(change, told, silent).height == 0
    assert parts(memory_causes(change, silent, silent))[NOT_EXPLAINED] == pytest.approx(1000)
