"""The registry: one file per family, one entry per model. Listing it imports neither torch nor transformers."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from tracekit.errors import UsageError
from tracekit.safety import sanitize

from . import decoder, efficient, speech, text, vision
from .custom import entry_of, is_custom, short_name, without_digest
from .entry import ModelEntry

__all__ = ["add", "described", "get", "names", "short_name"]

_FAMILIES = (text, efficient, decoder, speech, vision)
_ENTRIES: dict[str, ModelEntry] = {entry.name: entry for family in _FAMILIES for entry in family.ENTRIES}
_CUSTOM: dict[str, ModelEntry] = {}
# Models that transformers has and that are not here on purpose: a number would be of something else.
_REFUSED = {
    "mra": "without its CUDA kernel transformers returns zeros in the place of attention, and times nothing",
}


def names() -> list[str]:
    """The registered models, each family's baselines first."""
    return list(_ENTRIES)


def get(name: str) -> ModelEntry:
    """The entry of a model. Raises UsageError with the nearest names when there is none."""
    if name in _ENTRIES:
        return _ENTRIES[name]
    if without_digest(name) in _CUSTOM:
        return _CUSTOM[without_digest(name)]
    if name.lower() in _REFUSED:
        raise UsageError(f"{sanitize(name)} cannot be measured: {_REFUSED[name.lower()]}")
    near = difflib.get_close_matches(name.lower(), _ENTRIES, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "see: tracekit models"
    if is_custom(name):
        hint = "it has to be resolved first (tracekit.collect.resolve)"
    raise UsageError(f"unknown model '{sanitize(name)}': {hint}")


def described(spec: str, said: Mapping[str, Any], pretrained: bool) -> ModelEntry:
    """The entry of a model that is not registered, from what it says of itself (see `hub`, `factory`)."""
    same = (entry for entry in _ENTRIES.values() if entry.architecture == said.get("model_type"))
    return entry_of(spec, said, next(same, None), pretrained)


def add(spec: str, entry: ModelEntry) -> None:
    """Make a custom model known under the name that the user gave."""
    _CUSTOM[spec] = entry
