"""The adapter to HolisticTraceAnalysis, on real traces and on what it cannot take."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tracekit.analyze.gpu import analyse, analyse_traces
from tracekit.analyze.load import load_study
from tracekit.analyze.trace import Trace

pytest.importorskip("hta")

Spans = Callable[..., dict[str, Any]]


def step(span: Spans, number: int, start: float, kernel: float = 30, device: int = 0) -> list[dict[str, Any]]:
    """A profiled step of 100 us that launches one kernel, 10 us after its launch."""
    return [
        span(f"ProfilerStep#{number}", start, 100, "user_annotation"),
        span("aten::mm", start + 5, 50, **{"External id": number}),
        span(
            "cudaLaunchKernel", start + 10, 5, "cuda_runtime", correlation=number, cbid=211, **{"External id": number}
        ),
        {
            **span("gemm", start + 20, kernel, "kernel", tid=7, device=device, stream=7, correlation=number),
            "pid": device,
        },
    ]


@pytest.fixture
def events(span: Spans) -> list[dict[str, Any]]:
    return [*step(span, 1, 0), *step(span, 2, 200), *step(span, 3, 400)]


def test_tables_in_nanoseconds(events: list[dict[str, Any]], write: Callable[..., Path]) -> None:
    path = write(events, header={"schemaVersion": 1, "distributedInfo": {"rank": 0, "world_size": 1}})
    found = analyse({0: path})
    assert found.tables["temporal"].row(0, named=True) == {
        "rank": 0, "idle_ns": 340_000, "compute_ns": 90_000, "non_compute_ns": 0, "kernel_ns": 430_000,
    }  # fmt: skip
    idle = found.tables["idle"].group_by("reason").agg(pl.col("idle_ns").sum())
    assert sum(dict(idle.iter_rows()).values()) == 340_000
    assert found.tables["launches"].select("calls", "median_ns").row(0) == (3, 5_000)
    ours = Trace(path).devices().row(0, named=True)
    assert (ours["busy_ns"], ours["idle_ns"]) == (90_000, 340_000)


def test_nothing_of_the_process_changes(events: list[dict[str, Any]], write: Callable[..., Path], capfd: Any) -> None:
    before = os.environ.get("HTA_DISABLE_NS_ROUNDING")
    analyse({0: write(events)})
    assert os.environ.get("HTA_DISABLE_NS_ROUNDING") == before
    assert logging.root.manager.disable == 0
    assert capfd.readouterr() == ("", "")


def test_a_failure_is_a_finding(span: Spans, write: Callable[..., Path], tmp_path: Path) -> None:
    found = analyse({0: write([span("aten::mm", 0, 5)])})
    assert [f.code for f in found.findings] == ["hta_failed"]
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    found = analyse({0: broken})
    assert (found.tables, [f.code for f in found.findings]) == ({}, ["hta_failed"])
    assert found.findings[0].where.startswith("load: ")


def test_ranks_of_a_job_are_analysed_together(span: Spans, write: Callable[..., Path], tmp_path: Path) -> None:
    for rank in range(2):
        header = {"schemaVersion": 1, "distributedInfo": {"rank": rank, "world_size": 2, "backend": "nccl"}}
        events = [*step(span, 1, 0, 30 + 10 * rank), *step(span, 2, 200, 30 + 10 * rank)]
        write(events, name=f"rank-{rank}.json", header=header)
    found = analyse_traces(load_study([tmp_path]).traces)
    (analyses,) = found.values()
    temporal = dict(analyses.tables["temporal"].select("rank", "compute_ns").iter_rows())
    assert temporal == {0: 60_000, 1: 80_000}


@pytest.mark.parametrize("name", ["h100_bert_small_inference", "v100_resnet_ddp_training"])
def test_agrees_with_our_busy_time_on_real_traces(shared_traces: Path, name: str) -> None:
    path = shared_traces / f"{name}.json.gz"
    row = analyse({0: path}).tables["temporal"].row(0, named=True)
    ours = Trace(path).devices().row(0, named=True)
    assert row["compute_ns"] + row["non_compute_ns"] == pytest.approx(ours["busy_ns"], abs=2_000)
    assert row["kernel_ns"] == pytest.approx(ours["span_ns"], abs=2_000)
