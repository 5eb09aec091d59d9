"""What components are limited by, as text, from `study.roofline()`: for terminal and page alike.

Every name is made harmless here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from tracekit.analyze.curves import BUSY_SHARE
from tracekit.analyze.roofline import CALIBRATION
from tracekit.analyze.study import Study
from tracekit.components import PALETTE
from tracekit.points import CALIBRATION_BYTES, CALIBRATION_SIDE
from tracekit.safety import sanitize
from tracekit.units import length_text, significant

from .growth import MISSING, Grid

TITLE = "What it is limited by"
RULE = (
    "compute, memory: the largest part of its time is in calls that the peak FLOP/s, or the peak bandwidth, makes "
    "longest; overhead: in none, but in dispatch, Python, views, allocation"
)
ROOF = (
    "%: of the roof, the least time for its FLOPs and bytes over its time; above 100% where caches help or the machine "
    "was disturbed"
)
OPEN = "?: what has no formula takes more of its time than tells the first of these from the second"
LEAST_SHARE = 0.01  # of a step: what takes less has no column and no point
_COLUMN = 14  # characters of `overhead 100%` and a gap
Row = Mapping[str, Any]


def longest(table: pl.DataFrame) -> pl.DataFrame:
    """The rows of each curve at its greatest length; all of a trace that has none. `share`: of that step."""
    last = table.filter(pl.col("length").is_null() | (pl.col("length") == pl.col("length").max().over("series")))
    return last.with_columns(share=pl.col("time_ns") / pl.col("time_ns").sum().over("series"))


def grids(study: Study, width: int) -> Iterator[Grid]:
    """Curves down, the costliest components across, as many as fit into `width`; none where nothing is known."""
    table = longest(study.roofline())
    told = table.filter(pl.col("bound").is_not_null().any().over("series"))
    if not told.height:
        return
    names = told["series"].unique(maintain_order=True).to_list()
    costly = told.filter(pl.col("share") >= LEAST_SHARE).group_by("label").agg(pl.len(), pl.col("share").sum())
    room = width - min(max(map(len, names)), width // 3) - _COLUMN
    chosen = costly.sort("len", "share", "label", descending=True)["label"].head(max(1, room // _COLUMN))
    labels = [label for label in PALETTE if label in set(chosen)]
    body = []
    for name in names:
        rows = {row["label"]: row for row in told.filter(pl.col("series") == name).to_dicts()}
        first = next(iter(rows.values()))
        at = length_text(first["length"], sanitize(first["length_unit"] or ""))
        body.append([sanitize(name), at, *(_cell(rows.get(label)) for label in labels)])
    head = ["curve", "at", *(label.replace(".", "\n") for label in labels)]
    peaks = dict.fromkeys(map(peaks_text, told.to_dicts()))
    open_ones = [OPEN] if any(cell.startswith("?") for row in body for cell in row[2:]) else []
    yield Grid(TITLE, head, body, [*peaks, RULE, *open_ones, ROOF, *disturbed(study, told)])


def disturbed(study: Study, table: pl.DataFrame) -> Iterator[str]:
    """A sentence where the machine had other work during points that are shown: their shares of the roof are low."""
    busy = study.latency().filter(pl.col("run_delay_share") > BUSY_SHARE)
    busy = busy.with_columns(pl.col("series").map_elements(sanitize, return_dtype=pl.String))
    clean = table.with_columns(pl.col("series").map_elements(sanitize, return_dtype=pl.String))
    shown = longest(clean).unique(["series", "length"], maintain_order=True)
    names = shown.join(busy, on=["series", "length"], how="semi", maintain_order="left")["series"].to_list()
    if names:
        during = "all of these" if len(names) == shown.height else ", ".join(names)
        yield f"the machine was busy with other work during {during}: undisturbed they come nearer to the roof"


def _cell(row: Row | None) -> str:
    """`compute 64%`; `?` where so much has no formula that it cannot be told."""
    if row is None:
        return MISSING
    return f"{row['bound'] or '?'} {whole_percent(row['roof_share'])}"


def whole_percent(share: float | None) -> str:
    """A share of 1 in whole percent; what is less than one is said to be."""
    return MISSING if share is None else "<1%" if 0 < share < 0.01 else f"{share:.0%}"


def peaks_text(row: Row) -> str:
    """The machine's peaks and where they come from."""
    flops, size = row["peak_flops_per_s"], row["peak_bytes_per_s"]
    product = f"a product of matrices of {CALIBRATION_SIDE}" if row["peak_flops_from"] == CALIBRATION else "an operator"
    told = [
        f"{significant(flops / 1e9)} GFLOP/s (the fastest run of {product})" if flops else "",
        f"{significant(size / 1e9)} GB/s (the fastest copy of {CALIBRATION_BYTES >> 20} MiB)" if size else "",
    ]
    machine = sanitize(" ".join(filter(None, (row["device"], row["dtype"]))))
    known = " and ".join(filter(None, told))
    return f"roof of {machine}: {known}" if known else f"roof of {machine or 'this device'}: not known"
