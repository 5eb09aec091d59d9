"""The tables kept on disk: the same answer without the events, and anew after any change of what they come from."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import tracekit.analyze.trace as trace_module
from tracekit.analyze import cache, kept
from tracekit.analyze.load import load_study
from tracekit.analyze.roofline import Peaks
from tracekit.analyze.trace import Trace
from tracekit.errors import TraceError
from tracekit.points import Identity, Point
from tracekit.rules import Rule, Rules

Spans = Callable[..., dict[str, Any]]
Writer = Callable[..., Path]

TABLES: dict[str, Callable[[Trace], Any]] = {
    "operators": Trace.operators,
    "operators by shape": lambda trace: trace.operators(["shapes"]),
    "first operators": lambda trace: trace.operators(top=2),
    "components": Trace.components,
    "component steps": Trace.component_steps,
    "work": Trace.component_work,
    "work with peaks": lambda trace: trace.component_work(Peaks(1e9, "calibration", 1e9, "calibration")),
    "layers": Trace.layers,
    "modules": Trace.modules,
    "launches": Trace.device_launches,
    "devices": Trace.devices,
    "kernels": Trace.kernels,
    "memory": Trace.memory,
    "peaks": Trace.memory_peaks,
    "live": lambda trace: trace._live_at_peak(),
    "fastest": Trace.fastest_flops,
    "findings": lambda trace: trace.findings,
}


@pytest.fixture
def path(span: Spans, write: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file large enough to be kept: two steps of two modules, a product, device work without launch, an odd event."""
    monkeypatch.setenv("TRACEKIT_CACHE_DIR", str(tmp_path / "cache"))
    events = [span(f"ProfilerStep#{n}", n * 1000, 900, "user_annotation") for n in range(2)]
    events += [span("nn.Module: Linear_0", n * 1000 + 10, 500, "python_function") for n in range(2)]
    shape = {"Input Dims": [[64, 64], [64, 64]], "Input type": ["float", "float"]}
    events += [span("aten::mm", n * 1000 + 20, 200, **shape) for n in range(2)]
    events += [span(f"own_{i % 7}", i * 11 + 600, 5) for i in range(40)]
    events += [
        span("[memory]", 4, 0, "cpu_instant_event", **{"Addr": 7, "Bytes": 64, "Device Type": 0, "Device Id": -1}),
        span("kernel", 3, 1, "kernel", device=0, stream=7, correlation=5),
        {"ph": "X", "cat": "cpu_op", "name": "broken", "ts": 5, "pid": 1, "tid": 1},
    ]
    return write(events)


def assert_same(one: Any, other: Any) -> None:
    if isinstance(one, pl.DataFrame):
        assert_frame_equal(one, other)
    else:
        assert one == other


def told(trace: Trace) -> dict[str, Any]:
    return {name: table(trace) for name, table in TABLES.items()}


def folders() -> list[Path]:
    root = cache.directory().parent / "tables"
    return sorted(root.iterdir()) if root.exists() else []


def test_tables_are_the_same_without_the_events(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    computed = told(Trace(path, cache=False))
    assert folders() == []
    first = told(Trace(path))
    (folder,) = folders()
    assert len(list(folder.iterdir())) == len(TABLES)
    monkeypatch.setattr(trace_module, "load_events", None)
    second = told(Trace(path, point=Point(identity=Identity(model="m", length=1.0))))
    for name in TABLES:
        assert_same(first[name], computed[name])
        assert_same(second[name], computed[name])
    assert {finding.code for finding in second["findings"]} >= {"bad_time"}
    assert second["operators"].height > 2


def test_what_they_come_from_is_their_name(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Trace(path).components()
    ffn = Rules((Rule("class", re.compile("nn.Module: Linear_0|Linear|Linear_0"), "ffn", ""),))
    ruled = Trace(path, rules=ffn).components()
    assert not ruled.equals(plain)
    assert_frame_equal(Trace(path, rules=ffn).components(), ruled)
    monkeypatch.setattr(kept, "_code", lambda: "changed")
    Trace(path).components()
    path.write_bytes(path.read_bytes().replace(b"own_1", b"own_9"))
    Trace(path).components()
    assert len(folders()) == 4


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "missing"])
def test_a_damaged_table_is_made_anew(path: Path, damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Trace(path).operators()
    (file,) = folders()[0].iterdir()
    data = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes({"cut": data[: len(data) // 2], "changed": data[:-9] + b"x" * 9, "empty": b""}[damage])
    assert_frame_equal(Trace(path).operators(), first)
    monkeypatch.setattr(trace_module, "load_events", None)
    assert_frame_equal(Trace(path).operators(), first)


def test_the_longest_unused_go_first(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MOST", 2)
    text = path.read_bytes()
    for number in range(2, 6):
        path.write_bytes(text.replace(b"own_1", b"own_%d" % (number * 11)))
        Trace(path).components()
    assert len(folders()) == 2
    assert Trace(path).kept.folder in folders()


def test_a_place_that_cannot_be_written_is_no_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = path.with_name("file")
    blocked.write_text("")
    monkeypatch.setenv("TRACEKIT_CACHE_DIR", str(blocked))
    assert Trace(path).operators().height > 2


def test_an_unreadable_file_is_an_error_at_once(path: Path) -> None:
    load_study([path])
    path.write_bytes(b"[" * 10_000)
    with pytest.raises(TraceError):
        load_study([path])


@pytest.mark.parametrize("count", [1, 2])
def test_columns_of_a_study_are_chunked_alike(path: Path, count: int) -> None:
    copies = [path.with_name(f"copy{number}.json") for number in range(count)]
    for copy in copies:
        copy.write_bytes(path.read_bytes())
    table = load_study(copies).components()  # of two parts: operators, and device work without a launch
    assert {column.n_chunks() for column in table} == {1}
    assert table.select(pl.format("{}.{}", "component", "part")).height == table.height


def test_what_others_could_have_written_is_not_read(path: Path, writer_of: Callable[[Path], bool]) -> None:
    true = Trace(path).fastest_flops()
    (folder,) = folders()
    (file,) = (
        one for one in folder.iterdir() if b"\n" not in one.read_bytes()[16:] and b"ARROW" not in one.read_bytes()
    )
    file.write_bytes(kept._hash(b"1e99").digest() + b"1e99")
    ours = writer_of(folder)
    assert (Trace(path).fastest_flops() == 1e99) == ours
    if not ours:
        assert Trace(path).fastest_flops() == true


def test_tables_of_a_file_that_changed_are_not_kept_for_the_one_it_was(path: Path) -> None:
    trace = Trace(path)
    assert trace.kept.folder is not None
    sound = path.read_bytes()
    path.write_bytes(sound.replace(b"own_1", b"own_9"))
    trace.operators()
    assert folders() == []
    path.write_bytes(sound)
    assert "own_1" in Trace(path).operators()["name"].to_list()
