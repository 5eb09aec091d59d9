"""Findings: what the reader should know about the data, as data."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

SEVERITIES = ("note", "warning", "error")


@dataclass(frozen=True)
class Finding:
    """One thing to know: how often, where first, what it costs the numbers, and what to do about it.

    `severity` is "note" (nothing lost), "warning" (something was dropped, repaired or is uncertain) or "error".
    """

    code: str
    severity: str
    count: int
    where: str
    cost: str
    advice: str = ""


# What each code of the reader means: severity, cost, advice.
_KNOWN: dict[str, tuple[str, str, str]] = {
    "truncated": (
        "warning",
        "events after this point are missing",
        "the profiler or a copy was interrupted: collect or copy the file again",
    ),
    "trailing_data": ("warning", "what follows the trace was ignored", "check how the file was written"),
    "gzip_damaged": ("warning", "the compressed stream is damaged at its end", "copy the file again"),
    "duplicate_key": ("warning", "events with a key given twice were dropped", "check the tool that wrote the file"),
    "bad_time": ("warning", "events without a plausible time or duration were dropped", ""),
    "bad_text": ("warning", "text with raw control characters or bytes that are no UTF-8 was read as it is", ""),
    "bad_value": ("warning", "values that are no JSON (inf, nan, N/A) were left out", ""),
    "deep_value": ("warning", "arguments nested deeper than 64 levels were left out", ""),
    "missing_comma": (
        "warning",
        "commas between events or keys are missing",
        "check how the file was written",
    ),
    "no_events": ("warning", "the file is sound and holds no events", "the profiler never reached its recording steps"),
    "overlap": (
        "warning",
        "host events that outlive the one they began in: their self times are exact, their nesting is a guess",
        "",
    ),
    "overlap_python": ("note", "Python frames that partly overlap other events, as the profiler itself makes them", ""),
    "unfinished": (
        "warning",
        "calls that end exactly where the recording ended: their ends were lost, their times are too long",
        "",
    ),
    "kernel_before_launch": (
        "warning",
        "device work that begins before its launch: the clocks of device and host disagree",
        "",
    ),
    "device_time_zero": ("warning", "device work at time 0: when it ran is not known", ""),
    "device_overrun": (
        "warning",
        "device work that runs on while its successors on the stream begin and end: its duration is wrong (ROCm)",
        "",
    ),
    "bad_event": ("warning", "elements that are no events were dropped", ""),
    "unpaired": ("warning", "begin or end events without a partner were dropped", ""),
    "string_time": ("note", "times given as text were read as numbers", ""),
    "header_damaged": ("warning", "what the file says of itself was ignored; it is read as any trace", ""),
    "repaired": ("warning", "a copy that tracekit repaired: of the original some is lost", ""),
    "repaired_whole": ("note", "a copy that tracekit repaired: of the original no event is lost", ""),
    "newer_schema": ("note", "written by a newer tracekit; only the fields known here are read", "update tracekit"),
    "no_host_events": ("note", "no host operators: only device work can be shown", "profile with ProfilerActivity.CPU"),
    "no_ranges": (
        "note",
        "no component can be told: the file has neither tracekit ranges nor nn.Module frames",
        "collect with tracekit, or profile with with_stack=True",
    ),
    "launch_before_window": (
        "warning",
        "device work whose launch is not in the file: nobody knows which operator it belongs to",
        "it was queued before the recording began: synchronize the device before the first profiled step",
    ),
    "launch_ambiguous": ("warning", "device work that several launches claim is given to none of them", ""),
    "launch_none": ("warning", "device work that names no launch belongs to no operator", ""),
    # Doubts (doubts.py): warnings where a number is off by what its interval does not hold, else notes.
    "busy_machine": (
        "warning",
        "threads waited for a core for more than 5% of the time: latencies are too long",
        "collect these points again on a quiet machine (--force)",
    ),
    "drift": (
        "warning",
        "latencies rose or fell by more than 20% while they were measured: only models that took turns compare well",
        "collect these points again on a quiet machine (--force)",
    ),
    "waiting": (
        "warning",
        "for more than 10% of the time nothing computed: latencies hold waiting for a disk, a device or a lock",
        "",
    ),
    "few_repeats": (
        "note",
        "measured in fewer than 5 rounds: medians are known badly, and intervals are wide",
        "collect these points again with more --repeats (--force)",
    ),
    "noisy": ("note", "half of the samples are more than 20% off their median", ""),
    "outliers": ("note", "more than 20% of the samples are far from the others: the machine had two states", ""),
    "profiler_inflation": (
        "note",
        "a profiled step took more than 1.5 times as long: the split into components is in doubt",
        "",
    ),
    "estimated_memory": ("note", "peak memory is an estimate, not a measurement", ""),
    "captures": (
        "note",
        "points measured several times: tables of curves show the middle one, tipping points know all",
        "",
    ),
    "one_process": (
        "note",
        "one process on a side: by how much processes differ is assumed, not measured",
        "collect several captures of each side: tracekit collect --captures 5",
    ),
    "not_normalised": (
        "note",
        "the machines differ, or no fixed work was timed beside the samples: drift of the machine counts as a change",
        "collect both sides on one machine, in turns",
    ),
    "some_failed": (
        "warning",
        "captures that failed, of points that others of their side ran: only what ran is compared",
        "see why they failed: tracekit report",
    ),
    "one_sided_metric": ("warning", "known on one side alone: not compared", "collect both sides alike"),
    "steps_on_one_side": (
        "warning",
        "profiled steps on one side alone: a step there is compared with a whole trace here",
        "profile both sides alike: call prof.step()",
    ),
    "unmatched": ("note", "points of one side without their like on the other are not compared", ""),
    "no_length": ("note", "its name holds no length; it is shown without one", "check the pattern of --length-from"),
    "ranks": (
        "note",
        "ranks of one distributed job: shown side by side, never taken for lengths",
        "",
    ),
    "hta_failed": (
        "note",
        "an analysis of HolisticTraceAnalysis failed; nothing else depends on it",
        "",
    ),
    "skipped_file": ("note", "not a profiler trace; left out", ""),
    "unreadable_file": ("error", "this file could not be read; left out", "collect it again"),
}


@dataclass
class Findings:
    """Collects findings while a file is read: counts per code, and where the first one was."""

    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, code: str, where: str = "", count: int = 1) -> None:
        """Note `count` occurrences of `code` (one of the known codes)."""
        if count:
            self.counts[code] += count
            self.first.setdefault(code, where)

    def listed(self) -> list[Finding]:
        """The findings so far, most severe first."""
        found = [
            Finding(code, _KNOWN[code][0], count, self.first[code], _KNOWN[code][1], _KNOWN[code][2])
            for code, count in self.counts.items()
        ]
        return in_order(found)


def in_order(findings: list[Finding]) -> list[Finding]:
    """Most severe first, then by code."""
    return sorted(findings, key=lambda f: (-SEVERITIES.index(f.severity), f.code))


def warning_counts(findings: list[Finding]) -> dict[str, int]:
    """Code -> count of everything more severe than a note, as the `warnings` of every `--json` envelope."""
    counts: Counter[str] = Counter()
    for finding in findings:
        if finding.severity != "note":
            counts[finding.code] += finding.count
    return dict(counts)
