"""A comparison as markdown, for a pull request: the answer, a table, and the causes folded away beneath."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tracekit.analyze.compare import Comparison

from . import comparison_words as words
from .comparison_words import Cause, Part
from .formats import markdown_text

_MOST_DIFFERENCES = 12
_MOST_ROWS = 100  # a comment holds 65,536 characters
_MOST_CAUSES = 10
_MOST_NAMED = 8


def markdown(comparison: Comparison) -> str:
    """The whole of it, ending in a line break. Foreign names are escaped: they are neither markup nor HTML."""
    return "\n".join(_lines(comparison)) + "\n"


def _lines(comparison: Comparison) -> Iterator[str]:
    yield f"### tracekit: {_text(comparison.base.title)} -> {_text(comparison.new.title)}"
    yield ""
    for said in words.verdicts(comparison):
        yield f"**{_text(said)}**"
        yield ""
    found = words.differences(comparison)
    if found:
        yield from _table(("differs", "base", "new"), found[:_MOST_DIFFERENCES])
        yield from _more(len(found) - _MOST_DIFFERENCES, "differences")
    rows = [
        (line.place, line.metric, line.base, line.new, line.change, line.interval, line.verdict)
        for line in words.told(comparison)
    ]
    head = ("point", "metric", "base", "new", "change", "95% interval", "verdict")
    yield from _table(head, rows[:_MOST_ROWS], first_number=2)
    yield from _more(len(rows) - _MOST_ROWS, "rows")
    for note in (*words.noise(comparison), words.drift(comparison)):
        if note:
            yield f"{_text(note)}"
            yield ""
    causes = words.causes(comparison)
    for cause in causes[:_MOST_CAUSES]:
        yield from _cause(cause)
    yield from _more(len(causes) - _MOST_CAUSES, "changes with their parts")
    novelties = words.novelties(comparison)
    for said in novelties[:_MOST_CAUSES]:
        yield f"- operators of {_text(said)}"  # no name begins a line, where it might be a heading or a list
    if novelties:
        yield ""
    yield from _more(len(novelties) - _MOST_CAUSES, "points whose operators do otherwise")
    unmatched = [f"{side}: {what}" for side, what, _ in comparison.unmatched().iter_rows()]
    if unmatched:
        more = len(unmatched) - _MOST_NAMED
        told = ", ".join(unmatched[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
        yield f"Not compared, on one side alone: {_text(told)}"
        yield ""
    for finding in comparison.findings:
        if finding.severity != "note":
            yield f"- {finding.severity}: {_text(finding.cost)} ({_text(finding.where)})"


def _cause(cause: Cause) -> Iterator[str]:
    yield f"**{_text(cause.metric)} of {_text(cause.place)}**: {_text(cause.sentence)}"
    yield ""
    yield "<details><summary>parts</summary>"
    yield ""
    yield from _table(
        ("component", "base", "new", "change", "95% interval", "of it"), [_row(part) for part in cause.components], 1
    )
    for name, parts in (("operator", cause.operators), ("kernel", cause.kernels)):
        if parts:
            head = (name, "base", "new", "change", "95% interval", "of it", "otherwise")
            yield from _table(head, [(*_row(part), part.detail) for part in parts], 1)
    yield "</details>"
    yield ""


def _row(part: Part) -> tuple[str, ...]:
    return part.name, part.base, part.new, part.change, part.interval, part.share


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], first_number: int | None = None) -> Iterator[str]:
    """A table; columns from `first_number` to the last but one hold numbers."""
    numbers = range(first_number, len(head) - 1) if first_number is not None else range(0)
    yield f"| {' | '.join(head)} |"
    yield f"|{'|'.join('---:' if at in numbers else '---' for at in range(len(head)))}|"
    for row in rows:
        yield f"| {' | '.join(_text(cell) for cell in row)} |"
    yield ""


def _more(count: int, what: str) -> Iterator[str]:
    if count > 0:
        yield f"and {count} more {what}"
        yield ""


def _text(text: str) -> str:
    return markdown_text(text)
