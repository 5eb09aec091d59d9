"""The charts of a study by name: Altair objects for notebooks, and pictures in files (`altair[save]`).

>>> charts(study)["latency"]                              # doctest: +SKIP
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import altair as alt
import polars as pl

from tracekit.analyze.study import Study
from tracekit.analyze.trace import Trace
from tracekit.errors import MissingExtraError, TracekitError, UsageError
from tracekit.safety import first_line, safe_filename, sanitize

from . import charts as drawn
from .breakdown import host_time
from .export import Written, claim, put
from .page_data import clean, in_order

PICTURES = ("svg", "png")
Chart = alt.Chart | alt.LayerChart
_WIDTH = 640  # pixels; a page stretches its charts, a picture has nothing to fill
_PNG_SCALE = 2  # pixels of the file for one of the chart


def charts(study: Study | Trace) -> dict[str, Chart]:
    """The charts that a study, or one trace, has data for: `latency`, `memory`, `throughput`, `components`.

    A study with several units of length has one of each for each, such as `latency-tokens`. Every name in them is
    sanitized.
    """
    study = Study.of(study) if isinstance(study, Trace) else study
    return dict(_charts(study))


def _charts(study: Study) -> Iterator[tuple[str, Chart]]:
    tables = [
        ("latency", drawn.latency, clean(study.latency())),
        ("memory", drawn.memory, clean(study.peak_memory())),
        ("throughput", drawn.throughput, clean(study.throughput())),
    ]
    tipping = study.tipping_points()
    crossings = clean(tipping, *(name for name in tipping.columns if name.startswith(("efficient", "baseline"))))
    names = list(dict.fromkeys(name for _, _, table in tables for name in table["series"]))
    for name, draw, table in tables:
        yield from _by_unit(name, table, partial(_curve, draw, names, crossings))
    components = clean(study.components())
    bars = in_order(host_time(components), components["series"])
    yield from _by_unit("components", bars, _components)


def _curve(
    draw: Callable[..., alt.LayerChart], names: list[str], crossings: pl.DataFrame, table: pl.DataFrame
) -> Chart:
    return draw(table, names, crossings).properties(width=_WIDTH)


def _components(bars: pl.DataFrame) -> Chart:
    chart = drawn.components(bars)
    return chart if bars["series"].n_unique() > 1 else chart.properties(width=_WIDTH)


def _by_unit(name: str, table: pl.DataFrame, draw: Callable[[pl.DataFrame], Chart]) -> Iterator[tuple[str, Chart]]:
    groups = list(table.group_by("length_unit", maintain_order=True))
    for (unit,), group in groups:
        yield name if len(groups) == 1 else f"{name}-{safe_filename(str(unit or 'trace'))}", draw(group)


def write_charts(study: Study | Trace, folder: Path | str, picture: str = "svg", force: bool = False) -> list[Written]:
    """Write every chart of `charts` as `<name>.svg` or `.png` into `folder`; replaces as `export.write_tables` does.

    Raises MissingExtraError without vl-convert, UsageError when a file may not be written; then nothing is.
    """
    if picture not in PICTURES:
        raise UsageError(f"no kind of picture {sanitize(picture)}: choose from {', '.join(PICTURES)}")
    if find_spec("vl_convert") is None:
        raise MissingExtraError("charts", "vl-convert-python")
    found = charts(study)
    paths = {name: Path(folder) / f"{name}.{picture}" for name in found}
    claim(Path(folder), list(paths.values()), force)
    for name, path in paths.items():
        put(path, picture_of(found[name], picture))
    return [Written(name, path) for name, path in paths.items()]


def picture_of(chart: Chart, picture: str) -> bytes:
    """A chart as a picture on white paper. Raises TracekitError when vl-convert fails."""
    paper = chart.copy()
    paper.config.background = "white"
    png = picture == "png"
    file = io.BytesIO() if png else io.StringIO()
    try:
        paper.save(file, "png" if png else "svg", scale_factor=_PNG_SCALE if png else 1, engine="vl-convert")
    except ValueError as error:
        raise TracekitError(f"vl-convert cannot draw this as {picture}: {first_line(error)}") from None
    drawing = file.getvalue()
    return drawing.encode() if isinstance(drawing, str) else drawing
