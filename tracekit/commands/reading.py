"""Options of every command that reads traces."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracekit.analyze.load import Reading
    from tracekit.analyze.quality import Finding


def add_options(parser: argparse.ArgumentParser, *, folders: bool = True) -> None:
    """Declare them; `folders`: the command takes folders of traces as well."""
    parser.add_argument("--no-cache", action="store_true", help="parse the files anew, and keep nothing parsed")
    parser.add_argument(
        "--components", type=Path, metavar="FILE", help="rules of your own from modules to components (rules.toml)"
    )
    if folders:
        parser.add_argument(
            "--length-from",
            metavar="REGEX",
            help=r"find the length in the names of files collected elsewhere, e.g. '_(\d+)\.json'",
        )


def positive(text: str) -> int:
    """A whole number of at least 1, as an option has it. Raises ValueError, which argparse turns into its line."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def reading(args: argparse.Namespace) -> Reading:
    """How to read, as the options say. Raises UsageError."""
    from tracekit.analyze.foreign import length_pattern
    from tracekit.analyze.load import Reading
    from tracekit.rules import NO_RULES, load_rules

    rules = load_rules(args.components) if args.components else NO_RULES
    text = getattr(args, "length_from", None)
    return Reading(rules, not args.no_cache, length_pattern(text) if text is not None else None)


def say_quality(args: argparse.Namespace, findings: Sequence[Finding]) -> None:
    """One line on stderr if anything was dropped, repaired or is uncertain: for commands that print no more of it.

    An object of `--json` has the findings themselves.
    """
    from tracekit.analyze.quality import warning_counts

    counts = warning_counts(list(findings))
    if counts and not (args.quiet or args.json):
        told = ", ".join(f"{code} x{count:,}" for code, count in counts.items())
        print(f"warning: data quality: {told} (tracekit report says what that costs)", file=sys.stderr)
