"""What HolisticTraceAnalysis says of device traces: idle reasons, overlap, launches, critical path.

An adapter, used only where the user asks for it: HTA is imported late, told not to round times, and every analysis of
it may fail without harm; a failure is a finding. Our own busy and idle times (`tables.devices`) do not depend on it.
Install it as the extra `hta`; either of its distributions will do (traceinsight, or HolisticTraceAnalysis).
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from tracekit.errors import MissingExtraError
from tracekit.safety import sanitize

from .quality import Finding, Findings, in_order
from .trace import Trace

_ROUNDING_OFF = "HTA_DISABLE_NS_ROUNDING"


@dataclass(frozen=True)
class DeviceAnalyses:
    """The tables by name, each with `rank` first and times in ns; and what failed.

    idle: stream, reason (host_wait: the device waits for launches; kernel_wait: between queued kernels; other) and
    idle_ns. temporal: idle_ns, compute_ns, non_compute_ns, kernel_ns. overlap: overlap_share (of communication, by
    compute; null without communication). launches: calls, median_ns, p95_ns and max_ns of the delay from launch to
    start. critical_path: bound_by, duration_ns; of the first profiled step.
    """

    tables: Mapping[str, pl.DataFrame]
    findings: list[Finding]


def analyse(files: Mapping[int, Path]) -> DeviceAnalyses:
    """Run HTA over `files`, one for each rank. Raises MissingExtraError where HTA is not installed."""
    findings = Findings()
    tables: dict[str, pl.DataFrame] = {}
    with _quiet():
        try:
            from hta.trace_analysis import TraceAnalysis
        except ImportError as error:
            if (error.name or "hta").split(".")[0] == "hta":
                raise MissingExtraError("hta", "HolisticTraceAnalysis") from None
            findings.add("hta_failed", f"import: {sanitize(error)}")
            return DeviceAnalyses({}, findings.listed())
        try:
            names = {rank: str(path.resolve()) for rank, path in files.items()}
            hta = TraceAnalysis(names, str(next(iter(files.values())).parent), include_last_profiler_step=True)
        except Exception as error:
            findings.add("hta_failed", f"load: {_said(error)}")
            return DeviceAnalyses({}, findings.listed())
        for name, analysis in _ANALYSES.items():
            try:
                tables[name] = analysis(hta, sorted(files))
            except Exception as error:
                findings.add("hta_failed", f"{name}: {_said(error)}")
    return DeviceAnalyses(tables, in_order(findings.listed()))


def analyse_traces(traces: Sequence[Trace]) -> dict[str, DeviceAnalyses]:
    """`analyse` of every trace with device work, by its path; the ranks of a job together, by their folder."""
    jobs: dict[Path, dict[int, Path]] = {}
    for trace in traces:
        if trace.events.frames.device.height:
            job = trace.path if trace.rank is None else trace.path.parent
            jobs.setdefault(job, {})[trace.rank or 0] = trace.path
    return {str(job): analyse(files) for job, files in jobs.items()}


def _idle(hta: Any, ranks: list[int]) -> pl.DataFrame:
    table, _ = hta.get_idle_time_breakdown(ranks=ranks, visualize=False)
    return _frame(
        table, {"rank": pl.Int64, "stream": pl.Int64, "idle_category": pl.String, "idle_time": pl.Float64}
    ).select("rank", "stream", reason="idle_category", idle_ns=_ns("idle_time"))


def _temporal(hta: Any, _: list[int]) -> pl.DataFrame:
    kinds = ("idle", "compute", "non_compute", "kernel")
    table = _frame(
        hta.get_temporal_breakdown(visualize=False), {"rank": pl.Int64, **{f"{k}_time(us)": pl.Float64 for k in kinds}}
    )
    return table.select("rank", **{f"{kind}_ns": _ns(f"{kind}_time(us)") for kind in kinds})


def _overlap(hta: Any, _: list[int]) -> pl.DataFrame:
    table = _frame(hta.get_comm_comp_overlap(visualize=False), {"rank": pl.Int64, "comp_comm_overlap_pctg": pl.Float64})
    return table.select("rank", overlap_share=pl.col("comp_comm_overlap_pctg").fill_nan(None) / 100)


def _launches(hta: Any, ranks: list[int]) -> pl.DataFrame:
    found = hta.get_cuda_kernel_launch_stats(ranks=ranks, visualize=False)
    delay = pl.col("launch_delay")
    rows = [
        _frame(table, {"launch_delay": pl.Float64}).select(
            rank=pl.lit(rank, dtype=pl.Int64),
            calls=pl.len().cast(pl.Int64),
            median_ns=_ns(delay.median()),
            p95_ns=_ns(delay.quantile(0.95)),
            max_ns=_ns(delay.max()),
        )
        for rank, table in sorted(found.items())
    ]
    return pl.concat(rows)


def _critical_path(hta: Any, ranks: list[int]) -> pl.DataFrame:
    rows = []
    for rank in ranks:
        graph, sound = hta.critical_path_analysis(rank=rank, annotation="ProfilerStep", instance_id=0)
        edges = graph.get_critical_path_breakdown() if sound else None
        if edges is None:
            raise ValueError(f"no path through the first step of rank {rank}")
        table = _frame(edges, {"bound_by": pl.String, "duration": pl.Float64}).filter(pl.col("bound_by") != "")
        rows.append(table.group_by("bound_by").agg(duration_ns=_ns(pl.col("duration").sum())).with_columns(rank=rank))
    return (
        pl.concat(rows)
        .select(pl.col("rank").cast(pl.Int64), "bound_by", "duration_ns")
        .sort("rank", "duration_ns", descending=[False, True])
    )


_ANALYSES: dict[str, Callable[[Any, list[int]], pl.DataFrame]] = {
    "idle": _idle,
    "temporal": _temporal,
    "overlap": _overlap,
    "launches": _launches,
    "critical_path": _critical_path,
}


def _frame(table: Any, schema: dict[str, Any]) -> pl.DataFrame:
    """Columns of a pandas frame, without pyarrow."""
    return pl.DataFrame({name: table[name].tolist() for name in schema}, schema=schema, strict=False)


def _ns(us: str | pl.Expr) -> pl.Expr:
    """Microseconds as whole nanoseconds."""
    return ((pl.col(us) if isinstance(us, str) else us) * 1000).round().cast(pl.Int64)


def _said(error: BaseException) -> str:
    return sanitize(f"{type(error).__name__}: {error}".strip(": "))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """HTA without its logs, prints and warnings, and without rounding to whole microseconds."""
    before, level = os.environ.get(_ROUNDING_OFF), logging.root.manager.disable
    os.environ[_ROUNDING_OFF] = "1"
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
        if before is None:
            del os.environ[_ROUNDING_OFF]
        else:
            os.environ[_ROUNDING_OFF] = before
