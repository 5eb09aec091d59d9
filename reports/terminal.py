"""The report in the terminal: the answer first, then where the time goes. Reads well at 80 columns, uses 160.

Every foreign string goes through `_text`, which neither Rich markup nor a control code survives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import polars as pl
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.style import Style
from rich.table import Table
from rich.text import Text

from tracekit.analyze.quality import Finding
from tracekit.analyze.recommend import Answer, answer
from tracekit.analyze.study import Study
from tracekit.components import COLOURS, PALETTE
from tracekit.safety import sanitize
from tracekit.units import byte_size, duration, length_text, percent, significant

from . import growth, limits, operators_text
from .asked import NOTHING, Asked
from .breakdown import LAUNCHES, ONE_STEP, WHOLE_TRACE, by_phase, device_time, host_time
from .explanations import why
from .marks import legend, marked
from .matrix import matrix
from .matrix_text import matrix_block
from .recommendation import shares
from .repeats import middle
from .text_table import WIDE, bar, plain_table
from .verdicts import hint, sentences
from .your_data import your_data

_SEVERITY_STYLE = {"error": "bold red", "warning": "yellow", "note": "dim"}
_DOUBT_STYLE = "yellow"


def render(study: Study, width: int, asked: Asked = NOTHING) -> RenderableType:
    """The whole report as one Rich renderable for a terminal of `width` columns.

    Raises UsageError when the baseline asked for is no model of the study.
    """
    found = answer(study, asked.dataset) if asked.dataset is not None else None
    blocks: list[RenderableType | None] = [
        _headline(study),
        *(your_data(study, found, width, asked.baseline) if found else ()),
        *_answer(study, width, asked.baseline, found),
        *_curves(study, width),
        *_grids(growth.grids(study, asked.at, width), width),
        *_breakdowns(study, width),
        *_grids(limits.grids(study, width), width),
        *_phases(study),
        *operators_text.blocks(study, width, asked),
    ]
    blocks += [_device(study), _failures(study), findings_block(study.findings)]
    return Group(*(Padding(block, (0, 0, 1, 0)) for block in blocks if block is not None))


def print_report(study: Study, console: Console, asked: Asked = NOTHING) -> None:
    """Print `render` to a console."""
    console.print(render(study, console.width, asked), soft_wrap=False)


def _text(value: object, style: str | Style = "", limit: int | None = 200) -> Text:
    return Text(sanitize(value, limit), style=style)


def _titled(title: str, table: Table, *notes: str) -> RenderableType:
    """A table under its title, over its notes; all stand outside it, so that a narrow table does not wrap them."""
    return Group(_text(title, "bold"), table, *(_text(note, "dim", limit=None) for note in notes if note))


# -- the answer


def _headline(study: Study) -> RenderableType:
    lines = [_text(study.title, "bold underline")]
    points = [point for point in study.points if point.ok]
    if points:
        models = ", ".join(dict.fromkeys(point.identity.model for point in points))
        first = points[0]
        cpu = first.environment.get("cpu_model") or first.identity.machine
        threads = f", {first.identity.threads} threads" if first.identity.threads else ""
        lines.append(_text(f"{len(points)} points of {models}", limit=None))
        lines.append(_text(f"on {first.identity.device}" + (f": {cpu}{threads}" if cpu else ""), limit=None))
    else:
        lines.append(Text("profiler traces that say nothing of how they were made: no latency or memory curves"))
    return Group(*lines)


def _answer(study: Study, width: int, baseline: str | None, found: Answer | None) -> Iterator[RenderableType]:
    """What to use from which length on, and why."""
    if not study.latency().height:
        return
    yield _versus(study, baseline)
    tipping = study.tipping_points(baseline)
    if pairs := matrix(tipping):
        yield matrix_block(pairs, width)
    above = shares(found, tipping) if found else None
    for title, texts in why(study, baseline, above):
        yield Group(_text(title, "bold"), *(Padding(Text(text), (0, 0, 0, 2)) for text in texts))


def _curves(study: Study, width: int) -> Iterator[RenderableType]:
    doubts = study.doubts()
    latency = marked(study.latency(), doubts, "latency")
    if latency.height:
        note = "unprofiled runs; ± is half the interquartile range over the median"
        yield from _by_length("Latency (median)", latency, "median_ns", duration, note, width)
    first = marked(study.first_token(), doubts, "first_token")
    if first.height:
        note = "prefill of the whole input; in decode mode latency is of one token against a cache of that length"
        yield from _by_length("Time to the first token (median)", first, "median_ns", duration, note, width)
    memory = marked(study.peak_memory(), doubts, "memory")
    if memory.height:
        methods = ", ".join(sorted(set(memory["method"])))
        yield from _by_length("Peak memory of one step", memory, "peak_bytes", byte_size, sanitize(methods), width)
    rate = marked(study.throughput(), doubts, "throughput")
    if rate.height:
        yield from _by_length("Throughput at the best batch", rate, "samples_per_s", _rate, "inputs per second", width)


def _rate(value: float) -> str:
    return f"{significant(value)}/s"


def _versus(study: Study, baseline: str | None) -> RenderableType:
    latency, tipping = study.latency(), study.tipping_points(baseline)
    verdicts, caveat = sentences(latency, tipping, study.throughput())
    lines = [Text.assemble((sanitize(v.series), "bold"), " is ", sanitize(v.text, None)) for v in verdicts]
    last = caveat if verdicts else "one curve: nothing to compare it with"
    return Group(*lines, *(Text(said, style="dim") for said in (last, hint(latency, tipping, baseline)) if said))


def _by_length(
    title: str, table: pl.DataFrame, column: str, shown: Callable[[float], str], note: str, width: int
) -> Iterator[RenderableType]:
    """One table per length unit: a row per length, a column per curve, the best of each row in bold.

    A curve with doubts has a second column, of their letters, which the last note explains.
    """
    best = max if column == "samples_per_s" else min
    for (unit,), group in middle(table, column).group_by("length_unit", maintain_order=True):
        names = group["series"].unique(maintain_order=True).to_list()
        for chunk in _chunks(names, max(1, (width - 10) // 24)):
            of_chunk = group.filter(pl.col("series").is_in(chunk))
            doubted = set(of_chunk.filter(pl.col("marks") != "")["series"])
            out = plain_table()
            out.add_column(_text(unit), justify="right")
            for name in chunk:
                out.add_column(_text(name, limit=40), justify="right")
                if name in doubted:
                    out.add_column(style=_DOUBT_STYLE, no_wrap=True)
            for length in group["length"].unique().sort():
                values = {r["series"]: r for r in group.filter(pl.col("length") == length).to_dicts()}
                top = best(r[column] for r in values.values())
                cells: list[RenderableType] = [length_text(length)]
                for name in chunk:
                    row = values.get(name)
                    cells += [
                        _cell(row, column, shown, top),
                        *([row["marks"] if row else ""] if name in doubted else []),
                    ]
                out.add_row(*cells)
            yield _titled(title, out, note, legend(of_chunk))


def _cell(row: dict[str, Any] | None, column: str, shown: Callable[[float], str], top: float) -> Text:
    if row is None:
        return Text("-", style="dim")
    value = float(row[column])
    text = Text(shown(value), style="bold green" if value == top else "")
    if "median_ns" in row:
        spread = (row["hi_ns"] - row["lo_ns"]) / 2 / value if value else 0.0
        text.append(f" ±{spread:>4.0%}" if spread >= 0.0995 else f" ±{spread:.1%}", style="dim")
    return text


def _chunks(names: list[str], size: int) -> Iterator[list[str]]:
    return (names[i : i + size] for i in range(0, len(names), size))


def _grids(grids: Iterable[growth.Grid], width: int) -> Iterator[RenderableType]:
    for grid in grids:
        out = plain_table()
        for number, name in enumerate(grid.head):
            inner = width >= 80 and 0 < number < len(grid.head) - 1  # the first has names, the last may have words
            out.add_column(Text(name), justify="right" if number else "left", no_wrap=inner, overflow="fold")
        for row in grid.body:
            out.add_row(*map(Text, row))
        yield Group(_titled(grid.title, out), *(Text(note, style="dim") for note in grid.notes))


# -- where the time goes


def _breakdowns(study: Study, width: int) -> Iterator[RenderableType]:
    components = study.components()
    latency = study.latency()
    hosts = marked(host_time(components), study.doubts(), "components")
    for (series,), rows in hosts.group_by("series", maintain_order=True):
        overhead = _overhead(latency.filter(pl.col("series") == series))
        note = f"of the profiled run, {overhead}; latency comes from unprofiled runs"
        what = "of one profiled step" if rows["stepped"].any() else "of the whole trace"
        notes = (note if rows["stepped"].any() else "", legend(rows))
        yield _breakdown(f"Host time {what}: {series}", rows, width, *notes)
    for (series,), rows in device_time(components).group_by("series", maintain_order=True):
        yield _breakdown(f"Device time, all that was recorded: {series}", rows.with_columns(marks=pl.lit("")), width)


def _overhead(latency: pl.DataFrame) -> str:
    """What profiling cost, in words."""
    shares = latency["profiled_share"].drop_nulls()
    if not shares.len():
        return "whose overhead is in every row"
    low, high = (significant(float(value), 2) for value in (shares.min(), shares.max()))  # type: ignore[arg-type]
    times = low if low == high else f"{low} to {high}"
    return f"whose steps took {times} times as long as unprofiled ones"


def _breakdown(title: str, rows: pl.DataFrame, width: int, *notes: str) -> RenderableType:
    """Components down, lengths across, the share at least of the last, and the total."""
    wide = width >= WIDE
    lengths = _fitting(rows["length_text"].unique(maintain_order=True).to_list(), (width - 34) // (18 if wide else 9))
    shared = lengths if wide else lengths[-1:]
    doubted = dict(rows.select("length_text", "marks").iter_rows())
    out = plain_table()
    out.add_column(Text("component"), no_wrap=True)
    for length in lengths:
        head = Text("time" if length in (WHOLE_TRACE, ONE_STEP) else length)
        if doubted[length]:
            head.append(f" {doubted[length]}", style=_DOUBT_STYLE)
        out.add_column(head, justify="right", no_wrap=True)
        if length in shared:
            out.add_column(Text("share"), justify="right", style="dim", no_wrap=True)
    if wide:
        out.add_column(Text(""), no_wrap=True)
    cells = {(row["label"], row["length_text"]): row for row in rows.to_dicts()}
    for label in rows.sort("order")["label"].unique(maintain_order=True):
        line: list[str] = []
        for length in lengths:
            cell = cells.get((label, length))
            line.append(duration(cell["value_ns"]) if cell else "-")
            line += [percent(cell["fraction"]) if cell else "-"] if length in shared else []
        mark = Style(color=PALETTE.get(label, COLOURS["other"]))
        last = cells.get((label, lengths[-1]))
        bars = [bar(last["fraction"] if last else 0.0)] if wide else []
        out.add_row(Text.assemble(("█ ", mark), sanitize(label)), *line, *bars)
    out.add_section()
    totals = dict(rows.group_by("length_text").agg(pl.col("value_ns").sum()).iter_rows())
    sums = [cell for length in lengths for cell in (duration(totals[length]), *([""] if length in shared else []))]
    out.add_row("total", *sums, style="bold")
    return _titled(title, out, *notes)


def _phases(study: Study) -> Iterator[RenderableType]:
    """Forward, recompute, backward, optimizer: where a trace has more than the forward; at the greatest length."""
    for (series,), rows in by_phase(study.components()).group_by("series", maintain_order=True):
        device = bool((rows["device_ns"] > 0).any())
        out = plain_table()
        for name in ("phase", "host", *(("device",) if device else ()), "share"):
            out.add_column(Text(name), justify="left" if name == "phase" else "right", no_wrap=True)
        for row in rows.to_dicts():
            cells = [duration(row["host_ns"]), *([duration(row["device_ns"])] if device else [])]
            out.add_row(_text(row["phase"]), *cells, percent(row["fraction"]))
        out.add_section()
        total = [duration(_sum(rows, "host_ns")), *([duration(_sum(rows, "device_ns"))] if device else [])]
        out.add_row("total", *total, style="bold")
        length = rows["length"][0]
        at = f" at {length_text(length, rows['length_unit'][0])}" if length is not None else ""
        note = "host time, and device time it launched, over all profiled steps"
        yield _titled(f"By phase: {sanitize(series)}{at}", out, note)


def _sum(table: pl.DataFrame, column: str) -> float:
    return float(table[column].sum() or 0)


def _fitting(lengths: list[str], room: int) -> list[str]:
    """At most `room` lengths (at least one), evenly spread, ends included."""
    if len(lengths) <= room:
        return lengths
    if room <= 1:
        return lengths[-1:]
    return [lengths[round(i * (len(lengths) - 1) / (room - 1))] for i in range(room)]


def _device(study: Study) -> RenderableType | None:
    """Device time by what is known of its launch, when there is any device work."""
    table = study.device_launches()
    if not table.height:
        return None
    out = plain_table()
    out.add_column(Text("trace"), no_wrap=True, max_width=36, overflow="ellipsis")
    out.add_column(Text("how it began"))
    out.add_column(Text("events"), justify="right")
    out.add_column(Text("time (sum)"), justify="right")
    for row in table.to_dicts():
        out.add_row(
            _text(row["series"]),
            _text(LAUNCHES.get(row["launch"], row["launch"])),
            f"{row['calls']:,}",
            duration(row["total_ns"]),
        )
    busy = plain_table()
    busy.add_column(Text("trace"), no_wrap=True, max_width=36, overflow="ellipsis")
    for name in ("device", "busy", "idle", "sum"):
        busy.add_column(Text(name), justify="right")
    for row in study.devices().to_dicts():
        times = (duration(row[column]) for column in ("busy_ns", "idle_ns", "sum_ns"))
        busy.add_row(_text(row["series"]), str(row["device_id"]), *times)
    note = (
        "busy is the union of all work on a device, idle the rest of its span; the sum exceeds busy where work overlaps"
    )
    return Group(_titled("Device work", out), _titled("Devices", busy, note))


# -- what to know


def _failures(study: Study) -> RenderableType | None:
    if not study.failed:
        return None
    out = plain_table()
    for name in ("model", "length", "status", "reason"):
        out.add_column(Text(name), overflow="fold")
    for row in study.failures().to_dicts():
        out.add_row(
            _text(row["series"]),
            _text(length_text(row["length"], row["length_unit"])),
            _text(row["status"]),
            _text(row["reason"]),
        )
    return _titled("Points that did not finish", out)


def findings_block(findings: Sequence[Finding]) -> RenderableType | None:
    """The data-quality block, the same wherever findings are shown; None where there is nothing to say."""
    if not findings:
        return None
    lines = [Text("Data quality", style="bold")]
    for f in findings:
        line = Text.assemble(
            (f"{f.severity} ", _SEVERITY_STYLE.get(f.severity, "")), sanitize(f"{f.code} x{f.count:,}: {f.cost}", None)
        )
        if f.where:
            line.append(f" ({sanitize(f.where, None)})", style="dim")
        if f.advice:
            line.append(f". {sanitize(f.advice[0].upper() + f.advice[1:], None)}")
        lines.append(line)
    return Group(*lines)
