"""Ways to break a trace: its events, its text, its bytes, its container; several at once, the same every time."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice, pairwise
from random import Random
from typing import Any

from tests.bases import STYLES, Document, Pairs, Raw, own_bases, written
from tests.hostile import NAMES


@dataclass(frozen=True)
class Mutant:
    """The bytes, and the mutations that made them of a base."""

    data: bytes
    base: str
    mutations: tuple[str, ...]


def mutant(seed: int, number: int, bases: dict[str, Document] | None = None) -> Mutant:
    """Mutant `number` of `seed`: the same every time."""
    random = Random(f"{seed}/{number}")
    bases = bases or own_bases()
    base = random.choice(sorted(bases))
    document = bases[base].copy(random.choice(STYLES))
    count = random.choice((0, 1, 1, 1, 2, 2, 3, 5))
    chosen = sorted((random.randrange(len(_WEIGHTED)) for _ in range(count)), key=lambda at: _WEIGHTED[at][0])
    names = []
    value: Any = document
    level = 0
    for at in chosen:
        wanted, mutate = _WEIGHTED[at]
        while level < wanted:
            value, level = _LOWER[level](value), level + 1
        value = mutate(random, value) if level else (mutate(random, value) or value)
        names.append(mutate.__name__.strip("_"))
    while level < 2:
        value, level = _LOWER[level](value), level + 1
    return Mutant(value, base, tuple(names))


# -- events

_NUMBERS = (
    *("0", "-1", "1", "7", "2", "0.0005", "-0", "-0.0", "1e3", "1E+2", "1.50", "1e-3", "0.001", "1.0", "12e-1"),
    *("1e308", "1e400000000", "1e-400000000", "9007199254740993", "9223372036854775807", "9223372036854775808"),
    *("-9223372036854775808", "18446744073709551615", "18446744073709551616", "4611686018427387.904", "9" * 5000),
    *("0." + "3" * 5000, "2592000000000", "2592000000000.001", "8796093022208.001", "1712195495519689.047", "1e18"),
)
_WORDS = (
    "true",
    "null",
    "false",
    '""',
    '"1"',
    '"x"',
    "[]",
    "{}",
    "[1]",
    '{"a": 1}',
    '" 5 "',
    '"-3.5"',
    '"NaN"',
    '"1e2"',
)
_NOT_JSON = ("NaN", "Infinity", "-Infinity", "nan", "inf", "N/A", "01", "+1", ".5", "5.", "0x10", "1e", "--1", "1_000")
_PHASES = ("X", "B", "E", "i", "I", "M", "s", "f", "b", "e", "C", "P", "", "x", None, 1, ["X"], Raw('"\\u0058"'))
_CATEGORIES = (
    *("cpu_op", "user_annotation", "python_function", "cuda_runtime", "cuda_driver", "kernel", "gpu_memcpy"),
    *("gpu_memset", "cpu_instant_event", "ac2g", "fwdbwd", "overhead", "tracekit", "Trace", "", "other", None, 3),
    *(
        "xpu_runtime",
        "privateuse1_driver",
        "gpu_user_annotation",
        "cuda_sync",
        ["cpu_op"],
        "CPU_OP",
        Raw('"cpu\\u005fop"'),
    ),
)
_PROBES = ("aten::mm", "aten::addmm", "aten::sum", "ProfilerStep#7", "tracekit::ffn#a", "[memory]", "Record Window End")


def _some(random: Random, document: Document) -> list[int]:
    """The places of one event or of a few; of none where there is none."""
    count = len(document.events)
    return random.sample(range(count), min(count, random.choice((1, 1, 1, 2, 5, 20)))) if count else []


def _value(random: Random) -> Any:
    pick = random.randrange(10)
    return Raw(random.choice(_NUMBERS if pick < 6 else _WORDS if pick < 9 else _NOT_JSON))


def _set(document: Document, at: int, key: str, value: Any) -> None:
    if isinstance(document.events[at], Pairs):
        event = document.events[at] = Pairs(document.events[at])
        found = [i for i, pair in enumerate(event) if pair[0] == key]
        if found:
            event[found[-1]] = (key, value)
        else:
            event.append((key, value))


def _get(document: Document, at: int, key: str, otherwise: Any = None) -> Any:
    event = document.events[at]
    return dict(event).get(key, otherwise) if isinstance(event, Pairs) else otherwise


def drop_events(random: Random, document: Document) -> None:
    for at in sorted(_some(random, document), reverse=True):
        del document.events[at]


def repeat_events(random: Random, document: Document) -> None:
    for at in _some(random, document):
        document.events.insert(random.randrange(len(document.events) + 1), document.events[at])


def shuffle_events(random: Random, document: Document) -> None:
    random.shuffle(document.events)


def no_events_at_all(random: Random, document: Document) -> None:
    if random.random() < 0.2:
        document.events.clear()


def foreign_element(random: Random, document: Document) -> None:
    document.events.insert(random.randrange(len(document.events) + 1), Raw(random.choice((*_WORDS, *_NUMBERS[:8]))))


def odd_phase(random: Random, document: Document) -> None:
    for at in _some(random, document):
        _set(document, at, "ph", random.choice(_PHASES))


def odd_category(random: Random, document: Document) -> None:
    for at in _some(random, document):
        _set(document, at, "cat", random.choice(_CATEGORIES))


def odd_name(random: Random, document: Document) -> None:
    for at in _some(random, document):
        _set(document, at, "name", random.choice((*NAMES, *_PROBES, Raw('"a\\ud800b"'), Raw('"\\u0061ten::mm"'))))


def odd_time(random: Random, document: Document) -> None:
    for at in _some(random, document):
        _set(document, at, random.choice(("ts", "dur")), _value(random))


def odd_thread(random: Random, document: Document) -> None:
    value: Any = random.choice(
        (None, "", "stream 7", "7", 7, 0, -1, 1.5, True, [1], {}, Raw("9" * 30), 2**63, 2**64 + 1, "٣")
    )
    for at in _some(random, document):
        _set(document, at, random.choice(("pid", "tid")), value)


def odd_thread_everywhere(random: Random, document: Document) -> None:
    key, value = random.choice(("pid", "tid")), random.choice((2**63, 2**64 + 1, "x", "1", -(2**40), 2**63 - 1, 0))
    for at in range(len(document.events)):
        _set(document, at, key, value)


def odd_argument(random: Random, document: Document) -> None:
    keys = (
        *("Ev Idx", "External id", "Sequence number", "Fwd thread id", "Input Dims", "Input type", "correlation"),
        *(
            "device",
            "stream",
            "bytes",
            "Addr",
            "Bytes",
            "Device Type",
            "Device Id",
            "Total Allocated",
            "Python module id",
        ),
        *("ts", "dur", "name", "cat", "x"),
    )
    for at in _some(random, document):
        args = _get(document, at, "args", {})
        pairs = list(args.items() if isinstance(args, dict) else args if isinstance(args, Pairs) else ())
        names = [key for key, _ in pairs] or list(keys)
        key = random.choice(names if random.random() < 0.5 else keys)
        pairs = [pair for pair in pairs if pair[0] != key] if random.random() < 0.8 else pairs
        _set(document, at, "args", Pairs([*pairs, (key, _value(random))]))


def odd_arguments(random: Random, document: Document) -> None:
    for at in _some(random, document):
        _set(document, at, "args", random.choice((None, [], "x", 3, {}, [{}])))


def deep_argument(random: Random, document: Document) -> None:
    depth = random.choice((10, 60, 63, 64, 65, 200, 400, 700))
    for at in _some(random, document)[:2]:
        deep = "[" * depth + "]" * depth if random.random() < 0.5 else '{"a":' * depth + "1" + "}" * depth
        _set(document, at, "args", {random.choice(("Input Dims", "x")): Raw(deep)})


def drop_key(random: Random, document: Document) -> None:
    for at in _some(random, document):
        if isinstance(document.events[at], Pairs) and document.events[at]:
            event = document.events[at] = Pairs(document.events[at])
            del event[random.randrange(len(event))]


def repeat_key(random: Random, document: Document) -> None:
    for at in _some(random, document):
        if isinstance(document.events[at], Pairs) and document.events[at]:
            event = document.events[at] = Pairs(document.events[at])
            key, value = random.choice(event)
            event.insert(random.randrange(len(event) + 1), (key, value if random.random() < 0.3 else _value(random)))


def escaped_key(random: Random, document: Document) -> None:
    """A key of which a letter is spelled as an escape, in place of the plain one or beside it."""
    for at in _some(random, document):
        if isinstance(document.events[at], Pairs) and document.events[at]:
            event = document.events[at] = Pairs(document.events[at])
            place = random.randrange(len(event))
            key, value = event[place]
            if key and isinstance(key, str):
                letter = random.randrange(len(key))
                spelled = Raw(
                    json.dumps(key[:letter])[:-1] + f"\\u{ord(key[letter]):04x}" + json.dumps(key[letter + 1 :])[1:]
                )
                if random.random() < 0.5:
                    event[place] = (spelled, value)
                else:
                    event.insert(place, (spelled, _value(random)))


def reorder_keys(random: Random, document: Document) -> None:
    for at, event in enumerate(document.events):
        if isinstance(event, Pairs):
            document.events[at] = Pairs(random.sample(event, len(event)))


def swap_values(random: Random, document: Document) -> None:
    places = _some(random, document)
    key = random.choice(("ts", "dur", "name", "cat", "args", "tid"))
    for one, two in pairwise(places):
        first, second = _get(document, one, key), _get(document, two, key)
        _set(document, one, key, second)
        _set(document, two, key, first)


def _timed(document: Document, change: Callable[[Decimal], Any], key: str = "ts") -> None:
    for at in range(len(document.events)):
        time = _get(document, at, key)
        if isinstance(time, Raw | int | float) and not isinstance(time, bool):
            try:
                _set(document, at, key, Raw(f"{change(Decimal(str(time))):f}"))
            except ArithmeticError:
                continue


def shift_times(random: Random, document: Document) -> None:
    by = Decimal(random.choice(("-4631835999500", "1e15", "1712195490000000.001", "-0.125", "8796093022208", "4.6e15")))
    _timed(document, lambda time: time + by if abs(time) < 10**30 else time)


def whole_microseconds(random: Random, document: Document) -> None:
    for key in ("ts", "dur"):
        _timed(document, lambda time: int(time) if abs(time) < 10**30 else time, key)


def text_times(random: Random, document: Document) -> None:
    for at in _some(random, document):
        for key in ("ts", "dur"):
            time = _get(document, at, key)
            if isinstance(time, Raw | int | float):
                _set(document, at, key, str(time))


def equal_times(random: Random, document: Document) -> None:
    """Some events last exactly as another does."""
    places = _some(random, document)
    for at in places[1:]:
        for key in ("ts", "dur"):
            _set(document, at, key, _get(document, places[0], key, 1))


def overlapping_times(random: Random, document: Document) -> None:
    for at in _some(random, document):
        _set(document, at, "dur", Raw(random.choice(("0", "0.001", "50", "1000.5", "99999", "-5"))))


def halved_spans(random: Random, document: Document) -> None:
    """Some spans as a begin and an end."""
    for at in sorted(_some(random, document), reverse=True):
        if _get(document, at, "ph") == "X":
            try:
                start, dur = (Decimal(str(_get(document, at, key, 0))) for key in ("ts", "dur"))
            except ArithmeticError:
                continue
            pairs = [pair for pair in document.events[at] if pair[0] != "dur"]
            document.events[at] = Pairs(pairs)
            _set(document, at, "ph", "B")
            end = [
                ("ph", "E"),
                ("pid", dict(pairs).get("pid")),
                ("tid", dict(pairs).get("tid")),
                ("ts", Raw(start + dur)),
            ]
            document.events.insert(at + 1, Pairs(end))


def odd_header(random: Random, document: Document) -> None:
    pairs = random.choice((document.header, document.after))
    key = random.choice(("traceEvents", "x", "tracekit", "schemaVersion", 'a"b', ""))
    value = random.choice((Raw("[]"), Raw("[" * 500 + "]" * 500), Raw('{"traceEvents": [1]}'), _value(random)))
    pairs.insert(random.randrange(len(pairs) + 1), (key, value))


# -- text

_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*"|-?\d[\d.eE+-]*|[a-zA-Z]+|[\[\]{},:]')
_WORD = re.compile(r'"[a-z_:]*([a-zA-Z])[^"\\]*"')


def _token(random: Random, text: str) -> tuple[int, int]:
    """One token at random: from a place at random on."""
    start = random.randrange(max(1, len(text)))
    spans = list(islice(_TOKEN.finditer(text, start), 3))  # the first may be half of one
    return spans[-1].span() if spans else (len(text), len(text))


def odd_token(random: Random, text: str) -> str:
    start, end = _token(random, text)
    return text[:start] + random.choice((*_NUMBERS, *_WORDS, *_NOT_JSON)) + text[end:]


def lost_token(random: Random, text: str) -> str:
    start, end = _token(random, text)
    return text[:start] + text[end:]


def repeated_token(random: Random, text: str) -> str:
    start, end = _token(random, text)
    return text[:end] + random.choice(("", " ", ",", ", ")) + text[start:end] + text[end:]


def swapped_tokens(random: Random, text: str) -> str:
    (a, b), (c, d) = sorted((_token(random, text), _token(random, text)))
    return text if b > c else text[:a] + text[c:d] + text[b:c] + text[a:b] + text[d:]


def odd_piece(random: Random, text: str) -> str:
    """Something between two tokens."""
    at = _token(random, text)[random.randrange(2)]
    piece = random.choice(
        (",", ",,", "[", "]", "{", "}", ":", '"', "\n", " \t\r\n", "\x00", "\x0b", "\ufeff", "/* */", "'", "\u2028")
    )
    return text[:at] + piece + text[at:]


def lost_bracket(random: Random, text: str) -> str:
    at = text.find(random.choice("]}[{"), random.randrange(max(1, len(text))))
    return text if at < 0 else text[:at] + text[at + 1 :]


def odd_character(random: Random, text: str) -> str:
    """A character in the middle of a string or wherever it falls."""
    at = random.randrange(len(text) + 1)
    piece = random.choice(
        (
            "\\",
            '"',
            "\\u0041",
            "\\ud800",
            "\\udc00\\ud800",
            "\\x",
            "\n",
            "\t",
            "\x01",
            "\x7f",
            "é",
            "\U0001f525",
            "\u2028",
        )
    )
    return text[:at] + piece + text[at:]


def spelled_letters(random: Random, text: str) -> str:
    """Some strings with a letter as an escape, which changes nothing."""
    for _ in range(5):
        at = random.randrange(max(1, len(text)))
        match = _WORD.search(text, at)
        if match:
            text = text[: match.start(1)] + f"\\u{ord(match[1]):04X}" + text[match.end(1) :]
    return text


def white_space(random: Random, text: str) -> str:
    """White space between tokens, which changes nothing."""
    for _ in range(10):
        at = _token(random, text)[0]
        text = text[:at] + random.choice((" ", "\n", "\r\n", "\t", "\n  \n", " " * 100)) + text[at:]
    return text


def two_documents(random: Random, text: str) -> str:
    return text + random.choice(("", "\n", ",", " garbage")) + text[: random.randrange(len(text) + 1)]


# -- bytes


def flipped_bits(random: Random, data: bytes) -> bytes:
    found = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 3, 20))):
        if found:
            found[random.randrange(len(found))] ^= 1 << random.randrange(8)
    return bytes(found)


def _slice(random: Random, data: bytes) -> tuple[int, int]:
    start = random.randrange(len(data) + 1)
    return start, min(len(data), start + random.choice((1, 2, 5, 20, 100, 1000)))


def lost_bytes(random: Random, data: bytes) -> bytes:
    start, end = _slice(random, data)
    return data[:start] + data[end:]


def noise(random: Random, data: bytes) -> bytes:
    start, end = _slice(random, data)
    return data[:start] + random.randbytes(random.choice((1, 3, end - start))) + data[start:]


def repeated_bytes(random: Random, data: bytes) -> bytes:
    start, end = _slice(random, data)
    return data[:end] + data[start:end] + data[end:]


def zero_filled(random: Random, data: bytes) -> bytes:
    start, end = _slice(random, data)
    end = len(data) if random.random() < 0.5 else end
    return data[:start] + bytes(end - start) + data[end:]


def truncated(random: Random, data: bytes) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def spliced(random: Random, data: bytes) -> bytes:
    """The beginning of one and the end of another file."""
    other = written(random.choice(list(own_bases().values()))).encode()
    return data[: random.randrange(len(data) + 1)] + other[random.randrange(len(other)) :]


def no_utf8(random: Random, data: bytes) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + random.choice((b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\x80")) + data[at:]


# -- containers


def gzipped(random: Random, data: bytes) -> bytes:
    return gzip.compress(data, random.choice((1, 6, 9)), mtime=0)


def members(random: Random, data: bytes) -> bytes:
    cuts = sorted(random.randrange(len(data) + 1) for _ in range(random.choice((1, 2, 5))))
    return b"".join(gzip.compress(data[a:b], 6, mtime=0) for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True))


def damaged_gzip(random: Random, data: bytes) -> bytes:
    packed = (gzipped if random.random() < 0.5 else members)(random, data)
    hurt = random.choice((truncated, flipped_bits, lost_bytes, noise, zero_filled))
    return hurt(random, packed)


def bad_checksum(random: Random, data: bytes) -> bytes:
    packed = gzipped(random, data)
    return packed[:-8] + zlib.crc32(packed).to_bytes(4, "little") + packed[-4:]


def trailing_bytes(random: Random, data: bytes) -> bytes:
    return gzipped(random, data) + random.choice((b"\0" * 100, b"garbage", b"\x1f", b"\x1f\x8b", b"\n", data[:50]))


def twice_gzipped(random: Random, data: bytes) -> bytes:
    return gzipped(random, gzipped(random, data))


def marked(random: Random, data: bytes) -> bytes:
    return b"\xef\xbb\xbf" * random.choice((1, 1, 2)) + data


def utf16(random: Random, data: bytes) -> bytes:
    return data.decode("utf-8", "replace").encode(random.choice(("utf-16", "utf-16-le", "utf-16-be", "utf-32")))


_EVENTS: tuple[Callable[[Random, Document], None], ...] = (
    *(drop_events, repeat_events, shuffle_events, no_events_at_all, foreign_element, odd_phase, odd_category, odd_name),
    *(odd_time, odd_time, odd_thread, odd_thread_everywhere, odd_argument, odd_argument, odd_arguments, deep_argument),
    *(drop_key, repeat_key, repeat_key, escaped_key, reorder_keys, swap_values, shift_times, whole_microseconds),
    *(text_times, equal_times, overlapping_times, halved_spans, odd_header),
)
_TEXT: tuple[Callable[[Random, str], str], ...] = (
    *(odd_token, odd_token, lost_token, repeated_token, swapped_tokens, odd_piece, odd_piece, lost_bracket),
    *(odd_character, spelled_letters, white_space, two_documents),
)
_BYTES: tuple[Callable[[Random, bytes], bytes], ...] = (
    *(flipped_bits, lost_bytes, noise, repeated_bytes, zero_filled, truncated, spliced, no_utf8),
)
_CONTAINERS: tuple[Callable[[Random, bytes], bytes], ...] = (
    *(gzipped, members, damaged_gzip, bad_checksum, trailing_bytes, twice_gzipped, marked, utf16),
)
_LOWER: tuple[Callable[[Any], Any], ...] = (written, lambda text: text.encode("utf-8", "surrogatepass"))
_WEIGHTED: tuple[tuple[int, Callable[[Random, Any], Any]], ...] = (
    *((0, one) for one in (*_EVENTS, *_EVENTS)),  # half of all: what is no JSON any more tests little of the numbers
    *((1, one) for one in _TEXT),
    *((2, one) for one in (*_BYTES, *_CONTAINERS)),
)
