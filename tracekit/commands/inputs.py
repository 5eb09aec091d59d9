"""Options of every command that is told of the user's own inputs."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING, Any

from tracekit.errors import UsageError
from tracekit.safety import sanitize

if TYPE_CHECKING:
    from tracekit.analyze.dataset import Dataset
    from tracekit.analyze.expected import Question
    from tracekit.analyze.study import Study

METRICS = ("latency", "throughput", "memory")
_MOST = 100_000


def add_options(parser: argparse.ArgumentParser, *, lengths: bool = False) -> None:
    """Declare them; `lengths`: the command takes lengths without a file as well."""
    group = parser.add_argument_group("your inputs")
    group.add_argument(
        "--dataset", metavar="FILE", help="one length a line, or jsonl, json, csv, tsv, parquet (gzipped too)"
    )
    if lengths:
        group.add_argument(
            "--length", dest="lengths", action="append", metavar="N[,N...]", help="input lengths instead of a file"
        )
    group.add_argument("--field", metavar="NAME", help="its column: lengths, texts, or lists of token ids")
    group.add_argument(
        "--tokenizer", metavar="HOW", help="measure texts in words (default), characters, or by a tokenizer.json"
    )
    group.add_argument("--unit", metavar="UNIT", help="what a length is, if the study has several: tokens, seconds ...")
    group.add_argument("--metric", choices=METRICS, default="latency", help="what to choose by (default: latency)")
    group.add_argument(
        "--mode", metavar="MODE", help="which curves, if the study has several modes (default: inference)"
    )
    group.add_argument("--device", metavar="DEVICE", help="which curves, if the study has several devices")


def question(args: argparse.Namespace) -> Question | None:
    """What is asked, None where no inputs are given. Raises UsageError."""
    lengths = getattr(args, "lengths", None)
    if args.dataset is None and lengths is None:
        given = [name for name in ("field", "tokenizer", "unit", "mode", "device") if getattr(args, name) is not None]
        if given:
            raise UsageError(f"--{given[0]} says something of your inputs: name their file by --dataset FILE")
        return None
    from tracekit.analyze.expected import Question

    return Question(_dataset(args, lengths), args.metric, args.mode, args.device)


def facts(study: Study, question: Question, baseline: str | None = None) -> dict[str, Any]:
    """What `--json` says in answer. Raises UsageError."""
    from tracekit.analyze.recommend import answer
    from tracekit.reports.recommendation import facts

    return facts(study, answer(study, question), study.tipping_points(baseline))


def _dataset(args: argparse.Namespace, lengths: list[str] | None) -> Dataset:
    if lengths is None:
        from tracekit.analyze.dataset_file import load_dataset

        return load_dataset(args.dataset, args.field, args.tokenizer, args.unit)
    if args.dataset is not None:
        raise UsageError("--dataset and --length say the same in two ways: give one of them")
    if args.field is not None or args.tokenizer is not None:
        raise UsageError("--field and --tokenizer are for a file: --dataset FILE")
    from tracekit.analyze.dataset import of_lengths

    return of_lengths(map(_number, ",".join(lengths).split(",")), "--length", args.unit)


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise UsageError(f"--length {sanitize(text)!r} is no length: give numbers above zero, e.g. 512 or 128,512")
    return number
