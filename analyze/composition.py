"""What a step is made of: each component's share of the profiled step, as a cost in unprofiled time.

A profiled step takes longer than a step, so its times are no latencies; its shares are the best there is of where the
time goes. A component's cost is its share times the median unprofiled latency; the costs of a point sum to that median.
"""

from __future__ import annotations

import polars as pl

from tracekit.components import PALETTE

COMPOSITION: dict[str, type[pl.DataType]] = {
    "series": pl.String,
    "length": pl.Float64,
    "component": pl.String,
    "label": pl.String,
    "share": pl.Float64,
    "spread": pl.Float64,
    "cost_ns": pl.Float64,
    "measured_on": pl.String,
}
_POINT = ("series", "length")
LABELS = tuple(PALETTE)


def label() -> pl.Expr:
    """The label of a row of `components`: `component.part` where that has a colour of its own, else the component."""
    split = pl.format("{}.{}", "component", "part")
    return pl.when(split.is_in(list(LABELS))).then(split).otherwise("component")


def composition(steps: pl.DataFrame, latency: pl.DataFrame) -> pl.DataFrame:
    """A row per curve, length and label, from `study.component_steps()` and `study.latency()`; see `COMPOSITION`.

    `share`: of the step, by device time where steps have device work (`measured_on` says so), else by host time; of the
    median step, since one disturbed step of three would tell of the machine. `spread`: the log of the median step over
    the least, from the side that disturbances leave alone, and at least what is typical of the label over its curve: by
    what the cost may be off. Points without profiled steps or latency have no rows.
    """
    if not steps.height or not latency.height:
        return pl.DataFrame(schema=COMPOSITION)
    parts = (
        step_costs(steps)
        .group_by(*_POINT, "component", "label", "measured_on")
        .agg(
            cost=pl.col("cost_ns").median(),
            least=pl.col("cost_ns").min(),
            often=pl.len() * 2 > pl.col("steps").first(),  # a part of few steps is none of the median step
        )
        .filter(pl.col("often") & (pl.col("cost") > 0))
    )
    medians = latency.group_by(_POINT).agg(pl.col("median_ns").median())
    gap = (pl.col("cost") / pl.max_horizontal("least", pl.lit(1))).log()
    typical = gap.median().over("series", "label")  # of three steps, two may agree by chance
    return (
        parts.join(medians, on=_POINT)
        .with_columns(share=pl.col("cost") / pl.col("cost").sum().over(_POINT), spread=pl.max_horizontal(gap, typical))
        .with_columns(cost_ns=pl.col("share") * pl.col("median_ns"))
        .select(*COMPOSITION)
        .sort("series", "length", pl.col("label").cast(pl.Enum(LABELS)))
    )


def step_costs(steps: pl.DataFrame) -> pl.DataFrame:
    """`study.component_steps()` by label: series, length, component, label, measured_on, steps, step, cost_ns.

    Steps of one number in several traces of a point are one; `steps` is how many numbers there are.
    """
    device = (pl.col("device_ns").sum() > 0).over(_POINT)
    return (
        steps.filter(pl.col("length").is_not_null())
        .with_columns(
            label=label(),
            measured_on=pl.when(device).then(pl.lit("device")).otherwise(pl.lit("host")),
            cost_ns=pl.when(device).then("device_ns").otherwise("host_ns"),
            steps=pl.col("step").n_unique().over(_POINT),
        )
        .group_by(*_POINT, "component", "label", "measured_on", "steps", "step")
        .agg(pl.col("cost_ns").sum())
    )


def by_component(table: pl.DataFrame) -> pl.DataFrame:
    """The rows of `composition` with the parts of a component together: series, length, component, share, spread."""
    return table.group_by(*_POINT, "component", maintain_order=True).agg(
        pl.col("share").sum(), spread=(pl.col("spread") * pl.col("share")).sum() / pl.col("share").sum()
    )
