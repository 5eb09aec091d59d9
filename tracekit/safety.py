"""The gate between strangers' data and our outputs: strings made visible, file names made safe, writes made atomic.

A trace may come from anyone. Every string from a trace, a path or an exception passes `sanitize` before it reaches a
terminal or a message. HTML escapes on top of that (Jinja2 autoescape, JSON in a data block).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tracekit.errors import UsageError

# C0, DEL and C1 controls; zero-width and bidirectional marks; line separators; the BOM; lone surrogates.
_INVISIBLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)
_MAX_NAME = 200
_WINDOWS_RESERVED = re.compile(r"(?i)^(con|prn|aux|nul|com\d|lpt\d)(\.|$)")


def _visible(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def sanitize(text: object, limit: int | None = _MAX_NAME) -> str:
    """Return `text` on one line with every control, invisible and bidirectional character shown as an escape.

    Longer than `limit` characters (None: no limit), it is cut and closed with a hash of the whole, so that two long
    names stay distinct. Neither terminal control codes nor line breaks get through; Rich markup is not our concern
    here: print the result as `rich.text.Text`, never as markup.
    """
    shown = str(text)
    if limit is not None and len(shown) > limit:
        digest = hashlib.sha256(shown.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        shown = f"{shown[: limit - 10]}…#{digest}"
    return _INVISIBLE.sub(_visible, shown)


def first_line(error: BaseException, limit: int = 500) -> str:
    """An exception of somebody else's code in one line: its type and the first line of its message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return sanitize(f"{type(error).__name__}: {lines[0] if lines else 'no message'}", limit)


def safe_filename(text: str, limit: int = 80) -> str:
    """A file name for `text` on any system: `[A-Za-z0-9._-]`, no leading dot or dash, no reserved name.

    A text that had to be changed gets eight hex digits of its hash appended, so that different texts never meet.
    """
    clean = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")
    if clean and clean == text and len(clean) <= limit and not _WINDOWS_RESERVED.match(clean):
        return clean
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    stem = f"x{clean}" if not clean or _WINDOWS_RESERVED.match(clean) else clean
    return f"{stem[: limit - 9]}-{digest}"


def refuse_special_target(path: Path) -> None:
    """Raise UsageError if `path` exists and is no regular file: replacing a device or a pipe would destroy it."""
    with contextlib.suppress(FileNotFoundError):
        mode = path.lstat().st_mode
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
            raise UsageError(f"cannot write {sanitize(path)}: it is {kind}; choose another file name")


def refuse_outside(path: Path, folder: Path) -> None:
    """Raise UsageError if a link on the way from `folder` to `path` leads out of it: nothing is written there.

    `folder` itself may be a link: that is where its user wants things.
    """
    if not path.parent.resolve().is_relative_to(folder.resolve()):
        raise UsageError(
            f"cannot write {sanitize(path)}: a link leads out of {sanitize(folder)}; choose another folder"
        )


def is_private(folder: Path) -> bool:
    """Whether only we could have written `folder`: no link, ours, and writable by nobody else. False: not there."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022


@contextlib.contextmanager
def atomic_write(path: Path, mode: str = "wb") -> Iterator[IO[bytes]]:
    """Open a temporary file beside `path`; on success it replaces `path`, on any failure nothing is left behind.

    The file's `name` is the temporary path, so that what was written can be read back before it counts.
    """
    refuse_special_target(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:60]}.", suffix=".tmp", dir=path.parent)
    try:
        os.close(handle)
        with open(name, mode) as file:  # noqa: PTH123
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())  # noqa: PTH101
        os.replace(name, path)  # noqa: PTH105
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)  # noqa: PTH108
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
