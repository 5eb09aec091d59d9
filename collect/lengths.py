"""Input lengths as people write them: `128,256`, `128:8192` (doubling), `128:1024:128` (in steps)."""

from __future__ import annotations

from tracekit.errors import UsageError
from tracekit.safety import sanitize

_MOST = 10_000


def parse(text: str, unit: str = "tokens") -> list[int]:
    """The lengths in `text`, ascending and distinct; `[UNIT=]SPEC`, where UNIT must be `unit`.

    Raises UsageError that names the part that is no length.
    """
    given, equals, spec = text.rpartition("=")
    if equals and given != unit:
        raise UsageError(f"lengths are in {unit} here, not in '{sanitize(given)}'")
    lengths: set[int] = set()
    for part in spec.split(","):
        lengths.update(_part(part.strip()))
        if len(lengths) > _MOST:
            raise UsageError(f"'{sanitize(text)}' gives more than {_MOST:,} lengths; use larger steps")
    return sorted(lengths)


def _part(part: str) -> list[int]:
    numbers = [_number(piece, part) for piece in part.split(":")]
    if len(numbers) == 1:
        return numbers
    if len(numbers) > 3:
        raise UsageError(f"'{sanitize(part)}' is no range of lengths; write 128:8192 or 128:1024:128")
    first, last = numbers[:2]
    if last < first:
        raise UsageError(f"'{sanitize(part)}' ends before it begins")
    if len(numbers) == 3:
        if (last - first) // numbers[2] > _MOST:
            raise UsageError(f"'{sanitize(part)}' gives more than {_MOST:,} lengths; use larger steps")
        return list(range(first, last + 1, numbers[2]))
    doubled = [first]
    while doubled[-1] * 2 <= last:
        doubled.append(doubled[-1] * 2)
    return doubled


def _number(text: str, part: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if not 0 < number < 1 << 31:
        raise UsageError(
            f"'{sanitize(part)}' is no length; write 128,512 or 128:8192 (doubling) or 128:1024:128 (steps)"
        )
    return number
