"""A comparison in the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from tracekit.analyze.compare import Comparison
from tracekit.safety import sanitize

from . import comparison_words as words
from .comparison_words import Cause, Line, Part
from .terminal import findings_block
from .text_table import WIDE, plain_table

_STYLES = {words.WORSE: "red", words.BETTER: "green", words.SAME: "dim", words.FAILED: "bold red"}
_MOST_DIFFERENCES = 12
_MOST_UNMATCHED = 8
_MOST_CAUSES = 3  # whose parts are shown in a table


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print everything, the answer first, at the console's width."""
    for block in _blocks(comparison, console.width):
        console.print(block)
        console.print()


def _blocks(comparison: Comparison, width: int) -> Iterator[RenderableType]:
    title = f"{sanitize(comparison.base.title)} -> {sanitize(comparison.new.title)}"
    yield Group(Text(title, style="bold"), *map(Text, words.verdicts(comparison)))
    if found := words.differences(comparison):
        yield _differences(found)
    yield _metrics(list(words.told(comparison)), width, *words.noise(comparison), words.drift(comparison))
    causes = words.causes(comparison)
    for cause in causes[:_MOST_CAUSES]:
        yield _cause(cause, width)
    if others := causes[_MOST_CAUSES:]:
        yield Group(
            Text("Why, of the others", style="bold"),
            *(Text(f"{cause.metric} of {cause.place}: {cause.sentence}") for cause in others),
        )
    if said := words.novelties(comparison):
        yield Group(Text("What operators do otherwise", style="bold"), *map(Text, said))
    unmatched = comparison.unmatched()
    if unmatched.height:
        lines = [Text(f"{row[0]}: {sanitize(row[1])}") for row in unmatched.head(_MOST_UNMATCHED).iter_rows()]
        more = unmatched.height - _MOST_UNMATCHED
        if more > 0:
            lines.append(Text(f"and {more} more", style="dim"))
        yield Group(Text("On one side alone, not compared", style="bold"), *lines)
    if block := findings_block(comparison.findings):
        yield block


def _differences(found: Sequence[tuple[str, str, str]]) -> RenderableType:
    out = plain_table()
    for name in ("differs", "base", "new"):
        out.add_column(Text(name), overflow="fold")
    for row in found[:_MOST_DIFFERENCES]:
        out.add_row(*map(Text, row))
    more = len(found) - _MOST_DIFFERENCES
    notes = [Text(f"and {more} more (--json has all)", style="dim")] if more > 0 else []
    return Group(Text("What differs beside the numbers", style="bold"), out, *notes)


def _metrics(lines: Sequence[Line], width: int, *notes: str) -> RenderableType:
    out = plain_table()
    out.add_column(Text("point"), overflow="fold")
    out.add_column(Text("metric"), overflow="fold")
    for name in ("base", "new", "change"):
        out.add_column(Text(name), justify="right", no_wrap=True)
    if width >= WIDE:
        out.add_column(Text("95% interval"), justify="right", no_wrap=True)
    out.add_column(Text("verdict"), overflow="fold")
    before = ""
    for line in lines:
        style = "bold red" if line.exceeded else _STYLES[line.tone]
        interval = [Text(line.interval, style="dim")] if width >= WIDE else []
        numbers = (Text(line.base), Text(line.new), Text(line.change, style=style))
        shown, before = "" if line.place == before else line.place, line.place
        out.add_row(Text(shown), Text(line.metric), *numbers, *interval, Text(line.verdict, style=style))
    return Group(Text("Base against new", style="bold"), out, *(Text(note, style="dim") for note in notes if note))


def _cause(cause: Cause, width: int) -> RenderableType:
    head = Text.assemble((f"Why: {cause.metric} of {cause.place}", "bold"))
    tables = [_parts("component", cause.components, width, total=True)]
    for name, parts in (("operator", cause.operators), ("kernel", cause.kernels)):
        if parts:
            tables.append(_parts(name, parts, width))
    return Group(head, Text(cause.sentence), *(Padding(table, (1, 0, 0, 2), expand=False) for table in tables))


def _parts(name: str, parts: Sequence[Part], width: int, total: bool = False) -> RenderableType:
    out = plain_table()
    out.add_column(Text(name), overflow="fold")
    for column in ("base", "new", "change"):
        out.add_column(Text(column), justify="right", no_wrap=True)
    if width >= WIDE:
        out.add_column(Text("95% interval"), justify="right", no_wrap=True)
    out.add_column(Text("of it"), justify="right", no_wrap=True)
    detailed = any(part.detail for part in parts)
    if detailed:
        out.add_column(Text("otherwise"), overflow="fold")
    for part in parts:
        last = total and part is parts[-1]
        cells = [part.name, part.base, part.new, part.change]
        cells += [part.interval] if width >= WIDE else []
        cells += [part.share, *([part.detail] if detailed else [])]
        out.add_row(*(Text(cell, style="bold" if last else "") for cell in cells))
    return out
