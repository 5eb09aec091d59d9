"""Facts of the machine, one small function each. A fact that cannot be had is left out, never an error."""

from __future__ import annotations

import contextlib
import os
import platform
import socket
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any


def cpu_model() -> str:
    """The processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """How many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int:
    """Physical memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def load_average() -> list[float]:
    """Load over 1, 5 and 15 minutes."""
    return list(os.getloadavg())


def frequency_governor() -> str:
    """The governor of the first core."""
    return Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").read_text().strip()


def host_name() -> str:
    """The name of the machine."""
    return socket.gethostname()


_FACTS: dict[str, Callable[[], Any]] = {
    "cpu_model": cpu_model,
    "cores": os.cpu_count,
    "usable_cores": usable_cores,
    "memory_bytes": memory_bytes,
    "load_average": load_average,
    "frequency_governor": frequency_governor,
    "host_name": host_name,
    "system": platform.platform,
    "python": platform.python_version,
}


def collect() -> dict[str, Any]:
    """Every fact that can be had, by name."""
    facts: dict[str, Any] = {}
    for name, fact in _FACTS.items():
        with contextlib.suppress(Exception):
            facts[name] = fact()
    return facts


def machine_id() -> str:
    """Which machine this is, as part of a point's identity: host, processor, cores."""
    facts = collect()
    return "/".join(str(facts.get(name, "?")) for name in ("host_name", "cpu_model", "cores"))


def versions() -> dict[str, str]:
    """Versions of what a measurement depends on; torch's own string where torch is loaded (it names the build)."""
    import tracekit

    found = {"tracekit": tracekit.__version__, "python": platform.python_version()}
    for package in ("torch", "transformers", "numpy"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    torch = sys.modules.get("torch")
    if torch is not None:
        found["torch"] = str(torch.__version__)
    return found
