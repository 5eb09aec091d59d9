"""Options that say what a report should answer beyond the study itself."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tracekit.components import COMPONENTS
from tracekit.errors import UsageError
from tracekit.safety import sanitize
from tracekit.units import length_text

from . import reading

if TYPE_CHECKING:
    from tracekit.analyze.expected import Question
    from tracekit.analyze.study import Study
    from tracekit.reports.asked import Asked


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--baseline", metavar="NAME", help="compare every other model with this one")
    parser.add_argument(
        "--at",
        action="append",
        default=[],
        metavar="[UNIT=]LENGTH",
        help="say what latency and memory would be at these lengths (16384 or 8192,16384 or seconds=60), extrapolated "
        "with an interval where they were not measured",
    )
    group = parser.add_argument_group("operators, in the terminal")
    group.add_argument("--top", type=reading.positive, default=10, metavar="N", help="how many to list (default: 10)")
    group.add_argument("--by", choices=("shape", "layer", "step"), help="tell calls of one name apart")
    group.add_argument("--component", choices=COMPONENTS, metavar="NAME", help="those of one component alone")
    group.add_argument("--length", type=float, metavar="N", help="at this measured length (default: the greatest)")


def asked(args: argparse.Namespace, study: Study, question: Question | None) -> Asked:
    """What was asked; `question`: of the user's inputs.

    Raises UsageError for a baseline, a length or a unit of length that the study has not.
    """
    from tracekit.reports.asked import Asked

    if args.baseline is not None:
        study.tipping_points(args.baseline)  # a wrong name is told before anything is shown
    measured = sorted({point.length for point in study.points})
    if args.length is not None and args.length not in measured:
        known = ", ".join(length_text(length) for length in measured) or "none: these traces do not tell"
        raise UsageError(f"--length {args.length:g} was not measured here; measured: {known}")
    at = _lengths(study, args.at)
    return Asked(args.baseline, at, question, args.top, args.by, args.component, args.length)


def _lengths(study: Study, specs: list[str]) -> dict[str, list[float]]:
    """The lengths to predict, by unit; a length without a unit is in the one that the study has."""
    if not specs:
        return {}
    from tracekit.collect.lengths import parse

    found = parse(specs, "--at")
    units = list(dict.fromkeys(point.identity.length_unit for point in study.points))
    if not units:
        raise UsageError("--at: these traces do not say at which length they were made")
    plain = found.pop("", [])
    if plain and len(units) > 1:
        raise UsageError(f"--at: name the unit, as in --at {sanitize(units[0])}=1024; here are {_listed(units)}")
    if plain:
        found[units[0]] = sorted({*plain, *found.get(units[0], ())})
    unknown = [unit for unit in found if unit not in units]
    if unknown:
        raise UsageError(f"--at {sanitize(unknown[0])}=...: lengths here are in {_listed(units)}")
    return found


def _listed(units: list[str]) -> str:
    return ", ".join(map(sanitize, units))
