"""Input lengths as people write them: `128,256`, `128:8192` (doubling), `128:1024:128` (in steps), `seconds=2,5.5`."""

from __future__ import annotations

from collections.abc import Iterable

from tracekit.errors import UsageError
from tracekit.safety import sanitize

UNITS = ("tokens", "seconds", "pixels")
_MOST = 10_000
_LONGEST = 1 << 31


def parse(specs: Iterable[str], option: str = "--lengths") -> dict[str, list[float]]:
    """The lengths in `[UNIT=]SPEC`s by unit, ascending and distinct; "" holds those that name no unit.

    Raises UsageError that names the part that is no length.
    """
    found: dict[str, set[float]] = {}
    for text in specs:
        unit, equals, spec = text.rpartition("=")
        if equals and unit not in UNITS:
            raise UsageError(f"{option} {sanitize(text)}: unknown unit '{sanitize(unit)}'; known: {', '.join(UNITS)}")
        lengths = found.setdefault(unit, set())
        for part in spec.split(","):
            lengths.update(_part(part.strip()))
            if len(lengths) > _MOST:
                raise _too_many(text)
    return {unit: sorted(lengths) for unit, lengths in found.items()}


def _part(part: str) -> list[float]:
    numbers = [_number(piece, part) for piece in part.split(":")]
    if len(numbers) == 1:
        return numbers
    if len(numbers) > 3:
        raise UsageError(f"'{sanitize(part)}' is no range of lengths; write 128:8192 or 128:1024:128")
    first, last = numbers[:2]
    if last < first:
        raise UsageError(f"'{sanitize(part)}' ends before it begins")
    return _doubling(first, last) if len(numbers) == 2 else _stepping(first, last, numbers[2], part)


def _doubling(first: float, last: float) -> list[float]:
    doubled = [first]
    while doubled[-1] * 2 <= last:
        doubled.append(doubled[-1] * 2)
    return doubled


def _stepping(first: float, last: float, step: float, part: str) -> list[float]:
    count = (last - first) / step + 1e-9  # 2:3:0.1 ends at 3, whatever 0.1 is in binary
    if count > _MOST:
        raise _too_many(part)
    return [round(first + i * step, 9) for i in range(int(count) + 1)]


def _number(text: str, part: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < _LONGEST:  # false for nan too
        how = "write 128,512 or 128:8192 (doubling) or 128:1024:128 (steps)"
        raise UsageError(f"'{sanitize(part)}' is no length; {how}")
    return number


def _too_many(text: str) -> UsageError:
    return UsageError(f"'{sanitize(text)}' gives more than {_MOST:,} lengths; use larger steps")
