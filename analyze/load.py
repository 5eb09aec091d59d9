"""Find and open traces: a Study of a folder, a Trace of a file.

>>> study = load("traces/")            # doctest: +SKIP
>>> study.components().head()          # doctest: +SKIP
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tracekit import points as pt
from tracekit.errors import TraceError, UsageError
from tracekit.points import Point
from tracekit.rules import NO_RULES, Rules
from tracekit.safety import sanitize

from . import foreign
from .quality import Findings
from .study import Study
from .trace import Trace


@dataclass(frozen=True)
class Reading:
    """How traces are read: the user's rules for components, whether parsed events are cached, lengths by file name."""

    rules: Rules = NO_RULES
    cache: bool = True
    length_from: re.Pattern[str] | None = None

    def trace(self, path: Path, point: Point | None = None, label: str = "") -> Trace:
        """The trace in `path`, read now: an unreadable file is an error here, not at the first table."""
        trace = Trace(path, point, self.rules, self.cache, label)
        trace.ensure_readable()
        return trace

    def point_of(self, trace: Trace) -> Point | None:
        """The point that a trace's name stands for, by `length_from`; None where it has no length."""
        assert self.length_from is not None
        device = "cuda" if trace.events.frames.device.height else "cpu"
        return foreign.named(trace.label, self.length_from, device)


def load(
    path: Path | str, *, rules: Rules = NO_RULES, cache: bool = True, length_from: str | None = None
) -> Study | Trace:
    """A Study of a folder, a Trace of a file.

    `rules`: see `tracekit.rules.load_rules`. `cache`: keep parsed events in the user's cache directory, or do not.
    `length_from`: a regular expression that finds the length in the names of files that tracekit did not collect.
    Raises TraceError when there is nothing, nothing readable, or nothing that is a trace.
    """
    reading = Reading(rules, cache, foreign.length_pattern(length_from) if length_from is not None else None)
    return _load(Path(path), reading)


def load_study(paths: Sequence[Path], reading: Reading | None = None) -> Study:
    """One Study of all `paths`, folders and files alike. Raises as `load` does."""
    loaded = [_load(path, reading or Reading()) for path in paths]
    studies = [one if isinstance(one, Study) else Study.of(one) for one in loaded]
    if len(studies) == 1:
        return studies[0]
    return Study(
        " + ".join(study.title for study in studies),
        [trace for study in studies for trace in study.traces],
        [point for study in studies for point in study.failed],
        [finding for study in studies for finding in study.load_findings],
    )


def _load(path: Path, reading: Reading) -> Study | Trace:
    if not path.exists():
        raise TraceError(f"{sanitize(path)}: no such file or folder")
    if path.is_dir():
        return _Folder(path, reading).study()
    trace = reading.trace(path)
    if reading.length_from is not None and trace.point is None:
        point = reading.point_of(trace)
        if point is None:
            raise UsageError(f"--length-from does not match {sanitize(path.name)}")
        trace.say(point)
    return trace


class _Folder:
    """One pass over a folder: our points, failed ones, and what the user says of foreign traces."""

    def __init__(self, folder: Path, reading: Reading) -> None:
        self.folder = folder
        self.reading = reading
        self.described = foreign.described(folder)
        self.findings = Findings()
        self.traces: list[Trace] = []
        self.failed: list[Point] = []

    def study(self) -> Study:
        """The folder as a study. Raises TraceError when it holds none."""
        for path in pt.find_files(self.folder):
            where = sanitize(path.relative_to(self.folder))
            try:
                self._take(path, where)
            except (TraceError, OSError) as error:
                said = sanitize(error) if where in str(error) else f"{where}: {sanitize(error)}"
                self.findings.add("unreadable_file", said)
        if not self.traces and not self.failed:
            raise self._nothing()
        self._name_foreign([trace for trace in self.traces if trace.point is None])
        title = self.folder.name or self.folder.resolve().name
        return Study(title, self.traces, self.failed, self.findings.listed())

    def _take(self, path: Path, where: str) -> None:
        if path.name.endswith(pt.FAILED_SUFFIX):
            self.failed.append(pt.read_failed(path))
            return
        point = pt.read_point(path) or self.described.get(path)
        if point is not None or pt.looks_like_trace(path):
            self.traces.append(self.reading.trace(path, point, str(path.relative_to(self.folder))))
        else:
            self.findings.add("skipped_file", where)

    def _name_foreign(self, traces: list[Trace]) -> None:
        """Give traces of which nobody said anything the length in their name, or the rank that they are."""
        ranks = {trace.path: foreign.rank_of(trace.path, trace.events.header) for trace in traces}
        if self.reading.length_from is not None and traces:
            self._lengths_from_names(traces, ranks)
        jobs = Counter(trace.path.parent for trace in traces if trace.point is None and ranks[trace.path] is not None)
        for trace in traces:
            rank = ranks[trace.path]
            if trace.point is None and rank is not None and jobs[trace.path.parent] > 1:
                trace.rank, trace.label = rank, f"rank {rank}: {trace.label}"
                self.findings.add("ranks", sanitize(trace.path.parent.name))

    def _lengths_from_names(self, traces: list[Trace], ranks: dict[Path, int | None]) -> None:
        found = []
        for trace in traces:
            point = self.reading.point_of(trace)
            if point is None:
                self.findings.add("no_length", sanitize(trace.label))
            else:
                found.append((trace, point))
        if not found:
            raise UsageError(f"--length-from matches no file name below {sanitize(self.folder)}")
        foreign.check_lengths([(point.identity.length, ranks[trace.path]) for trace, point in found])
        for trace, point in found:
            trace.say(point)

    def _nothing(self) -> TraceError:
        seen = self.findings.counts["skipped_file"] + self.findings.counts["unreadable_file"]
        detail = f"none of its {seen} JSON files is a readable trace" if seen else "it holds no .json or .json.gz file"
        return TraceError(
            f"{sanitize(self.folder)}: no traces: {detail}; collect some with: tracekit collect --model bert"
        )
