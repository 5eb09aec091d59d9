"""What is around the JSON: compression, encodings, and files that are no traces at all."""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Iterator

from tests import oracle

from . import text
from .base import BASE, GPU, GPU_TRUTH, TEXT, TRUTH, complete
from .case import PERFETTO, TORCH, Case, rejected

HALF = len(TEXT) // 2
_KEY_AVERAGES = {  # what torch printed on the run that wrote the base: name: calls, self us, total us
    "ProfilerStep*": [2, 471.873, 1288.644],
    "fwd": [2, 161.411, 325.449],
    "aten::sum": [6, 139.43, 147.967],
    "aten::addmm": [4, 60.043, 84.338],
    "aten::mm": [6, 54.283, 90.32],
    "aten::t": [18, 45.135, 101.179],
}
_NO_TRACES: tuple[tuple[str, bytes, str, str], ...] = (
    ("empty_file", b"", "0 bytes: tempfile left by a killed export", "(?i)empty"),
    ("whitespace_only", b" \n\t\n", "no JSON value", "(?i)empty|no JSON"),
    (
        "html_error_page",
        b"<!DOCTYPE html><html><body>403 Forbidden</body></html>",
        "download saved a proxy page",
        "(?i)HTML|not (a )?JSON|not a trace",
    ),
    (
        "git_lfs_pointer",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n",
        "LFS pointer instead of the file",
        "(?i)LFS",
    ),
    (
        "random_bytes",
        bytes([random.Random(1).randrange(256)]) * 4096,
        "binary noise",
        "(?i)not (a )?(valid )?JSON|not a trace|unrecogni",
    ),
    (
        "perfetto_protobuf",
        b"\x0a\x1c\x50\x01\x58\x02\x82\x03\x12" + b"\0" * 64,
        "native Perfetto file named .json",
        "(?i)perfetto|protobuf|not (a )?JSON|not a trace",
    ),
    ("other_json", b'{"model": "bert", "results": [1, 2, 3]}', "valid JSON, no traceEvents", "traceEvents"),
    ("json_scalar", b"42", "valid JSON scalar", "traceEvents|object|not a trace"),
    ("events_null", b'{"traceEvents": null}', "traceEvents is null", "traceEvents"),
    ("events_object", b'{"traceEvents": {"a": 1}}', "traceEvents is an object", "traceEvents"),
)


def cases() -> Iterator[Case]:
    packed = text.gzipped(TEXT)
    lines = [text.event(e) for e in BASE]
    yield Case("clean", TEXT, "unchanged base, object form", TRUTH, key_averages=_KEY_AVERAGES)
    yield Case("clean_gpu", text.document(GPU), "base + synthetic kernels", GPU_TRUTH)
    yield Case("clean_gz", packed, "gzip", TRUTH, suffix=".json.gz")
    yield Case(
        "clean_array",
        "[\n" + ",\n".join(lines) + "\n]\n",
        "top-level array form (Trace Event Format allows it; torch < 1.8 legacy exporter wrote it)",
        TRUTH,
        link=TORCH + "issues/33961",
    )
    yield Case("gzip_named_json", packed, "gzip bytes, .json name: sniff magic, not the suffix", TRUTH)
    yield Case("json_named_gz", TEXT, "plain JSON, .gz name", TRUTH, suffix=".json.gz")
    yield from _gzip(packed)
    yield Case(
        "zip_named_json",
        _zip(TEXT),
        "zip archive (issue attachments), member name '../../etc/t.json' must never be written",
        TRUTH,
        "either",
        error=("(?i)zip",),
        link=PERFETTO + "issues/928",
    )
    yield Case("zstd", _zstd(TEXT.encode()), "zstd frame", TRUTH, "either", suffix=".json.zst", error=("(?i)zst",))
    yield Case("utf8_bom", b"\xef\xbb\xbf" + TEXT.encode(), "UTF-8 BOM (PowerShell redirect)", TRUTH)
    yield Case("utf16", TEXT.encode("utf-16"), "UTF-16 (PowerShell '>')", TRUTH, "either", error=("(?i)utf-?16|encod",))
    for name, content, why, error in _NO_TRACES:
        yield rejected(name, content, why, error)
    yield Case(
        "jsonl",
        "\n".join(lines) + "\n",
        "one event per line, no array",
        TRUTH,
        "either",
        None,
        suffix=".jsonl",
        error=("(?i)line|array|JSONL|traceEvents|not a trace",),
    )
    begun = TEXT[:HALF].rpartition("},")[0] + "}"
    yield Case(
        "zero_filled_tail",
        begun.encode() + b"\0" * 8192,
        "file system zero-filled the tail after a crash",
        oracle.facts(complete(BASE, begun)),
        warn=True,
    )


def _gzip(packed: bytes) -> Iterator[Case]:
    yield Case(
        "gzip_multi_member",
        text.gzipped(TEXT[:HALF]) + text.gzipped(TEXT[HALF:]),
        "concatenated gzip members (RFC 1952 2.2), split inside an event",
        TRUTH,
        suffix=".json.gz",
        link=PERFETTO + "blob/main/test/data/sfgate-gzip-multi-stream.json.gz.sha256",
    )
    cut = packed[: int(len(packed) * 0.6)]
    inflated = zlib.decompressobj(31).decompress(cut).decode("utf-8", "ignore")
    yield Case(
        "gzip_truncated",
        cut,
        "gzip stream cut at 60%: everything that inflates is still data",
        oracle.facts(complete(BASE, inflated)),
        warn=True,
        suffix=".json.gz",
        link=TORCH + "issues/192021",
    )
    yield Case(
        "gzip_bad_crc",
        packed[:-8] + b"\0\0\0\0" + packed[-4:],
        "CRC32 trailer wrong: data read, corruption said",
        TRUTH,
        warn=True,
        suffix=".json.gz",
    )
    yield Case(
        "gzip_trailing_garbage",
        packed + b"\x13\x37garbage",
        "bytes after the gzip stream",
        TRUTH,
        warn=True,
        suffix=".json.gz",
    )


def _zip(content: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("../../etc/t.json", (2026, 1, 1, 0, 0, 0)), content)
    return file.getvalue()


def _zstd(content: bytes) -> bytes:
    """A valid frame of stored blocks, without a checksum."""
    frame = struct.pack("<IBI", 0xFD2FB528, 0x80 | 0x20, len(content))
    for at in range(0, len(content), 65536):
        block = content[at : at + 65536]
        frame += struct.pack("<I", (at + 65536 >= len(content)) | len(block) << 3)[:3] + block
    return frame
