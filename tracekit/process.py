"""What a process of our own sets for itself, before anything heavy is loaded: not for processes of others."""

from __future__ import annotations

import contextlib
import ctypes
import os

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # of glibc's mallopt


def settle() -> None:
    """Fit threads and memory to what an analysis does; what the user has set stays.

    Its tables are small and many: waking polars' threads for each costs a tenth of the CPU time, and saves no time. Its
    buffers come and go: memory given back to the system returns page by page, which costs as much as decoding what is
    on it (measured by `benchmarks/reading.py`).
    """
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        if hasattr(libc, "gnu_get_libc_version") and not any(name.startswith("MALLOC_") for name in os.environ):
            for option, size in ((_TRIM_THRESHOLD, 64 << 20), (_MMAP_THRESHOLD, 4 << 20), (_TOP_PAD, 16 << 20)):
                libc.mallopt(option, size)
