"""`tracekit models`: what can be collected, and what each is compared with. Loads neither torch nor transformers."""

from __future__ import annotations

import argparse
from typing import Any

from tracekit.errors import EXIT_OK

SUMMARY = "list the models that can be collected, and their baselines"
EXAMPLES = ("tracekit models", "tracekit models --json")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options: none of its own."""


def _rows() -> list[dict[str, Any]]:
    from tracekit.collect import models

    return [
        {
            "name": entry.name,
            "modality": entry.modality,
            "length_unit": entry.length_unit,
            "attention": list(entry.attention),
            "baseline": entry.baseline,
            "source": entry.source,
            "note": entry.note,
        }
        for entry in map(models.get, models.names())
    ]


def run(args: argparse.Namespace) -> int:
    """Print the table, or the JSON object."""
    rows = _rows()
    if args.json:
        from tracekit.reports.envelope import envelope

        print(envelope("models", [], models=rows))
        return EXIT_OK
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    for title, least in (("model", 13), ("input", 12), ("attention", 17), ("baseline", 8), ("source", 20)):
        table.add_column(title, min_width=least)
    for row in rows:
        what = f"{row['modality']}, {row['length_unit']}"
        table.add_row(row["name"], what, ", ".join(row["attention"]), row["baseline"] or "-", row["source"])
    Console(highlight=False).print(table)
    return EXIT_OK
