"""What a section of the page is made of: a chart, and beside it the same numbers as a table of text.

A new chart is a module with one function `section(study) -> Section | None`; the page shows any section alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One chart and its table. `spec`: Vega-Lite (`chart.to_dict()`), None for a table alone; `total`: last row is one.

    `words`: the table is more of words than of numbers.
    Text in all fields is already harmless (`sanitize`); `id` is unique on the page, letters, digits and hyphens.
    """

    id: str
    title: str
    note: str = ""
    spec: dict[str, Any] | None = None
    head: Sequence[str] = ()
    body: Sequence[Sequence[str]] = ()
    total: bool = False
    words: bool = False


@dataclass(frozen=True)
class Section:
    """Figures under one heading. `id` is its anchor; `small`: many figures side by side."""

    id: str
    title: str
    note: str = ""
    figures: Sequence[Figure] = field(default=())
    small: bool = False
