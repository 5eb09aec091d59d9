"""Numbers for people: durations, bytes, counts, lengths, lists. Inputs are SI base or integer nanoseconds and bytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tracekit.safety import sanitize

_DURATIONS = ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us"), (1, "ns"))
_SPANS = ((86_400_000_000_000, "d"), (3_600_000_000_000, "h"), (60_000_000_000, "min"), *_DURATIONS)
_BYTES = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B"))


def _scaled(value: float, steps: tuple[tuple[int, str], ...]) -> str:
    size = abs(value)
    divisor, unit = next(((d, u) for d, u in steps if size >= d), steps[-1])
    if divisor == 1:
        return f"{value:,.0f} {unit}"
    return f"{significant(value / divisor)} {unit}"


def significant(value: float, digits: int = 3) -> str:
    """`value` with `digits` significant digits, without an exponent: 0.0123, 12.3, 1,230."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    return f"{round(value, decimals):,.{max(decimals, 0)}f}"


def duration(ns: float) -> str:
    """A duration in nanoseconds with a fitting unit: `1_234_567` -> `1.23 ms`."""
    return _scaled(ns, _DURATIONS)


def long_duration(ns: float) -> str:
    """A sum of durations in nanoseconds, in minutes, hours and days too: `7.2e12` -> `2.00 h`."""
    return _scaled(ns, _SPANS)


def with_interval(shown: Callable[[float], str], value: float, low: float | None, high: float | None) -> str:
    """A value with its interval, each in the unit that fits it, named once if it is the same: `1.34 h [1.01, 2.06]`."""
    if low is None or high is None:
        return shown(value)
    number, ends = shown(value), [shown(low), shown(high)]
    if ends == [number, number]:
        return number
    unit = number.rpartition(" ")[2]
    if all(end.endswith(f" {unit}") for end in ends):
        ends = [end.removesuffix(f" {unit}") for end in ends]
    return f"{number} [{', '.join(ends)}]"


def byte_size(size: float) -> str:
    """A size in bytes with a binary unit: `2_097_152` -> `2.00 MiB`."""
    return _scaled(size, _BYTES)


def length_text(length: float | None, unit: str = "") -> str:
    """An input length as people write it: `1,024 tokens`, `2.5 seconds`. The unit is foreign: sanitized here."""
    if length is None:
        return "-"
    number = f"{length:,.0f}" if float(length).is_integer() else f"{length:,g}"
    return f"{number} {sanitize(unit)}".rstrip()


def percent(share: float | None) -> str:
    """A share of 1 as a percentage with one decimal: `0.123` -> `12.3%`."""
    return "-" if share is None or math.isnan(share) else f"{share:.1%}"


def counted(count: int, noun: str) -> str:
    """`1 row`, `1,024 rows`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def listed(words: Sequence[str]) -> str:
    """`a, b and c`; an empty text for none."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else ""
