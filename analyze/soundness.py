"""Is a trace sound? What its events say that cannot be so, as findings."""

from __future__ import annotations

import polars as pl

from tracekit.safety import sanitize
from tracekit.units import duration

from .launches import AMBIGUOUS, BEFORE_WINDOW, NO_LAUNCH
from .nest import Nesting
from .quality import Findings


def host_findings(host: pl.DataFrame, nesting: Nesting, window_end_ns: int | None) -> Findings:
    """Overlaps and unfinished calls among host events, which `nesting` swept."""
    findings = Findings()
    over = nesting.outliving()
    pair = pl.DataFrame(
        {"own": host["kind"][over], "above": host["kind"][nesting.parent[over]], "name": host["name"][over]}
    )
    by_python = (pl.col("own") == "python") | (pl.col("above") == "python")
    for code, rows in (("overlap", pair.filter(~by_python)), ("overlap_python", pair.filter(by_python))):
        findings.add(code, _first_name(rows), rows.height)
    if window_end_ns is not None:
        cut = host.filter((pl.col("end_ns") == window_end_ns) & (pl.col("dur_ns") > 0))
        findings.add("unfinished", _first_name(cut), cut.height)
    return findings


def device_findings(device: pl.DataFrame) -> Findings:
    """Device work without a launch, before its launch, at no time, or running over its successors."""
    findings = Findings()
    for launch, code in (
        (BEFORE_WINDOW, "launch_before_window"),
        (AMBIGUOUS, "launch_ambiguous"),
        (NO_LAUNCH, "launch_none"),
    ):
        durs = device["dur_ns"].filter(device["launch"] == launch)
        findings.add(code, f"{duration(int(durs.sum()))} of device time", len(durs))
    early = device.filter((pl.col("start_ns") < pl.col("launch_ns")) & (pl.col("start_ns") != 0))
    if early.height:
        most = int((early["launch_ns"] - early["start_ns"]).max())  # type: ignore[arg-type]
        findings.add("kernel_before_launch", f"by up to {duration(most)}", early.height)
    timeless = device.filter(pl.col("start_ns") == 0)
    findings.add("device_time_zero", _first_name(timeless), timeless.height)
    stream = ("device", "stream")
    ordered = device.sort(*stream, "start_ns").with_columns(end_ns=pl.col("start_ns") + pl.col("dur_ns"))
    over = ordered.filter(pl.col("end_ns") > pl.col("end_ns").shift(-1).over(stream))
    findings.add("device_overrun", _first_name(over), over.height)
    return findings


def _first_name(rows: pl.DataFrame) -> str:
    return sanitize(rows["name"][0]) if rows.height else ""
