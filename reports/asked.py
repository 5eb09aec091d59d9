"""What a reader asks of a report beyond the study itself: one object for terminal, page and JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracekit.analyze.dataset import Dataset
    from tracekit.analyze.expected import Question
    from tracekit.analyze.scaling import At


@dataclass(frozen=True)
class Asked:
    """`baseline`: compare every other model with it; `at`: lengths at which to predict.

    `dataset`: the lengths of the user's inputs, or a question about them: say which model to use for them. In the
    terminal the operators are the `top` ones, told apart `by` shape, layer or step, of one `component`, at one measured
    `length` instead of each curve's greatest.
    """

    baseline: str | None = None
    at: At = ()
    dataset: Dataset | Question | None = None
    top: int = 10
    by: str | None = None
    component: str | None = None
    length: float | None = None


NOTHING = Asked()
