"""What a study says of the user's own inputs: which model to use, in words first, then what each one costs.

The words and the cells of tables are plain text, made once for the terminal, the page and `--json`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from tracekit.analyze.dataset import Dataset
from tracekit.analyze.expected import above
from tracekit.analyze.recommend import Answer, Mix, Recommendation
from tracekit.analyze.study import Study
from tracekit.analyze.tipping import METRICS
from tracekit.safety import sanitize
from tracekit.units import byte_size, duration, length_text, long_duration, percent, significant, with_interval

# By metric: what the next best one does so many times.
_WORDS = {
    "latency": "takes {} times as long",
    "throughput": "takes {} times as long at its best batch",
    "memory": "needs {} times as much memory at its peak",
}
_MODES = {
    "decode": "in decode mode a cost is that of one token against a cache as long as the input",
    "training": "in training mode a cost is that of one step for each input",
}
_TIMES = {"latency": "total time", "throughput": "at the best batch"}  # columns
_SPARE = ("an input", "peak (95%)", "of their length")
PEAKS = "peak: memory of one step at the longest input, and at the one that 95% do not exceed"
_ENOUGH = 0.001  # share of inputs below which nobody needs to hear that they were not measured


@dataclass(frozen=True)
class Told:
    """An answer as text: `headline` is one sentence, `details` say how much and how sure.

    `caveats`: what to bear in mind. curves, shares: head and body of a table; `shares` has no body where the study has
    no tipping points. `spare` names columns that a narrow terminal can do without.
    """

    inputs: str
    headline: str
    details: tuple[str, ...]
    caveats: tuple[str, ...]
    curves: tuple[list[str], list[list[str]]]
    shares: tuple[list[str], list[list[str]]]
    spare: tuple[str, ...]
    shares_title: str
    shares_note: str = "[as the tipping point moves within its interval]"


def told(study: Study, found: Answer, tipping: pl.DataFrame, every: bool = False) -> Told:
    """Say an answer. `tipping`: see `shares`; `every`: of them, all metrics, not only the one that was asked about."""
    table = shares(found, tipping)
    asked = "any metric" if every else found.question.metric
    dataset, said = found.question.dataset, found.recommendation
    details = [*_amount(said, dataset), *([_mix(said.mix, said, found.unit)] if said.mix else []), *_others(said)]
    return Told(
        inputs=described(dataset, found.unit),
        headline=_sentence(_headline(said)),
        details=tuple(_sentence(sanitize(line, None)) for line in details),
        caveats=tuple(_sentence(sanitize(line, None)) for line in _caveats(study, found)),
        curves=_curves(found.expected),
        shares=_shares(table, every) if every else _shares(table.filter(metric=asked), every),
        shares_title=f"Your inputs for which an efficient model is better than its baseline, by {asked}",
        spare=(*_SPARE, _TIMES["latency" if said.metric == "throughput" else "throughput"]),
    )


def shares(found: Answer, tipping: pl.DataFrame) -> pl.DataFrame:
    """`expected.above` for those of `study.tipping_points()` that are of the curves of the answer, as whole models."""
    first = found.expected.row(0, named=True)
    names = ("mode", "device", "length_unit")
    alike = (pl.col(name) == first[name] for name in names)
    return above(found.question.dataset, tipping.filter(pl.col("metric").is_in(list(METRICS)), *alike))


def described(dataset: Dataset, unit: str) -> str:
    """`my.jsonl: 10,000 inputs of 12 to 4,096 tokens (words of field text), median 212, 95% up to 1,024`."""
    how = "" if dataset.measured == "lengths" else f" ({dataset.measured})"
    low, high = float(dataset.lengths[0]), float(dataset.lengths[-1])
    count = f"{dataset.size:,} input{'s' if dataset.size > 1 else ''} of "
    if low == high:
        return sanitize(f"{dataset.name}: {count}{length_text(low, unit)}{how}", None)
    middle = f"median {length_text(dataset.quantile(0.5))}, 95% up to {length_text(dataset.quantile(0.95))}"
    return sanitize(f"{dataset.name}: {count}{length_text(low)} to {length_text(high, unit)}{how}, {middle}", None)


def marks(dataset: Dataset) -> list[tuple[float, str]]:
    """The dataset's quantiles as markers for the charts: length and label."""
    words = {"50%": "median"}
    found: dict[float, str] = {}
    for name, length in dataset.quantiles().items():
        found[length] = f"{found[length]}, {words.get(name, name)}" if length in found else words.get(name, name)
    return [(length, f"{label} {length_text(length)}") for length, label in found.items()]


def facts(study: Study, found: Answer, tipping: pl.DataFrame) -> dict[str, Any]:
    """What `--json` says: dataset, expected, above and recommendation (with its sentence)."""
    text = told(study, found, tipping)
    said = {**found.recommendation.facts(), "text": text.headline, "caveats": list(text.caveats)}
    return {
        "dataset": {**found.question.dataset.facts(), "unit": found.unit},
        "expected": found.expected.to_dicts(),
        "above": shares(found, tipping).to_dicts(),
        "recommendation": said,
    }


# -- words


def _headline(said: Recommendation) -> str:
    best, other = sanitize(said.best), sanitize(said.next)
    more = _WORDS[said.metric].format(_ratio(said))
    match said.verdict:
        case "use":
            return f"use {best}: {other}, the next best, {more}"
        case "tie":
            *others, last = map(sanitize, said.tied)
            names = f"{', '.join([best, *others])} or {last}"
            return f"use {names}: no difference that can be told ({other} {more})"
        case "untold":
            return f"which model to use cannot be told: {sanitize(said.reasons[0], None)}"
        case "only":
            alone = "no other model here runs all of these inputs" if said.reasons else "there is no other to compare"
            return f"use {best}: {alone}"
        case _:
            return "no model here runs all of these inputs"


def _ratio(said: Recommendation) -> str:
    if said.ratio is None:
        return ""
    ends = (said.ratio_lo, said.ratio_hi)
    return f"{said.ratio:.2f}" + (f" [{ends[0]:.2f}, {ends[1]:.2f}]" if None not in ends and ends[0] != ends[1] else "")


def _amount(said: Recommendation, dataset: Dataset) -> Iterator[str]:
    if said.saving is None or said.probability is None or said.verdict == "tie":
        return
    sure = f"the best in {_sure(said.probability)} of the draws"
    if said.metric == "memory":
        saved = f"{with_interval(byte_size, said.saving, said.saving_lo, said.saving_hi)} of peak memory"
    else:
        each = f" ({duration(said.saving_per_input)} an input)" if said.saving_per_input and dataset.size > 1 else ""
        saved = f"{with_interval(long_duration, said.saving, said.saving_lo, said.saving_hi)}{each}"
        saved += f" of the time for all {dataset.size:,} inputs, " if dataset.size > 1 else ", "
        saved += "one after the other" if said.metric == "latency" else "in batches of the best size"
    if said.verdict == "use":
        yield f"it saves {saved}; it is {sure}"
    else:
        yield f"as far as can be guessed it is {said.best}, {sure}, which would save {saved}"


def _sure(share: float) -> str:
    return "all" if share == 1 else "more than 99%" if share > 0.99 else f"{share:.0%}"


def _mix(mix: Mix, said: Recommendation, unit: str) -> str:
    long = f"{mix.long} from there on ({percent(mix.long_share)} of the inputs)"
    both = f"{mix.short} below {_length(mix.at)} {unit} and {long}"
    if mix.saving is None:
        return f"together they can: {both}"
    ends = (mix.saving_lo, mix.saving_hi)
    interval = f" [{ends[0]:.0%}, {ends[1]:.0%}]" if ends[0] is not None and ends[1] is not None else ""
    return f"two models do better: {both} save {mix.saving:.0%}{interval} of the time of {said.best} alone"


def _length(length: float) -> str:
    return f"{length:,.0f}" if length >= 100 else significant(length)


def _others(said: Recommendation) -> list[str]:
    """Reasons that the headline does not give."""
    return list(said.reasons[1:] if said.verdict == "untold" else said.reasons)


def _caveats(study: Study, found: Answer) -> Iterator[str]:
    dataset, said = found.question.dataset, found.recommendation
    if dataset.text and "tokens" not in dataset.measured.split()[0]:
        word, than = dataset.measured.split()[0], "more" if dataset.measured.startswith("words") else "fewer"
        yield f"lengths are {word}; a text usually has {than} {found.unit}: --tokenizer tokenizer.json counts these"
    if dataset.dropped:
        yield f"{dataset.dropped:,} inputs without a length above zero were left out"
    if said.best is not None and said.verdict != "untold":
        row = found.expected.row(0, named=True)
        outside = (row["below_share"] or 0) + (row["above_share"] or 0)
        if outside > _ENOUGH:
            yield f"{percent(outside)} of the inputs are outside of the measured lengths; there costs are extrapolated"
    if found.apart and said.metric == "latency":
        yield "not all of these took turns, round by round: what the machine did meanwhile is in the difference"
    if any(finding.code == "busy_machine" for finding in study.findings):
        yield "the machine was busy while some of this was measured: times may be too long, and the intervals say so"
    mode = found.expected["mode"][0]
    if mode in _MODES:
        yield _MODES[mode]
    batches = found.expected["batch"].unique()
    if said.metric == "latency" and (batches != 1).any():
        yield "the latency of a batch is shared evenly by its inputs"
    yield "on the machine of the study, each input at its own length, not padded to others; [95% intervals]"
    yield "variants differ in quality too: this is about time and memory"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


# -- tables


def _curves(expected: pl.DataFrame) -> tuple[list[str], list[list[str]]]:
    """A row per curve; a column only where there is something in it."""
    rows = expected.to_dicts()
    columns: list[tuple[str, list[str]]] = [
        ("curve", [sanitize(row["series"]) for row in rows]),
        (_TIMES["latency"], [_total(row, "total") for row in rows]),
        ("an input", ["-" if row["mean_ns"] is None else duration(row["mean_ns"]) for row in rows]),
        (_TIMES["throughput"], [_total(row, "batched") for row in rows]),
        ("peak (longest)", ["-" if row["peak_bytes"] is None else byte_size(row["peak_bytes"]) for row in rows]),
        ("peak (95%)", ["-" if row["peak_95_bytes"] is None else byte_size(row["peak_95_bytes"]) for row in rows]),
        ("not measured", [_percent(row["below_share"] + row["above_share"]) for row in rows]),
        ("cannot run", [_percent(row["cannot_run_share"]) for row in rows]),
    ]
    kept = [(name, cells) for name, cells in columns if name == "curve" or set(cells) != {"-"}]
    return [name for name, _ in kept], [list(cells) for cells in zip(*(cells for _, cells in kept), strict=True)]


def _total(row: dict[str, Any], what: str) -> str:
    value = row["total_ns" if what == "total" else f"{what}_total_ns"]
    return "-" if value is None else with_interval(long_duration, value, row[f"{what}_lo_ns"], row[f"{what}_hi_ns"])


def _percent(share: float) -> str:
    return percent(share) if share > 0 else "-"


def _shares(table: pl.DataFrame, metric: bool) -> tuple[list[str], list[list[str]]]:
    head = ["model", "against", *(["by"] if metric else []), "better", "inputs", "of their length"]
    return head, [
        [
            sanitize(row["efficient"]),
            sanitize(row["baseline"]),
            *([row["metric"]] if metric else []),
            _where(row),
            _share(row),
            percent(row["length_share"]),
        ]
        for row in table.to_dicts()
    ]


def _where(row: dict[str, Any]) -> str:
    match row["verdict"]:
        case "not_resolved":
            return "cannot be told"
        case "from":
            return f"from {_length(row['at'])} on"
        case "between":
            begin = "" if row["at"] is None else f"from {_length(row['at'])} "
            return f"{begin}up to {_length(row['until'])}"
        case verdict:
            return str(verdict)


def _share(row: dict[str, Any]) -> str:
    low, high = row["share_lo"], row["share_hi"]
    if row["share"] is None:
        return "-"
    return percent(row["share"]) + (f" [{percent(low)}, {percent(high)}]" if low != high else "")
