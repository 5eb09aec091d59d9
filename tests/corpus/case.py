"""A case: what a file holds, and what a trustworthy analyzer does with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import oracle

from . import text
from .base import Events

KINETO = "https://github.com/pytorch/kineto/"
TORCH = "https://github.com/pytorch/pytorch/"
PERFETTO = "https://github.com/google/perfetto/"
HTA = "https://github.com/facebookresearch/HolisticTraceAnalysis/"

Facts = dict[str, Any]
Content = str | bytes | tuple[bytes, ...] | Callable[[Path], object]


@dataclass(frozen=True)
class Case:
    """`content` is what the file holds, or makes it. `why`: what is the matter with it; `link`: where it was seen.

    outcome: "recover" (exit code 0, numbers equal to `truth`, or to `or_truth`), "reject" (exit code 2 and one line
    that names the file and matches `error`), or "either" of them. warn: whether a reader must be told that something
    was dropped or repaired; None: it may. sinks: texts that must (not) reach a terminal, a page, a table or a file
    name as they are. n_dropped: how many events are lost. rss_mb and seconds limit the analyzer.
    """

    name: str
    content: Content
    why: str
    truth: Facts | None = None
    outcome: str = "recover"
    warn: bool | None = False
    or_truth: Facts | None = None
    n_dropped: int | None = None
    error: tuple[str, ...] = ()
    link: str = ""
    sinks: Mapping[str, list[str]] | None = None
    key_averages: Mapping[str, list[float]] | None = None
    invariants: tuple[str, ...] = ("self_nonneg", "self_sum_eq_busy")
    suffix: str = ".json"
    file: str = ""
    kind: str = ""
    limits: Mapping[str, int] = field(default_factory=dict)

    def entry(self) -> dict[str, Any]:
        """What the manifest says of it."""
        file = self.file or self.name + self.suffix
        rejects = self.outcome != "recover"
        said = {
            "truth": self.truth,
            "invariants": list(self.invariants) if self.truth and self.invariants else None,
            "truth_alt": [self.or_truth] if self.or_truth else None,
            "error_re": [re.escape(Path(file).name), *self.error] if rejects else None,
            "thread": self.link or None,
            "sinks": self.sinks,
            "n_dropped": self.n_dropped,
            "torch_key_averages": self.key_averages,
        }
        return {
            "case": self.name,
            "file": file,
            "class": self.kind,
            "outcome": self.outcome,
            "warn": self.warn,
            "why": self.why,
            "limits": {"rss_mb": 512, "seconds": 10, **self.limits},
            **{key: one for key, one in said.items() if one is not None},
        }

    def write(self, folder: Path) -> Path:
        """Make the file in `folder`."""
        path = folder / (self.file or self.name + self.suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        if callable(self.content):
            self.content(path)
        elif isinstance(self.content, str):
            path.write_bytes(self.content.encode("utf-8", "surrogatepass"))
        else:
            pieces = (self.content,) if isinstance(self.content, bytes) else self.content
            with path.open("wb") as file:
                file.writelines(pieces)
        return path


def of_events(name: str, events: Events, why: str, truth: Facts | None = None, **more: Any) -> Case:
    """A sound document of `events`, whose truth is theirs unless another is given."""
    return Case(name, text.document(events), why, truth or oracle.facts(events), **more)


def rejected(name: str, content: Content, why: str, error: str, **more: Any) -> Case:
    return Case(name, content, why, outcome="reject", error=(error,), **more)
