"""What each component costs against length: its share of the profiled steps, times the unprofiled latency.

The profiler makes a step slower, and one of many small operators more so than one of few large ones; of that, a share
keeps what is uneven, and drops the rest. Its noise is how the profiled steps differ (a step is a round; see `resample`)
and that of the latency.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from tracekit.components import PALETTE

from .resample import Curve, Floats, draw_curve
from .tipping import Series, curve_draws


def component_draws(series: Series, steps: pl.DataFrame, draws: int, seed: int) -> dict[str, tuple[Floats, Floats]]:
    """By component label, in palette order: lengths (L,) and log costs in ns (1 + draws, L), row 0 the estimate.

    `steps` is `Study.component_steps()`. On a device shares are of its work, else of host time. A length counts where
    two profiled steps have the component and the latency is known.
    """
    lengths, latency = curve_draws(series, "latency", draws, seed)
    value = "host_ns" if series.identity.device.startswith("cpu") else "device_ns"
    shares = _shares(steps.filter(pl.col("series") == series.label), value)
    found = {}
    for number, label in enumerate(PALETTE):
        rounds = {length: by[label] for length, by in shares.items() if label in by and length in lengths}
        own, drawn = draw_curve(Curve(rounds), draws, seed + 1 + number)
        if len(own):
            found[label] = own, latency[:, np.searchsorted(lengths, own)] + drawn
    return found


def _shares(steps: pl.DataFrame, value: str) -> dict[float, dict[str, list[list[float]]]]:
    """By length and label, the share of each step; a component that is absent from one of them is left out."""
    total = pl.col(value).sum().over("length", "step")
    table = (
        steps.filter(pl.col("length").is_not_null())
        .with_columns(share=pl.col(value) / total, of=pl.col("step").n_unique().over("length"))
        .filter(pl.col("share") > 0)
        .group_by("length", "label", maintain_order=True)
        .agg(pl.col("share"), pl.col("of").first())
        .filter(pl.col("share").list.len() == pl.col("of"))
    )
    found: dict[float, dict[str, list[list[float]]]] = {}
    for length, label, share in table.select("length", "label", "share").iter_rows():
        found.setdefault(length, {})[label] = [[one] for one in share]
    return found
