"""All cases, and the manifest that says of each what is expected."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import broken_json, containers, gpu, injection, limits, odd_files, structure
from .case import Case

KINDS = {
    "container": containers.cases,
    "json": broken_json.cases,
    "schema": structure.cases,
    "gpu": gpu.cases,
    "limits": limits.cases,
    "injection": injection.cases,
    "env": odd_files.cases,
}


def cases(*kinds: str) -> Iterator[Case]:
    """Those of some kinds, of all where none is named."""
    for kind in kinds or KINDS:
        for case in KINDS[kind]():
            yield replace(case, kind=kind)


def write(folder: Path) -> list[dict[str, Any]]:
    """Write every case and `manifest.json` into `folder`; what the manifest says of them."""
    entries = []
    for case in cases():
        case.write(folder)
        entries.append(case.entry())
    manifest = {"version": 1, "base": "base_cpu.json.gz", "cases": entries}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    return entries
