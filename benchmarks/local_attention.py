"""Time and memory of sliding-window attention as the input doubles, and against transformers' Longformer attention.

Usage: python benchmarks/local_attention.py [--repeats 9] [--window 50] [--lengths 2048 4096 8192] [--threads 1]

Attention alone, as in HuBERT base (one input, 12 heads of 64), without gradients, in float32. All are measured in
turns: medians of this process's CPU time, and the most that one call allocates by the profiler's [memory] events.
Prints how both grow with each doubling, and what Longformer's attention takes (its local window alone, as many
positions to each side; both without projections).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import LongformerConfig
from transformers.models.longformer.modeling_longformer import LongformerSelfAttention

from tracekit.collect.attention import local_attention
from tracekit.collect.measure import turn
from tracekit.collect.memory import host_peak_bytes

HEADS, HEAD = 12, 64
Step = Callable[[], object]


def ours(length: int, window: int) -> Step:
    """Attention alone, on queries, keys and values that lie as a model's projections leave them."""
    q, k, v = (torch.randn(1, length, HEADS, HEAD).transpose(1, 2) for _ in range(3))
    return lambda: local_attention(q, k, v, window)


def full(length: int) -> Step:
    """Plain attention of the same size."""
    q, k, v = (torch.randn(1, HEADS, length, HEAD) for _ in range(3))
    return lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v)


class Copy(torch.nn.Module):
    """In the place of the query projection, whose result Longformer divides in place."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A copy."""
        return x.clone()


def longformer_and_ours(length: int, window: int) -> dict[str, Step]:
    """Longformer's chunked attention and ours, on the same queries, keys and values."""
    hidden = HEADS * HEAD
    length += -length % (2 * window)  # Longformer takes nothing else
    config = LongformerConfig(hidden_size=hidden, num_attention_heads=HEADS, attention_window=[2 * window])
    layer = LongformerSelfAttention(config, 0).eval()
    layer.key = layer.value = torch.nn.Identity()
    layer.query = Copy()
    x, mask, marked = torch.randn(1, length, hidden), torch.zeros(1, length), torch.zeros(1, length, dtype=torch.bool)
    k = x.view(1, length, HEADS, HEAD).transpose(1, 2)

    def local() -> torch.Tensor:
        q = layer.query(x).view(1, length, HEADS, HEAD).transpose(1, 2)
        return local_attention(q, k, k, window).flatten(2)

    def longformer() -> torch.Tensor:
        return layer(x, mask, is_index_masked=marked, is_index_global_attn=marked, is_global_attn=False)[0]

    worst = (local() - longformer()).abs().max().item()
    assert worst < 1e-4, f"they should compute the same, and differ by {worst}"
    return {"local": local, "longformer": longformer}


def peak_mib(step: Step) -> float:
    """The most that one call allocates."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profile.export_chrome_trace(str(path))
        return host_peak_bytes(path) / 2**20


def cpu_seconds(steps: dict[str, Step], repeats: int) -> dict[str, float]:
    """Medians of CPU seconds, measured in turns as the collector does."""
    found: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(repeats):
        for name, step in steps.items():
            found[name] += [one.cpu_ns / 1e9 for one in turn(step, "cpu", "", number, most=3)]
    return {name: statistics.median(times) for name, times in found.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--window", type=int, default=50, metavar="W", help="positions to each side")
    parser.add_argument("--lengths", type=int, nargs="+", default=[2048, 4096, 8192])
    parser.add_argument("--longformer-at", type=int, default=4096, metavar="LENGTH")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    with torch.inference_mode():
        growth(args.lengths, args.window, args.repeats)
        against_longformer(args.longformer_at, args.window, args.repeats)


def growth(lengths: list[int], window: int, repeats: int) -> None:
    """Print time and memory of each length, and the factors to the length before."""
    steps = {f"{kind} {n}": step for n in lengths for kind, step in (("local", ours(n, window)), ("full", full(n)))}
    seconds = cpu_seconds(steps, repeats)
    memory = {name: peak_mib(step) for name, step in steps.items()}
    print(f"{'attention':10} {'length':>7} {'CPU ms':>9} {'factor':>7} {'MiB':>7} {'factor':>7}")
    for kind in ("local", "full"):
        before = ""
        for n in lengths:
            name = f"{kind} {n}"
            by = [f"{of[name] / of[before]:.2f}" if before else "" for of in (seconds, memory)]
            print(f"{kind:10} {n:7} {1000 * seconds[name]:9.1f} {by[0]:>7} {memory[name]:7.1f} {by[1]:>7}")
            before = name


def against_longformer(length: int, window: int, repeats: int) -> None:
    """Print both, and how many times as much Longformer takes."""
    steps = longformer_and_ours(length, window)
    seconds = cpu_seconds(steps, repeats)
    memory = {name: peak_mib(step) for name, step in steps.items()}
    print()
    for name in steps:
        print(f"{name:10} {length:7} {1000 * seconds[name]:9.1f} {'':7} {memory[name]:7.1f}")
    time_factor, memory_factor = (of["longformer"] / of["local"] for of in (seconds, memory))
    print(f"Longformer's attention takes {time_factor:.2f} times our time and {memory_factor:.2f} times our memory")


if __name__ == "__main__":
    main()
