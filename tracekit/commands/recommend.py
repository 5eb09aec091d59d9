"""`tracekit recommend`: which model to use for inputs of these lengths, what it saves, and how sure that is."""

from __future__ import annotations

import argparse
from pathlib import Path

from tracekit.errors import EXIT_OK, UsageError

from . import inputs, reading

SUMMARY = "say which model to use for your inputs, what it saves, and how sure that is"
EXAMPLES = (
    "tracekit recommend traces/ --dataset my.jsonl --field text --tokenizer words",
    "tracekit recommend traces/ --length 512,2048 --metric memory",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("paths", nargs="+", metavar="PATH", type=Path, help="a folder of points, or trace files")
    inputs.add_options(parser, lengths=True)
    reading.add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Read the inputs, then the study; say which model to use."""
    question = inputs.question(args)
    if question is None:
        raise UsageError("say which inputs: --dataset FILE, or --length 512,2048")
    from tracekit.analyze.load import load_study

    study = load_study(args.paths, reading.reading(args))
    reading.say_quality(args, study.findings)
    if args.json:
        from tracekit.reports.envelope import envelope

        said = inputs.facts(study, question)
        print(envelope("recommend", [str(path) for path in args.paths], study.findings, **said))
        return EXIT_OK
    from tracekit.analyze.recommend import answer
    from tracekit.reports.text_table import plain_console
    from tracekit.reports.your_data import print_recommendation

    print_recommendation(study, answer(study, question), plain_console())
    return EXIT_OK
