"""Rough FLOPs of a forward, by the usual formulas: for estimates of time, not for reports. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Settings = Mapping[str, Any]
Cost = Callable[[Settings, float], float]


def transformer(tokens: float, layers: float, hidden: float, ffn: float, attended: float | None = None) -> float:
    """Layers of a transformer: projections, feed-forward, and scores against `attended` positions (None: all)."""
    seen = tokens if attended is None else min(attended, tokens)
    return float(layers * tokens * (8 * hidden**2 + 4 * hidden * ffn + 4 * seen * hidden))


def by_names(hidden: str, ffn: str, layers: str, attended: float | None = None) -> Cost:
    """A plain transformer whose config has names of its own for its sizes."""

    def cost(settings: Settings, length: float) -> float:
        return transformer(length, settings[layers], settings[hidden], settings[ffn], attended)

    return cost


def seeing(attended: Callable[[Settings], float]) -> Cost:
    """A plain encoder whose tokens are each scored against a number of positions that its settings give."""

    def cost(settings: Settings, length: float) -> float:
        sizes = settings["num_hidden_layers"], settings["hidden_size"], settings["intermediate_size"]
        return transformer(length, *sizes, attended(settings))

    return cost


def gated(settings: Settings, length: float) -> float:
    """A plain transformer whose feed-forward is gated: three matrices, not two."""
    sizes = settings["num_hidden_layers"], settings["hidden_size"], 1.5 * settings["intermediate_size"]
    return transformer(length, *sizes)


def frames(samples: int, kernels: Sequence[int], strides: Sequence[int]) -> list[int]:
    """How many frames leave each of a stack of unpadded convolutions: the last is what attention sees."""
    left = []
    for kernel, stride in zip(kernels, strides, strict=True):
        samples = max(0, (samples - kernel) // stride + 1)
        left.append(samples)
    return left


def receptive_field(kernels: Sequence[int], strides: Sequence[int]) -> int:
    """The fewest samples that give one frame."""
    samples = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples


def conv_stem(samples: int, kernels: Sequence[int], strides: Sequence[int], widths: Sequence[int]) -> float:
    """A stack of unpadded convolutions over a waveform, as HuBERT begins."""
    left = frames(samples, kernels, strides)
    before = (1, *widths[:-1])
    return float(sum(2 * n * k * a * b for n, k, a, b in zip(left, kernels, before, widths, strict=True)))


def stages(tokens: float, depths: Sequence[int], widths: Sequence[float], attended: Sequence[float]) -> float:
    """Stages of a hierarchical vision model, each of a quarter of the tokens before it; feed-forward is 4 times."""
    return sum(
        transformer(tokens / 4**stage, depth, width, 4 * width, seen)
        for stage, (depth, width, seen) in enumerate(zip(depths, widths, attended, strict=True))
    )
