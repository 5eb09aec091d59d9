"""What is small in the file and large for its reader."""

from __future__ import annotations

from collections.abc import Iterator

from . import text
from .base import BASE, DROPPED, FIRST, TEXT, TRUTH, changed
from .case import Case
from .text import Raw, gzipped

_PIECE = 16 << 20
_BOMB = ("(?i)limit|ratio|large|size",)


def cases() -> Iterator[Case]:
    yield Case("deep_args_1500", _nested(1500), _why(1500), TRUTH, warn=None, limits={"rss_mb": 768})
    yield Case(
        "deep_args_1000000",
        _nested(1_000_000),
        _why(1_000_000),
        DROPPED,
        "either",
        warn=True,
        or_truth=TRUTH,
        error=("(?i)nest|deep|depth",),
        limits={"rss_mb": 768},
    )
    yield Case(
        "exponent_bomb",
        text.document(changed(BASE, FIRST, dur=Raw("1e400000000"))),
        "int(Decimal('1e400000000')) builds a 400-million-digit integer (found by fuzzing the reference reader)",
        DROPPED,
        warn=True,
        n_dropped=1,
    )
    yield from _bombs()


def _nested(depth: int) -> str:
    return text.document(changed(BASE, FIRST, args=Raw('{"a": ' * depth + "1" + "}" * depth)))


def _why(depth: int) -> str:
    return f"args nested {depth} deep: no RecursionError, no C stack overflow"


def _bombs() -> Iterator[Case]:
    begin = TEXT.index('"traceEvents": [\n') + len('"traceEvents": [\n')
    before, after = TEXT[:begin], TEXT[begin:]
    yield Case(
        "bomb_1GB_whitespace",
        (gzipped(before), *[gzipped(b" " * _PIECE)] * 64, gzipped(after)),
        "1 MB of gzip -> 1 GiB of spaces inside traceEvents (deflate tops out near 1030:1)",
        TRUTH,
        "either",
        error=_BOMB,
        limits={"rss_mb": 768, "seconds": 60},
        suffix=".json.gz",
    )
    yield Case(
        "bomb_10GB_string",
        (gzipped(before + '{"name": "'), *[gzipped(b"A" * _PIECE)] * 640, gzipped('"},' + after)),
        "10 MB of gzip -> 10 GiB string",
        TRUTH,
        "either",
        warn=True,
        error=_BOMB,
        limits={"rss_mb": 768, "seconds": 120},
        suffix=".json.gz",
    )
