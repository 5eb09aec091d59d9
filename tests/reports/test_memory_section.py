"""Memory on the page: its peaks are those of the tables, thinning keeps them, and names in them do nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit.analyze.load import load_study
from tracekit.analyze.study import Study
from tracekit.points import PeakMemory
from tracekit.reports import memory_section
from tracekit.reports.figure import Figure
from tracekit.reports.memory_section import thinned

Store = Callable[..., Path]
HOSTILE = ["</script><script>x", "__proto__", "datum['x']", "{{7*7}}", "\u202eevil", "parameters"]
MIB = 1 << 20
HELD = {"parameter_bytes": 5 * MIB, "input_bytes": MIB, "held_bytes": 2 * MIB}


def add_blocks(path: Path, sizes: list[tuple[float, int, int]]) -> None:
    """Put allocator events (us, address, bytes) into a point's file."""
    events = [
        {
            "ph": "i", "s": "t", "cat": "cpu_instant_event", "name": "[memory]", "pid": 1, "tid": 1, "ts": time,
            "args": {"Addr": address, "Bytes": size, "Device Type": 0, "Device Id": -1},
        }
        for time, address, size in sizes
    ]  # fmt: skip
    said = json.dumps(events)[1:-1].encode()
    path.write_bytes(path.read_bytes().replace(b'"traceEvents": [', b'"traceEvents": [' + said + b", "))


def point(store: Store, folder: Path, name: str, length: int, method: str = "events", off: int = 0) -> None:
    """A step of 1 ms: 10 + length MiB in an operator of attention, 3 MiB in no operator at the same time, then less."""
    top = (10 + length) * MIB
    memory = PeakMemory(bytes=top + 11 * MIB + off, method=method, **HELD)
    path = store(folder, name, length, 1.0, [name, "aten::mm"], memory=memory)
    add_blocks(path, [(200, 1, top), (700, 2, 3 * MIB), (800, 1, -top), (900, 2, -3 * MIB)])


def figures(study: Study) -> tuple[Figure, Figure]:
    found = memory_section.section(study)
    assert found is not None
    over_time, live = found.figures
    for one in (over_time, live):
        assert all(len(row) == len(one.head) for row in one.body)
    return over_time, live


def data(one: Figure) -> list[dict[str, Any]]:
    assert one.spec is not None
    return [row for rows in one.spec["datasets"].values() for row in rows]


def test_peaks_are_those_of_the_points_and_the_live_sums_to_them(tmp_path: Path, store_point: Store) -> None:
    for name in ("bert", "longformer"):
        for length in (16, 128):
            point(store_point, tmp_path, name, length)
    study = load_study([tmp_path])
    peaks = {(row["series"], row["length"]): row["peak_bytes"] for row in study.peak_memory().to_dicts()}
    for row in study.memory_peaks().to_dicts():
        assert row["live_bytes"] + row["stayed_bytes"] == peaks[row["series"], row["length"]]
    live = study.live_at_peak()
    for (series, length), rows in live.group_by("series", "length"):
        assert rows["bytes"].sum() == peaks[str(series), float(str(length))]
    over_time, at_peak = figures(study)
    assert [row[0] for row in over_time.body] == ["bert at 128 tokens", "longformer at 128 tokens"]
    assert over_time.body[0][2:] == ["141 MiB", "8.00 MiB", "149 MiB", "700 us", "equal"]
    assert "to the byte" in over_time.note
    (bert, _) = data(over_time)
    assert (bert["peak"], max(bert["sizes"]), bert["floor"], bert["after"]) == (149, 149, 8, 0.7)
    assert bert["times"] == [0.2, 0.7, 0.8, 0.9]
    drawn = [row for row in data(at_peak) if row["series"] == "bert"]
    assert {row["label"]: row["value"] for row in drawn} == {
        "attention": 138, "outside every operator": 3, "parameters": 5, "inputs": 1, "kept between steps": 2,
    }  # fmt: skip
    assert sum(row["share"] for row in drawn) == pytest.approx(1)
    assert at_peak.body[5] == ["bert at 128 tokens", "", "", "", "all", "", "5", "149 MiB", "100.0%"]
    assert at_peak.body[0][1:5] == ["forward", "attention", "-", "bert"]


def test_a_peak_that_differs_is_said(tmp_path: Path, store_point: Store) -> None:
    point(store_point, tmp_path, "bert", 16, method="by <b>guess</b>", off=4 * MIB)
    over_time, _ = figures(load_study([tmp_path]))
    assert over_time.body[0][-1] == "4.00 MiB less"
    assert "Not as the peak memory above: bert at 16 tokens, 4.00 MiB less (by <b>guess</b>)." in over_time.note
    assert "to the byte" not in over_time.note


def test_the_rest_is_summed(tmp_path: Path, store_point: Store) -> None:
    ops = [f"aten::op{n}" for n in range(20)]
    path = store_point(tmp_path, "bert", 64, 1.0, ops, memory=PeakMemory(bytes=1, method="m"))
    add_blocks(path, [(101 + 25 * n, n, MIB * (n + 1)) for n in range(20)])
    _, at_peak = figures(load_study([tmp_path]))
    assert len(at_peak.body) == memory_section.ROWS + 2
    rest, whole = at_peak.body[-2:]
    assert (rest[4], rest[6], rest[7]) == ("8 more", "8", "36.0 MiB")
    assert (whole[6], whole[7]) == ("20", "210 MiB")


def test_a_foreign_file_is_said_to_tell_nothing_of_weights(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(
        '{"traceEvents": [{"ph": "X", "cat": "cpu_op", "name": "a", "pid": 1, "tid": 1, "ts": 0, "dur": 9}]}'
    )
    assert memory_section.section(load_study([path])) is None
    add_blocks(path, [(1, 1, 64), (2, 1, -64)])
    over_time, _ = figures(load_study([path]))
    assert "What stayed on a host throughout (weights) is missing" in over_time.note
    assert over_time.body[0][:2] == ["x.json", "host"]
    assert data(over_time)[0]["picks"] == ["whole trace"]


def test_hostile_names_are_values_and_nothing_else(tmp_path: Path, store_point: Store) -> None:
    def bones(one: Figure) -> str:
        assert one.spec is not None
        spec = {key: value for key, value in one.spec.items() if key not in ("datasets", "data")}
        spec["params"] = [{k: v for k, v in param.items() if k != "value"} for param in spec["params"]]
        return json.dumps(spec).replace(json.dumps([row["series"] for row in data(one)])[1:-1], "")

    def made(folder: str, names: list[str]) -> Study:
        for name in names:
            point(store_point, tmp_path / folder, name, 16)
        return load_study([tmp_path / folder])

    hostile = figures(made("hostile", HOSTILE))
    plain = figures(made("plain", [f"m{i}" for i in range(len(HOSTILE))]))
    assert bones(hostile[0]) == bones(plain[0])
    encodings = json.dumps(hostile[1].spec and hostile[1].spec["layer"])
    assert "alert" not in encodings
    assert '"field": "series"' not in encodings.replace('"field": "bar"', "")
    text = json.dumps([one.spec for one in hostile], ensure_ascii=False) + str([one.body for one in hostile])
    assert "\u202e" not in text
    operators = {row[4] for row in hostile[1].body}
    assert {"__proto__", "{{7*7}}", "\\u202eevil"} <= operators
    # An operator may be called like what no operator allocated: it is its component's all the same.
    assert all(row[2] == "attention" for row in hostile[1].body if row[4] == "parameters" and row[1] == "forward")


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9)), min_size=1, max_size=300), st.integers(4, 40))
def test_thinning_keeps_peak_low_and_ends(moments: list[tuple[int, int]], points: int) -> None:
    times = [sum(gap for gap, _ in moments[: i + 1]) for i in range(len(moments))]
    values = [value for _, value in moments]
    keep = thinned(times, values, points)
    assert keep == sorted(set(keep))
    assert len(keep) <= max(points, 1)
    assert (keep[0], keep[-1]) == (0, len(values) - 1)
    kept = [values[i] for i in keep]
    assert (max(kept), min(kept)) == (max(values), min(values))


def test_real_device_memory(shared_traces: Path) -> None:
    over_time, at_peak = figures(load_study([shared_traces / "h100_bert_small_inference.json.gz"]))
    assert [(row[1], row[4]) for row in over_time.body] == [("host", "16 B"), ("CUDA 0", "96.6 MiB")]
    assert data(over_time)[0]["words"] == "peak 96.6 MiB"
    assert sum(row["value"] for row in data(at_peak)) * MIB == pytest.approx(101_305_344)
