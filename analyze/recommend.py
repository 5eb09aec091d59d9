"""Which curve of a study to use for a dataset, what it saves against the next best, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from tracekit.errors import UsageError
from tracekit.units import length_text, percent

from .crossing import TAIL
from .dataset import Dataset
from .expected import DISTINCT, Costs, Question, candidates, costs, expected_table, interval, outside_cost, score
from .resample import Floats

if TYPE_CHECKING:
    from .study import Study

GUESSED = 0.5  # share of the cost outside the measured range above which a comparison would be one of guesses
FAR = 2.0  # the same for peak memory, which hangs on the longest input alone: times the longest measured length
WORTH = 0.01  # saving of a mix over the best single curve below which it is not worth two models
_HOW = {"throughput": ": collect with --throughput"}
_SMALL = 1e-9  # relative difference that is rounding


@dataclass(frozen=True)
class Mix:
    """Two curves, each for the inputs it is better at: `short` below the length `at`, `long` from there on.

    `saving` is the share of the best single curve's total that the mix saves, with its 95% interval; None where no
    single curve runs all inputs. `long_share` is the share of inputs that `long` gets.
    """

    short: str
    long: str
    at: float
    long_share: float
    total: float
    saving: float | None
    saving_lo: float | None
    saving_hi: float | None


@dataclass(frozen=True)
class Recommendation:
    """The answer for a dataset, by `metric` (latency, throughput: ns; memory: bytes).

    verdict: `use` best; `tie`: best or any of `tied`, between which no difference can be told; `untold`: too little of
    the cost is within what was measured, or noise is not known; `only`: no other curve runs all inputs; `none` does.
    `ratio` is the cost of `next` over that of `best`, `saving` their difference (of all inputs, or of the peak), each
    with its 95% interval; `probability` the share of draws in which `best` is the best. `reasons` say why it is not
    plainly `use`.
    """

    metric: str
    verdict: str
    best: str | None = None
    next: str | None = None
    tied: tuple[str, ...] = ()
    total: float | None = None
    ratio: float | None = None
    ratio_lo: float | None = None
    ratio_hi: float | None = None
    saving: float | None = None
    saving_lo: float | None = None
    saving_hi: float | None = None
    saving_per_input: float | None = None
    probability: float | None = None
    mix: Mix | None = None
    reasons: tuple[str, ...] = ()

    def facts(self) -> dict[str, Any]:
        """What `--json` says of it."""
        return asdict(self)


@dataclass(frozen=True)
class Answer:
    """All that a study says of a dataset: `Study.expected` and the recommendation, from the same draws."""

    question: Question
    unit: str
    expected: pl.DataFrame
    recommendation: Recommendation
    apart: bool  # some curves took no turns with the others


def answer(study: Study, asked: Dataset | Question, draws: int = 1000, seed: int = 0) -> Answer:
    """Totals of every curve, and which to use. Raises UsageError when it is not clear which curves are meant."""
    question = Question.of(asked)
    curves = candidates(study, question)
    thin = question.dataset.thinned(DISTINCT)
    found = costs(curves, question.metric, thin, draws, seed)
    if all(one.span is None for one in found):
        raise UsageError(f"no {question.metric} was measured here{_HOW.get(question.metric, '')}")
    frame = expected_table(found, question, thin, draws, seed)
    unit = curves[0].identity.length_unit
    apart = len(found) > 1 and any(one.apart for one in found)
    return Answer(question, unit, frame, recommended(found, thin, question.metric), apart)


def recommended(found: Sequence[Costs], dataset: Dataset, metric: str) -> Recommendation:
    """The recommendation among curves, given their costs at the lengths of the dataset."""
    scores = np.stack([score(one, dataset, metric) for one in found])
    able = [int(i) for i in np.argsort(scores[:, 0], kind="stable") if np.isfinite(scores[i, 0])]
    unable = tuple(_why_not(one, dataset, metric) for i, one in enumerate(found) if i not in able)
    mix = None if metric == "memory" else _mix(found, dataset, scores[able[0]] if able else None)
    if not able:
        return Recommendation(metric, "none", mix=mix, reasons=unable)
    best = found[able[0]]
    said = Recommendation(metric, "only", best.series.label, total=float(scores[able[0], 0]), mix=mix)
    rivals = [found[i] for i in able[1:]]
    if rivals:
        said = _compared(said, dataset, rivals, scores[able])
    doubts = tuple(_doubts([best, *rivals[:1]], dataset, metric))
    if doubts and rivals:
        said = replace(said, verdict="untold", tied=(), mix=None)
    return replace(said, reasons=doubts + unable)


def _compared(said: Recommendation, dataset: Dataset, rivals: Sequence[Costs], scores: Floats) -> Recommendation:
    """With what it saves against the next best, and whom it cannot be told from. `scores` has a row per curve."""
    over = scores[1:] / scores[0]
    ratio, saving = interval(over[0]), interval(scores[1] - scores[0])
    least = np.quantile(over[:, 1:], TAIL, axis=1)
    tied = tuple(one.series.label for one, low in zip(rivals, least, strict=True) if not low > 1 + _SMALL)
    lowest = scores[:, 1:].min(axis=0)
    winners = scores[:, 1:] <= lowest * (1 + _SMALL)
    return replace(
        said,
        verdict="tie" if tied else "use",
        next=rivals[0].series.label,
        tied=tied,
        ratio=ratio[0],
        ratio_lo=ratio[1],
        ratio_hi=ratio[2],
        saving=saving[0],
        saving_lo=saving[1],
        saving_hi=saving[2],
        saving_per_input=None if said.metric == "memory" or saving[0] is None else saving[0] / dataset.size,
        probability=float((winners[0] / winners.sum(axis=0)).mean()),
    )


def _doubts(compared: Sequence[Costs], dataset: Dataset, metric: str) -> Iterator[str]:
    """What makes a comparison of these a guess."""
    once = [one.series.label for one in compared if not one.noisy]
    if once:
        yield f"{' and '.join(once)}: measured once at each length, so that the noise is not known"
    if metric == "memory":
        far = [one.series.label for one in compared if one.span and dataset.lengths[-1] > FAR * one.span[1]]
        if far:
            longest = length_text(float(dataset.lengths[-1]))
            yield f"the longest input, {longest}, is more than twice as long as any that {far[0]} was measured at"
        return
    yield from [_outside(one, dataset) for one in compared if outside_cost(one, dataset) > GUESSED][:1]


def _outside(one: Costs, dataset: Dataset) -> str:
    """`80% of the inputs are longer than 2,048 tokens, outside of what bert was measured at; they take ...`."""
    unit = one.series.identity.length_unit
    low, high = one.span or (math.nan, math.nan)
    sides = (("longer", one.outside > 0, high), ("shorter", one.outside < 0, low))
    shares = [(float(dataset.counts[there].sum() / dataset.size), word, end) for word, there, end in sides]
    parts = [f"{_part(share)} {word} than {length_text(end, unit)}" for share, word, end in shares if share > 0]
    time = "all" if (part := outside_cost(one, dataset)) == 1 else percent(part)
    return f"{' and '.join(parts)}, outside of what {one.series.label} was measured at; they take {time} of its time"


def _part(share: float) -> str:
    return "all of the inputs are" if share == 1 else f"{percent(share)} of the inputs are"


def _why_not(one: Costs, dataset: Dataset, metric: str) -> str:
    label = one.series.label
    if one.span is None:
        return f"{label}: no {metric} was measured"
    if not one.runs.all():
        share = float(dataset.counts[~one.runs].sum() / dataset.size)
        first = length_text(float(dataset.lengths[~one.runs][0]), one.series.identity.length_unit)
        return f"{label} runs out of memory on {percent(share)} of the inputs (from {first} on)"
    return f"{label} was measured at one length only"


def _mix(found: Sequence[Costs], dataset: Dataset, single: Floats | None) -> Mix | None:
    """The best two curves with one switch between them, where that is surely worth it over the best `single` one."""
    with np.errstate(over="ignore"):
        each = np.stack([np.exp(one.logs[0]) for one in found]) * dataset.counts
    each = np.where(np.isnan(each), np.inf, each)
    before, after = np.cumsum(each, axis=1)[:, :-1], np.cumsum(each[:, ::-1], axis=1)[:, -2::-1]
    both = before[:, None] + after[None]
    if not both.size or not np.isfinite(both).any():
        return None
    i, j, k = np.unravel_index(int(np.argmin(both)), both.shape)
    short, long, at = found[int(i)], found[int(j)], int(k) + 1
    with np.errstate(over="ignore"):
        total = np.exp(short.logs[:, :at]) @ dataset.counts[:at] + np.exp(long.logs[:, at:]) @ dataset.counts[at:]
    saving = (None, None, None) if single is None else interval(1 - total / single, short.noisy and long.noisy)
    worth = saving[0] is not None and saving[0] >= WORTH and saving[1] is not None and saving[1] > 0
    if i == j or (single is not None and not worth):
        return None
    share = float(dataset.counts[at:].sum() / dataset.size)
    return Mix(short.series.label, long.series.label, float(dataset.lengths[at]), share, float(total[0]), *saving)
