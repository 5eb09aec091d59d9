"""What `tracekit check` prints of one trace."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tracekit.analyze.facts import abilities, facts
from tracekit.analyze.quality import warning_counts
from tracekit.analyze.trace import Trace
from tracekit.safety import sanitize
from tracekit.units import duration, length_text

from .repaired import Repaired, said_of
from .terminal import findings_block


def print_checkup(trace: Trace, console: Console, repaired: Repaired | None = None) -> None:
    """Print what the trace is, what it can tell, the findings, and what was `repaired`; foreign strings sanitized."""
    found = facts(trace)
    console.print(Text(sanitize(trace.path.name), style="bold"))
    console.print(Text(_what(trace, found)))
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for one in abilities(trace):
        mark = Text("yes", style="green") if one.able else Text("no", style="yellow")
        table.add_row(mark, Text(one.question), Text(one.because, style="dim"))
    console.print(table)
    block = findings_block(trace.findings)
    if block is not None:
        console.print(block)
    verdict = "sound" if not warning_counts(trace.findings) else "usable, with the warnings above"
    console.print(Text(f"This trace is {verdict}."))
    if repaired is not None:
        console.print(Text(said_of(repaired)))


def _what(trace: Trace, found: dict[str, Any]) -> str:
    point = trace.point
    origin = "collected by tracekit" if "tracekit" in trace.events.header else "collected elsewhere"
    who = ""
    if point:
        i = point.identity
        who = f"{sanitize(i.model)} at {sanitize(length_text(i.length, i.length_unit))}, "
    threads = "one host thread" if found["n_threads"] == 1 else f"{found['n_threads']} host threads"
    text = (
        f"{who}{origin}: {found['n_cpu_op']:,} operators on {threads}, over {duration(found['host_span_ns'])} "
        f"(busy: {duration(trace.busy_ns)}, all threads added)."
    )
    for row in trace.devices().to_dicts():
        work = f"{row['calls']:,} pieces of work over {duration(row['span_ns'])}, busy for {duration(row['busy_ns'])}"
        text += f" Device {row['device_id']}: {work}."
    return text
