"""The few calls that differ between devices, kept together so that they can be reviewed without a GPU."""

from __future__ import annotations

import contextlib
from typing import Any

import torch


def available(device: str) -> bool:
    """Whether torch can compute on `device` (`cpu`, `cuda`, `cuda:1`) here."""
    kind, _, index = device.partition(":")
    if kind == "cpu":
        return not index
    if kind == "cuda" and torch.cuda.is_available():
        return not index or (index.isdigit() and int(index) < torch.cuda.device_count())
    return False


def synchronize(device: str) -> None:
    """Wait until the device has done all that was queued."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def reset_peak(device: str) -> None:
    """Start a new peak of the allocator."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)


def peak_bytes(device: str) -> int | None:
    """Peak bytes of the allocator since `reset_peak`, parameters included; None where there is no such allocator."""
    return int(torch.cuda.max_memory_allocated(device)) if device.startswith("cuda") else None


def activities(device: str) -> list[torch.profiler.ProfilerActivity]:
    """What the profiler records on this device."""
    host = [torch.profiler.ProfilerActivity.CPU]
    return [*host, torch.profiler.ProfilerActivity.CUDA] if device.startswith("cuda") else host


def facts(device: str) -> dict[str, Any]:
    """What to know of the device beside the host: name, memory, driver's CUDA; empty for the CPU."""
    if not device.startswith("cuda"):
        return {}
    found: dict[str, Any] = {}
    with contextlib.suppress(Exception):
        properties = torch.cuda.get_device_properties(device)
        found["gpu"] = properties.name
        found["gpu_memory_bytes"] = properties.total_memory
        found["cuda"] = torch.version.cuda
    return found
