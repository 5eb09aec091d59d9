"""tracekit: which transformer variant at my input length, on my hardware, and where do time and memory go?

The names below load their work on first use; `import tracekit` alone imports nothing heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_LAZY = {
    "load": "tracekit.analyze.load",
    "load_dataset": "tracekit.analyze.dataset_file",
    "Study": "tracekit.analyze.study",
    "Trace": "tracekit.analyze.trace",
    "Asked": "tracekit.reports.asked",
    "annotate": "tracekit.collect.annotate",
    "compare": "tracekit.analyze.compare",
    "Comparison": "tracekit.analyze.compare",
    "sweep": "tracekit.collect.sweep",
    "query": "tracekit.analyze.query",
    "write_html": "tracekit.reports.html",
    "write_tables": "tracekit.reports.export",
    "charts": "tracekit.reports.pictures",
    "notebook_html": "tracekit.reports.notebook",
    "Point": "tracekit.points",
    "TracekitError": "tracekit.errors",
}
__all__ = [
    "Asked",
    "Comparison",
    "Point",
    "Study",
    "Trace",
    "TracekitError",
    "__version__",
    "annotate",
    "charts",
    "compare",
    "load",
    "load_dataset",
    "notebook_html",
    "query",
    "sweep",
    "write_html",
    "write_tables",
]

if TYPE_CHECKING:
    from tracekit.analyze.compare import Comparison, compare
    from tracekit.analyze.dataset_file import load_dataset
    from tracekit.analyze.load import load
    from tracekit.analyze.query import query
    from tracekit.analyze.study import Study
    from tracekit.analyze.trace import Trace
    from tracekit.collect.annotate import annotate
    from tracekit.collect.sweep import sweep
    from tracekit.errors import TracekitError
    from tracekit.points import Point
    from tracekit.reports.asked import Asked
    from tracekit.reports.export import write_tables
    from tracekit.reports.html import write_html
    from tracekit.reports.notebook import notebook_html
    from tracekit.reports.pictures import charts


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'tracekit' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return __all__
