"""What a path may lead to beside a plain file, and how a file may be named."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from .base import TEXT, TRUTH
from .case import Case

_ABSENT = "(?i)no such file|not found|does not exist"


def cases() -> Iterator[Case]:
    for name, make, why, error in (
        ("directory.json", Path.mkdir, "a directory", "(?i)directory|not a (regular )?file"),
        ("missing.json", lambda path: None, "no such file", _ABSENT),
        ("dangling.json", _link("nowhere.json"), "dangling symlink", f"{_ABSENT}|link"),
        ("loop.json", _link("loop.json"), "symlink loop", "(?i)too many|loop|link"),
        (
            "fifo.json",
            os.mkfifo,
            "FIFO without a writer: open() would hang for ever",
            "(?i)not a (regular )?file|fifo|pipe",
        ),
        ("zero.json", _link("/dev/zero"), "character device: endless read", "(?i)not a (regular )?file|device"),
        ("noperm.json", _unreadable, "mode 000 (root reads it all the same: skip as root)", "(?i)permission"),
    ):
        yield _case(name, make, why, error)
    yield _case("link.json", _link("../clean.json"), "symlink to a good trace: followed for input")
    for name, why in (
        ("sp ace\t[red]x[bold].json", "space, tab and Rich markup in the file name"),
        ("-rf.json", "leading dash"),
        ("\U0001f525\u6a21.json", "emoji and CJK file name"),
        ("new\nline.json", "newline in the file name: stays one line of output"),
        ("<img src=x>.json", "HTML in the file name"),
    ):
        yield _case(name, _plain, why)


def _case(name: str, make: Callable[[Path], object], why: str, error: str | None = None) -> Case:
    def fresh(path: Path) -> None:
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        path.unlink(missing_ok=True)
        make(path)

    full, file = f"env_{name}", f"env/{name}"
    if error is None:
        return Case(full, fresh, why, TRUTH, file=file, invariants=())
    return Case(full, fresh, why, outcome="reject", error=(error,), file=file)


def _plain(path: Path) -> None:
    path.write_text(TEXT)


def _unreadable(path: Path) -> None:
    _plain(path)
    path.chmod(0)


def _link(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)
