"""Is a trace sound? What its events say that cannot be so, as findings."""

from __future__ import annotations

import numpy as np
import polars as pl

from tracekit.units import duration

from .events import Int64s
from .launches import AMBIGUOUS, BEFORE_WINDOW, LINKED, NO_LAUNCH
from .quality import Findings


def host_findings(host: pl.DataFrame, parent: Int64s, window_end_ns: int | None) -> Findings:
    """Overlaps and unfinished calls among host events (order of `nest.sweep_order`) whose parents are `parent`."""
    findings = Findings()
    ends = np.append(host["end_ns"].to_numpy(), 0)
    python = np.append((host["kind"] == "python").to_numpy(), False)
    over = (parent >= 0) & (ends[:-1] > ends[parent])
    by_python = over & (python[:-1] | python[parent])
    for code, rows in (("overlap", over & ~by_python), ("overlap_python", by_python)):
        if rows.any():
            findings.add(code, str(host["name"][int(np.argmax(rows))]), int(rows.sum()))
    if window_end_ns is not None:
        cut = host.filter((pl.col("end_ns") == window_end_ns) & (pl.col("dur_ns") > 0))
        findings.add("unfinished", str(cut["name"][0]) if cut.height else "", cut.height)
    return findings


def device_findings(device: pl.DataFrame, host: pl.DataFrame, launches: pl.DataFrame) -> Findings:
    """Device work without a launch, before its launch, at no time, or running over its successors."""
    findings = Findings()
    for launch, code in (
        (BEFORE_WINDOW, "launch_before_window"),
        (AMBIGUOUS, "launch_ambiguous"),
        (NO_LAUNCH, "launch_none"),
    ):
        work = device.filter(pl.col("launch") == launch)
        findings.add(code, f"{duration(int(work['dur_ns'].sum()))} of device time", work.height)
    known = launches.filter(pl.col("correlation") != 0).unique("correlation", keep="none")
    begun = known.select("correlation", begun_ns=host["start_ns"].gather(known["row"]))
    linked = device.filter(pl.col("launch") == LINKED).join(begun, on="correlation", how="left")
    early = linked.filter((pl.col("start_ns") < pl.col("begun_ns")) & (pl.col("start_ns") != 0))
    if early.height:
        most = int((early["begun_ns"] - early["start_ns"]).max())  # type: ignore[arg-type]
        findings.add("kernel_before_launch", f"by up to {duration(most)}", early.height)
    timeless = device.filter(pl.col("start_ns") == 0)
    findings.add("device_time_zero", str(timeless["name"][0]) if timeless.height else "", timeless.height)
    stream = ("device", "stream")
    ordered = device.sort(*stream, "start_ns").with_columns(end_ns=pl.col("start_ns") + pl.col("dur_ns"))
    over = ordered.filter(pl.col("end_ns") > pl.col("end_ns").shift(-1).over(stream))
    findings.add("device_overrun", str(over["name"][0]) if over.height else "", over.height)
    return findings
