"""Component costs against length, with their noise: shares of the profiled steps, times the unprofiled latency.

The profiler makes a step slower, and one of many small operators more so than one of few large ones; of that, a share
keeps what is uneven, and drops the rest. Noise is how the profiled steps differ (a step is a round; see `resample`) and
that of the latency.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from tracekit.components import PALETTE

from .resample import Curve, Floats, draw_curve
from .tipping import METRICS, Series, curve_draws


def component_draws(series: Series, steps: pl.DataFrame, draws: int, seed: int) -> dict[str, tuple[Floats, Floats]]:
    """By component label, in palette order: lengths (L,) and log costs in ns (1 + draws, L), row 0 the estimate.

    `steps` is `composition.step_costs`. A length counts where every profiled step, of two or more, has the component,
    and the latency is known.
    """
    lengths, latency = curve_draws(series, METRICS["latency"], draws, seed)
    shares = _shares(steps.filter(pl.col("series") == series.label))
    found = {}
    for number, label in enumerate(PALETTE):
        rounds = {length: by[label] for length, by in shares.items() if label in by and length in lengths}
        own, drawn = draw_curve(Curve(rounds), draws, seed + 1 + number)
        if len(own):
            found[label] = own, latency[:, np.searchsorted(lengths, own)] + drawn
    return found


def _shares(steps: pl.DataFrame) -> dict[float, dict[str, list[list[float]]]]:
    """By length and label, the share of each step; a component that is absent from one of them is left out."""
    total = pl.col("cost_ns").sum().over("length", "step")
    table = (
        steps.with_columns(share=pl.col("cost_ns") / total)
        .filter(pl.col("share") > 0)
        .sort("length", "label", "step")
        .group_by("length", "label", maintain_order=True)
        .agg(pl.col("share"), pl.col("steps").first())
        .filter(pl.col("share").list.len() == pl.col("steps"))
    )
    found: dict[float, dict[str, list[list[float]]]] = {}
    for length, label, share in table.select("length", "label", "share").iter_rows():
        found.setdefault(length, {})[label] = [[one] for one in share]
    return found
