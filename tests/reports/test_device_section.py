"""Device work on the page: its sums are those of the tables and of real traces, and names of kernels do nothing."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from tracekit.analyze import tables
from tracekit.analyze.gpu import DeviceAnalyses
from tracekit.analyze.load import load_study
from tracekit.analyze.quality import Finding
from tracekit.analyze.study import Study
from tracekit.reports import device_section, hta
from tracekit.reports.figure import Figure
from tracekit.reports.html import render
from tracekit.units import duration

HOSTILE = ["</script><script>x", "__proto__", "constructor", "datum['x']", "{{7*7}}", "\u202eevil", "a.b[0]"]


def trace(path: Path, work: Sequence[tuple[str, str, float, float]], launched: bool = True) -> Path:
    """A file of one operator that launches all of `work`: name, category, start and duration in us."""
    host = [{"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 1, "tid": 1, "ts": 0, "dur": 90, "args": {}}]
    device = []
    for number, (name, kind, start, length) in enumerate(work, 1):
        args = {"device": 0, "correlation": number}
        device.append(
            {"ph": "X", "cat": kind, "name": name, "pid": 0, "tid": 7, "ts": start, "dur": length, "args": args}
        )
        call = {"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "pid": 1, "tid": 1, "ts": 1, "dur": 1}
        host += [{**call, "args": {"correlation": number}}] if launched else []
    path.write_text(json.dumps({"traceEvents": host + device}))
    return path


def figures(study: Study, analyses: dict[str, DeviceAnalyses] | None = None) -> dict[str, Figure]:
    found = device_section.section(study, analyses)
    assert found is not None
    assert all(len(row) == len(one.head) for one in found.figures for row in one.body)
    return {one.id: one for one in found.figures}


def data(one: Figure) -> list[dict[str, Any]]:
    assert one.spec is not None
    return [row for rows in one.spec["datasets"].values() for row in rows]


def test_no_device_work_no_section(tmp_path: Path) -> None:
    assert device_section.section(load_study([trace(tmp_path / "x.json", [])])) is None


def test_busy_and_idle_sum_to_the_span(tmp_path: Path) -> None:
    work = [
        ("k", "kernel", 100, 10),
        ("c", "gpu_memcpy", 105, 20),
        ("s", "gpu_memset", 120, 10),
        ("k", "kernel", 190, 10),
    ]
    found = figures(load_study([trace(tmp_path / "x.json", work)]))
    (row,) = found["device-busy"].body
    assert row[:6] == ["x.json", "0", "20.0 us (20.0%)", "15.0 us (15.0%)", "5.00 us (5.0%)", "60.0 us (60.0%)"]
    assert row[6:] == ["40.0 us", "100 us", "50.0 us"]
    assert {row["label"]: row["share"] for row in data(found["device-busy"])} == {
        "kernels": 0.2, "copies": 0.15, "sets": 0.05, "idle": 0.6,
    }  # fmt: skip
    assert found["device-kernels"].body[1] == [
        "x.json", "k", "kernel", "2", "20.0 us", "10.0 us", "10.0 us", "10.0 us", "40.0%",
    ]  # fmt: skip
    assert found["device-launches"].body == [
        ["x.json", "launched by an operator of the trace", "4", "50.0 us", device_section._MEANINGS["linked"]]
    ]


spans = st.lists(st.tuples(st.integers(0, 1), st.sampled_from(["kernel", "memcpy", "memset"]), st.integers(1, 30), st.integers(0, 9)))  # fmt: skip


@settings(max_examples=25)
@given(spans)
def test_parts_of_the_busy_time_against_a_count_of_every_nanosecond(work: list[tuple[int, str, int, int]]) -> None:
    names = ("device", "kind", "start_ns", "dur_ns")
    frame = pl.DataFrame(
        work, schema=dict(zip(names, (pl.Int64, pl.String, pl.Int64, pl.Int64), strict=True)), orient="row"
    )
    for row in tables.devices(frame).to_dicts():
        at = {
            kind: {
                t for d, k, start, dur in work if (d, k) == (row["device_id"], kind) for t in range(start, start + dur)
            }
            for kind in ("kernel", "memcpy", "memset")
        }
        assert row["kernel_ns"] == len(at["kernel"])
        assert row["copy_ns"] == len(at["memcpy"] - at["kernel"])
        assert row["set_ns"] == len(at["memset"] - at["memcpy"] - at["kernel"])
        assert row["busy_ns"] == row["kernel_ns"] + row["copy_ns"] + row["set_ns"]
        assert row["span_ns"] == row["busy_ns"] + row["idle_ns"]


def test_the_rest_of_the_kernels_is_summed(tmp_path: Path) -> None:
    work = [(f"k{n}", "kernel", 100 + 100 * n, 60 - n) for n in range(30)]
    one = figures(load_study([trace(tmp_path / "x.json", work)]))["device-kernels"]
    assert len(one.body) == device_section.KERNELS + 2
    assert one.body[-2][1:] == ["10 more", "", "10", "355 us", "35.5 us", "31.0 us", "40.0 us", "26.0%"]
    assert one.body[-1][3:5] == ["30", "1.36 ms"]
    (row,) = data(one)
    assert sum(row["shares"]) == pytest.approx(1, abs=1e-3)


def test_orphans_are_called_so(tmp_path: Path) -> None:
    one = figures(load_study([trace(tmp_path / "x.json", [("k", "kernel", 100, 10)], launched=False)]))
    assert one["device-launches"].body[0][1] == "launched before the profiler's window"
    assert one["device-launches"].body[0][4].startswith("orphans: queued before the recording began")


def test_hostile_kernel_names_are_values_and_nothing_else(tmp_path: Path) -> None:
    def bones(one: Figure) -> str:
        assert one.spec is not None
        spec = {key: value for key, value in one.spec.items() if key not in ("datasets", "data")}
        spec["params"] = [{k: v for k, v in param.items() if k != "value"} for param in spec["params"]]
        return json.dumps(spec)

    def work(names: list[str]) -> list[tuple[str, str, float, float]]:
        return [(name, "kernel", 100 + 10 * n, 9) for n, name in enumerate(names)]

    study = load_study([trace(tmp_path / "x.json", work(HOSTILE))])
    one = figures(study)["device-kernels"]
    plain = figures(load_study([trace(tmp_path / "y.json", work([f"k{n}" for n in range(len(HOSTILE))]))]))
    assert bones(one) == bones(plain["device-kernels"])
    assert {row[1] for row in one.body} == {*(name.replace("\u202e", "\\u202e") for name in HOSTILE), "all"}
    page = render(study)
    assert "\u202e" not in page
    assert "</script><script>x" not in page


def test_what_hta_says_is_that_of_the_terminal(tmp_path: Path) -> None:
    idle = pl.DataFrame({"rank": [0, 0], "stream": [7, 7], "reason": ["host_wait", "<b>"], "idle_ns": [1500, None]})
    share = pl.DataFrame({"rank": [0], "overlap_share": [0.25]})
    failed = [Finding("hta_failed", "warning", 1, "temporal: <i>no</i>", "an analysis failed")]
    said = {"/a/job\u202e": DeviceAnalyses({"idle": idle, "overlap": share}, failed)}
    study = load_study([trace(tmp_path / "x.json", [("k", "kernel", 100, 10)])])
    found = figures(study, said)
    assert (found["hta0"].title, found["hta0"].note) == (
        "HolisticTraceAnalysis: job\\u202e", "an analysis failed (temporal: <i>no</i>)",
    )  # fmt: skip
    assert found["hta0-idle"].body == [["0", "7", "waits for the host to launch", "1.50 us"], ["0", "7", "<b>", "-"]]
    assert found["hta0-overlap"].body == [["0", "25.0%"]]
    console = Console(file=io.StringIO(), width=120)
    console.print(*hta.blocks(said))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(cell in text for name in ("idle", "overlap") for row in found[f"hta0-{name}"].body for cell in row)
    page = render(study, analyses=said)
    assert "Why the device was idle" in page
    assert "<b>" not in page.split("Why the device was idle")[1].split("</table>")[0]


# file: device events, their sum, busy, orphans and their time, as shared/traces/README.md has them
TRUTH = {
    "h100_bert_small_inference": (61, 309437, 309437, 0, 0),
    "h100_qwen_0.5b_inference": (1707, 45647300, 45647300, 509, 13741827),
    "mi300_resnet_checkpoint_training": (3653, 100230072, 84002056, 968, 31834405),
    "mi210_gpu_only": (562, 5343422, 5343422, 0, 0),
}


@pytest.mark.parametrize("name", TRUTH)
def test_truths_of_real_traces(shared_traces: Path, name: str) -> None:
    study = load_study([shared_traces / f"{name}.json.gz"])
    events, whole, busy, orphans, orphaned = TRUTH[name]
    found = figures(study)
    assert found["device-kernels"].body[-1][3:5] == [f"{events:,}", duration(whole)]
    assert found["device-busy"].body[0][6] == duration(busy)
    (row,) = study.devices().to_dicts()
    assert row["kernel_ns"] + row["copy_ns"] + row["set_ns"] == busy
    assert found["device-components"].body[0][-1] == duration(whole)
    began = {cells[1]: cells[2:4] for cells in found["device-launches"].body}
    if orphans:
        expected = [f"{orphans:,}", duration(orphaned)]
        assert began["launched before the profiler's window"] == expected
    assert ("launched before the profiler's window" in began) == bool(orphans)
