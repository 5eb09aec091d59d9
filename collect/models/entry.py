"""What a registered model says of itself. Needs neither torch nor transformers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from tracekit.errors import UsageError
from tracekit.safety import sanitize
from tracekit.units import length_text

Settings = Mapping[str, Any]
PRESETS = ("base", "tiny")
LADDERS: Mapping[str, tuple[float, ...]] = {"tokens": (128, 256, 512, 1024, 2048, 4096, 8192)}


def any_length(_settings: Settings, _length: int) -> dict[str, Any]:
    """No parameter of the model depends on the input length."""
    return {}


def full_attention(_settings: Settings, length: int) -> tuple[int, int]:
    """Every token attends to every token."""
    return length, length


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """One model that can be collected: most need nothing but their settings.

    `attention` lists the implementations that are real, the default first. `base` and `tiny` are config settings of the
    two presets (`base`: those that cost estimates need; the rest is the architecture's default).
    `fit(settings, length)` gives the settings that make a length possible, and raises UsageError where none do.
    `work(settings, length)` gives the tokens computed and the tokens that each attends to.
    `builder` is `module:function`, imported when a point is made: `(entry, identity, seed) -> Built`.
    """

    name: str
    architecture: str
    source: str
    attention: tuple[str, ...]
    base: Settings
    tiny: Settings
    baseline: str | None = None
    family: str = "text"
    modality: str = "text"
    length_unit: str = "tokens"
    fit: Callable[[Settings, int], dict[str, Any]] = any_length
    work: Callable[[Settings, int], tuple[int, int]] = full_attention
    builder: str = "tracekit.collect.models.build:from_config"
    note: str = ""

    @property
    def ladder(self) -> tuple[float, ...]:
        """The lengths to measure where the user names none."""
        return LADDERS[self.length_unit]

    def settings(self, preset: str, length: float, overrides: Settings) -> dict[str, Any]:
        """The config settings of a preset at a length, the user's overrides last but for what the length needs.

        Raises UsageError for a length that the model cannot take.
        """
        if self.length_unit != "seconds" and not float(length).is_integer():
            raise UsageError(f"{self.name}: {length:g} is no length; {self.length_unit} are whole")
        chosen = {**self.base, **(self.tiny if preset == "tiny" else {}), **overrides}
        return {**chosen, **self.fit(chosen, int(length))}

    def build(self) -> Callable[..., Any]:
        """The function that makes a model and its inputs; importing it imports torch and transformers."""
        module, _, function = self.builder.partition(":")
        return getattr(import_module(module), function)  # type: ignore[no-any-return]

    def refuse_attention(self, attention: str) -> UsageError:
        """The error for an attention implementation that this model has not."""
        return UsageError(f"{self.name} has no '{sanitize(attention)}' attention; it has: {', '.join(self.attention)}")

    def flops(self, preset: str, length: float, overrides: Settings) -> float:
        """FLOPs of one forward of one input, by the usual formula; for estimates of time, not for reports."""
        settings = self.settings(preset, length, overrides)
        hidden, layers = settings["hidden_size"], settings["num_hidden_layers"]
        ffn = settings.get("intermediate_size", 4 * hidden)
        tokens, attended = self.work(settings, int(length))
        return float(layers * tokens * (8 * hidden**2 + 4 * hidden * ffn + 4 * attended * hidden))


def refuse_length(model: str, length: int, nearest: list[int], why: str) -> UsageError:
    """The error for a length that cannot be, with the nearest that can."""
    near = " or ".join(map(length_text, nearest))
    return UsageError(f"{model} cannot take {length_text(length)} tokens: {why}; the nearest it can: {near}")
