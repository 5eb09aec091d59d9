"""What measuring costs: ranges against a plain forward, the profiler against none, a process of its own against none.

Usage: python benchmarks/overhead.py [--model bert] [--lengths 128,512] [--layers 2] [--repeats 15]

A forward is timed in turns: plain; with ranges (hooks and wrapped functions) but no profiler; under the profiler, as
`tracekit collect` configures it; under the profiler with ranges. Prints medians of CPU time, and each over plain. Then
starts points of a tiny model in processes of their own, as a sweep does: the first, which loads torch and transformers,
and the next.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import msgspec

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else torch 2.13 writes to stderr at every capture
import torch
from torch.profiler import ProfilerActivity, profile

from tracekit.collect import models
from tracekit.collect.annotate import annotate
from tracekit.collect.models.build import Built
from tracekit.collect.steps import Inference, named
from tracekit.collect.worker import Worker
from tracekit.points import Identity

PROFILED = {"activities": [ProfilerActivity.CPU], "record_shapes": True, "profile_memory": True}


def identity(model: str, length: int, layers: int) -> Identity:
    """A point at base width."""
    entry = models.get(model)
    overrides = {"num_hidden_layers": layers}
    return Identity(
        model=model,
        architecture=model,
        length=length,
        attention=entry.attention[0],
        overrides=overrides,
        threads=torch.get_num_threads(),
    )


def ways(built: Built) -> dict[str, Callable[[], AbstractContextManager[Any]]]:
    """Contexts to run a forward in, by name."""

    def both() -> AbstractContextManager[Any]:
        stack = contextlib.ExitStack()
        stack.enter_context(annotate(built.model))
        stack.enter_context(profile(**PROFILED))  # type: ignore[arg-type]
        return stack

    return {
        "plain": contextlib.nullcontext,
        "with ranges": lambda: annotate(built.model),
        "profiled": lambda: profile(**PROFILED),  # type: ignore[arg-type]
        "profiled, with ranges": both,
    }


def forwards(model: str, length: int, layers: int, repeats: int) -> None:
    """Time the forward every way and print a table."""
    entry = models.get(model)
    built = entry.build()(entry, identity(model, length, layers), 0)
    step = Inference(built)
    times: dict[str, list[float]] = {way: [] for way in ways(built)}
    for number in range(repeats + 1):
        for way, context in ways(built).items():
            with context():
                step(named)  # the profiler's first step is its own
                begun = time.process_time()
                step(named)
                spent = time.process_time() - begun
            if number:  # the first turn warms up
                times[way].append(spent)
    plain = statistics.median(times["plain"])
    for way, found in times.items():
        median = statistics.median(found)
        print(f"{model:14} {length:7,} {way:22} {median * 1e3:10.2f} ms {median / plain:7.2f} x")


def processes(model: str, count: int) -> None:
    """Start points of a tiny model in processes of their own; print what that took, its first step included."""
    point = msgspec.structs.replace(identity(model, 128, 2), preset="tiny")
    for number in range(count):
        begun = time.perf_counter()
        with Worker(point, 0, 600.0) as worker:
            worker.request("prepare")
            spent = time.perf_counter() - begun
        print(f"process {number + 1}: {spent:.2f} s until its first step is done")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="bert")
    parser.add_argument("--lengths", default="128,512")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--processes", type=int, default=5)
    args = parser.parse_args()
    for length in map(int, args.lengths.split(",")):
        forwards(args.model, length, args.layers, args.repeats)
    processes(args.model, args.processes)


if __name__ == "__main__":
    main()
