"""JSON that is none: cut off, unescaped, written by two, or of values that JSON does not have."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tests import oracle

from . import text
from .base import BASE, DROPPED, FIRST, GPU, GPU_TRUTH, TEXT, TRUTH, changed, complete, each
from .case import KINETO, PERFETTO, TORCH, Case, of_events, rejected
from .containers import HALF
from .text import Raw

_NAME = f'"name": "{BASE[FIRST]["name"]}"'
_PRODUCT = TEXT.index('"aten::mm"', HALF)  # where it is cut
_DAMAGED: tuple[tuple[str, str, str, str], ...] = (  # the text of one name: the event is kept or lost, and it is said
    (
        "unescaped_quote",
        '"a"b"',
        (
            "record_function('a\"b') on torch 2.13.0 writes this (measured); the other events must survive, the bad "
            "one is kept or reported"
        ),
        KINETO + "pull/1459",
    ),
    (
        "unescaped_backslash",
        r'"C:\cuda\init.py(3): \lazy"',
        r"Windows path, invalid \c \l escapes",
        TORCH + "issues/98432",
    ),
    ("control_chars", '"bad\x01\t\nname"', "raw control characters in a name", TORCH + "issues/130622"),
)


def cases() -> Iterator[Case]:
    yield from _truncated()
    yield from _commas()
    for name, written, why, link in _DAMAGED:
        yield _damaged(name, TEXT.replace(_NAME, f'"name": {written}', 1), why, TRUTH, link)
    yield Case(
        "unescaped_quote_header",
        TEXT.replace('"record_shapes": 1', '"note": "a"b"'),
        "add_metadata('note', 'a\"b') on torch 2.13.0 (measured): header is broken, events are fine",
        TRUTH,
        warn=True,
        link=TORCH + "issues/146900",
    )
    yield _damaged(
        "invalid_utf8",
        TEXT.encode().replace(_NAME.encode(), b'"name": "torch/_inductor/config.py(0): \xff\xfe\xc3"', 1),
        "invalid UTF-8 in a name",
        TRUTH,
        KINETO + "issues/988",
    )
    yield of_events(
        "lone_surrogate",
        changed(BASE, FIRST, name=Raw(r'"a\ud800b"'), cat="user_annotation"),
        r"\ud800 parses but cannot be encoded: print/HTML/CSV must not raise UnicodeEncodeError",
        oracle.facts(changed(BASE, FIRST, name="x", cat="user_annotation")),
    )
    yield from _values()
    yield from _documents()


def _damaged(
    name: str, content: str | bytes, why: str, or_truth: dict[str, object] | None = None, link: str = ""
) -> Case:
    return Case(name, content, why, DROPPED, warn=True, or_truth=or_truth, link=link, n_dropped=1)


def _truncated() -> Iterator[Case]:
    def cut(name: str, content: str, why: str, link: str = "", suffix: str = ".json") -> Case:
        truth = oracle.facts(complete(BASE, content))
        return Case(name, content, why, truth, warn=True, link=link, suffix=suffix)

    dur = TEXT.index('"dur": ', _PRODUCT) + len('"dur": ')
    yield cut(
        "trunc_mid_key",
        TEXT[: _PRODUCT - 4],
        "cut inside a key (kill -9 / OOM during export)",
        link=PERFETTO + "issues/926",
    )
    yield cut(
        "trunc_mid_string",
        TEXT[: _PRODUCT + 6],
        "cut inside a string",
        link="https://github.com/mlcommons/chakra/issues/192",
    )
    yield cut("trunc_mid_number", TEXT[: dur + 1], "cut inside a dur: 1 of '10.770' must not be read as 1 us")
    yield cut(
        "trunc_after_comma",
        TEXT[: TEXT.index("},\n", _PRODUCT) + 2],
        "what kineto leaves in NAME.json.tmp (measured: kill -9 during export)",
        "https://github.com/bazelbuild/bazel/issues/11863",
        ".json.tmp",
    )
    yield cut("trunc_missing_close", TEXT[: TEXT.rindex("\n]")] + "\n", "array not closed")
    yield rejected("trunc_in_header", TEXT[:60], "cut before traceEvents", "(?i)truncat|incomplete|traceEvents")


def _commas() -> Iterator[Case]:
    listed = "[\n" + ",\n".join(map(text.event, BASE))
    yield Case(
        "array_no_bracket",
        listed + "\n",
        "the format makes the final ] optional: cannot be told from truncation between events, may warn",
        TRUTH,
        warn=None,
        link=PERFETTO + "issues/926",
    )
    yield Case(
        "array_no_bracket_comma",
        listed + ",\n",
        "... with the trailing comma writers leave",
        TRUTH,
        warn=None,
        link="https://github.com/intel/opencl-intercept-layer/issues/367",
    )
    yield Case(
        "trailing_comma",
        TEXT.replace('\n],"traceName"', ',\n],"traceName"'),
        "comma before ]",
        TRUTH,
        link=PERFETTO + "issues/1822",
    )
    opening = '"traceEvents": [\n'
    yield Case(
        "leading_comma",
        TEXT.replace(opening, opening + ",", 1),
        "comma after [",
        TRUTH,
        "either",
        error=("(?i)offset|line|byte",),
        link="https://github.com/koute/not-perf/issues/22",
    )


def _values() -> Iterator[Case]:
    words = ("NaN", "inf", "Infinity", "-Infinity", "nan", "1e999")
    args = each(GPU, "kernel", lambda n, e: {**e, "args": {**e["args"], "memory bandwidth (GB/s)": Raw(words[n % 6])}})
    yield of_events(
        "nan_inf_args",
        args,
        "bare inf/nan in args (dur 0 memcpy divides by zero)",
        GPU_TRUTH,
        warn=None,
        link=KINETO + "issues/105",
    )
    yield _damaged(
        "nan_dur",
        text.document(changed(BASE, FIRST, dur=Raw("NaN"))),
        "dur NaN: drop and say, never propagate NaN into sums",
        link="https://github.com/catapult-project/catapult/issues/1568",
    )
    yield of_events(
        "bare_NA",
        changed(BASE, FIRST, args={"fwd": Raw("N/A")}),
        "bare N/A value (libkineto 2021)",
        DROPPED,
        warn=True,
        or_truth=TRUTH,
        link=KINETO + "pull/131",
    )
    twice = Raw(f'{text.microseconds(BASE[FIRST]["dur"])}, "dur": 999999.000')
    yield _damaged(
        "dup_keys_event",
        text.document(changed(BASE, FIRST, dur=twice)),
        "duplicate key in one event: ambiguous, must not silently take 999999",
    )


def _documents() -> Iterator[Case]:
    yield Case(
        "dup_traceEvents",
        TEXT.replace('"record_shapes": 1', '"traceEvents": "x"'),
        "add_metadata('traceEvents','x') (measured): first value is a string",
        TRUTH,
        warn=True,
    )
    yield Case(
        "two_documents",
        TEXT + TEXT,
        "file appended to: second document silently ignored = half the time missing",
        None,
        "either",
        True,
        error=("(?i)trailing|extra|second|two",),
    )
    yield Case(
        "missing_commas",
        TEXT.replace("},\n{", "}\n{", 3),
        "commas lost between events",
        TRUTH,
        warn=True,
    )
    stop = TEXT.index("\n{", _PRODUCT) + 40
    resume = TEXT.index("\n{", stop + 900) + 60
    yield Case(
        "interleaved_writers",
        TEXT[:stop] + TEXT[5000:5300] + TEXT[resume:],
        "two processes wrote one file",
        None,
        "either",
        True,
        error=("(?i)offset|line|byte|corrupt",),
    )
    yield rejected("python_repr", str(json.loads(TEXT)), "str(dict): single quotes, None", "(?i)offset|line|JSON")
    yield of_events(
        "int_5000_digits",
        changed(BASE, FIRST, args={"id": Raw("9" * 5000)}),
        "CPython int() limit is 4300 digits: ValueError, not JSONDecodeError",
        TRUTH,
    )
