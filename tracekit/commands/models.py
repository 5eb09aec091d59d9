"""`tracekit models`: what can be collected, and what each is compared with. Loads neither torch nor transformers."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from typing import Any

from tracekit.errors import EXIT_OK

SUMMARY = "list the models that can be collected, and their baselines"
EXAMPLES = ("tracekit models", "tracekit models longformer")
_WITH_SOURCE = 130  # columns of a terminal that has room for it


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="all that is to be said of these")


def _row(name: str) -> dict[str, Any]:
    from tracekit.collect import models

    entry = models.get(name)
    return {
        "name": entry.name,
        "family": entry.family,
        "modality": entry.modality,
        "length_unit": entry.length_unit,
        "attention": [*entry.attention, *(["local:W"] if entry.local and "local:50" not in entry.attention else [])],
        "modes": list(entry.modes),
        "baseline": entry.baseline,
        "source": entry.source,
        "notes": entry.notes(entry.attention[0], "cpu"),
    }


def run(args: argparse.Namespace) -> int:
    """Print the table, or what is to be said of the models named, or the JSON object."""
    from tracekit.collect import models

    rows = [_row(name) for name in args.names or models.names()]
    if args.json:
        from tracekit.reports.envelope import envelope

        print(envelope("models", args.names, models=rows))
        return EXIT_OK
    from tracekit.reports.text_table import plain_console

    console = plain_console()
    if args.names:
        for row in rows:
            console.print("\n".join(_lines(row, console.width)))
    else:
        console.print(_table(rows, console.width))
    return EXIT_OK


def _lines(row: dict[str, Any], width: int) -> list[str]:
    lines = [row["name"]]
    for key, value in row.items():
        for one in value if key == "notes" else [", ".join(value) if isinstance(value, list) else value or "-"]:
            title = f"  {key.replace('_', ' ').removesuffix('s'):13}"
            lines += textwrap.wrap(title + one, width, subsequent_indent=" " * len(title)) if key != "name" else []
    return lines


def _table(rows: Sequence[dict[str, Any]], width: int) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    for title in ("model", "length", "baseline", "attention", *(("source",) if width >= _WITH_SOURCE else ())):
        table.add_column(title, no_wrap=title in ("model", "length", "baseline"))
    family = None
    for row in rows:
        if family not in (None, row["family"]):
            table.add_section()
        family = row["family"]
        cells = (row["name"], row["length_unit"], row["baseline"] or "-", ", ".join(row["attention"]))
        table.add_row(*cells, *((row["source"],) if width >= _WITH_SOURCE else ()))
    return table
