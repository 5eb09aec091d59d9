"""A comparison as markdown, for a pull request: the answer, a table, and the causes folded away beneath."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tracekit.analyze.compare import Comparison

from . import comparison_words as words
from .comparison_words import Cause, Part
from .formats import markdown_text

_MOST_DIFFERENCES = 12


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
        if len(found) > _MOST_DIFFERENCES:
            yield f"and {len(found) - _MOST_DIFFERENCES} more differences"
            yield ""
    rows = [
        (line.place, line.metric, line.base, line.new, line.change, line.interval, line.verdict)
        for line in words.told(comparison)
    ]
    yield from _table(("point", "metric", "base", "new", "change", "95% interval", "verdict"), rows, first_number=2)
    for note in (*words.noise(comparison), words.drift(comparison)):
        if note:
            yield f"{_text(note)}"
            yield ""
    for cause in words.causes(comparison):
        yield from _cause(cause)
    for said in words.novelties(comparison):
        yield f"- {_text(said)}"
    unmatched = comparison.unmatched()
    if unmatched.height:
        yield ""
        yield f"Not compared, on one side alone: {_text(', '.join(unmatched['what'].to_list()[:8]))}"
    for finding in comparison.findings:
        if finding.severity != "note":
            yield f"- {finding.severity}: {_text(finding.cost)} ({_text(finding.where)})"


def _cause(cause: Cause) -> Iterator[str]:
    yield f"**{_text(cause.metric)} of {_text(cause.place)}**: {_text(cause.sentence)}"
    yield ""
    yield "<details><summary>parts</summary>"
    yield ""
    yield from _table(("component", "base", "new", "change", "95% interval", "of it"), _rows(cause.components), 1)
    if cause.operators:
        head = ("operator", "base", "new", "change", "95% interval", "of it", "otherwise")
        yield from _table(head, [(*row, part.detail) for row, part in _paired(cause.operators)], 1)
    yield "</details>"
    yield ""


def _rows(parts: Sequence[Part]) -> list[tuple[str, ...]]:
    return [row for row, _ in _paired(parts)]


def _paired(parts: Sequence[Part]) -> list[tuple[tuple[str, ...], Part]]:
    return [((p.name, p.base, p.new, p.change, p.interval, p.share), p) for p in parts]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], first_number: int | None = None) -> Iterator[str]:
    """A table; columns from `first_number` to the last but one hold numbers."""
    numbers = range(first_number, len(head) - 1) if first_number is not None else range(0)
    yield f"| {' | '.join(head)} |"
    yield f"|{'|'.join('---:' if at in numbers else '---' for at in range(len(head)))}|"
    for row in rows:
        yield f"| {' | '.join(_text(cell) for cell in row)} |"
    yield ""


def _text(text: str) -> str:
    return markdown_text(text)
