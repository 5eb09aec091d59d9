"""What a registered model says of itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tracekit.errors import UsageError
from tracekit.units import length_text

Settings = Mapping[str, Any]
PRESETS = ("base", "tiny")


def any_length(_settings: Settings, _length: int) -> dict[str, Any]:
    """No parameter of the model depends on the input length."""
    return {}


@dataclass(frozen=True)
class ModelEntry:
    """One model that can be collected.

    `base` and `tiny` are config settings of the two presets (`base`: those that cost estimates need; the rest is the
    architecture's default). `fit(settings, length)` returns the settings that make a length possible and raises
    UsageError where none do. `attention` lists the implementations that are real, the default first.
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
    window: Callable[[Settings, int], int] = field(default=lambda _settings, length: length)
    note: str = ""

    def settings(self, preset: str, length: int, overrides: Settings) -> dict[str, Any]:
        """The config settings of a preset at a length, the user's overrides last but for what the length needs."""
        chosen = {**self.base, **(self.tiny if preset == "tiny" else {}), **overrides}
        return {**chosen, **self.fit(chosen, length)}

    def check_attention(self, attention: str | None) -> str:
        """The attention implementation to use: the default for None. Raises UsageError for one that is not real."""
        if attention is None:
            return self.attention[0]
        if attention not in self.attention:
            real = ", ".join(self.attention)
            raise UsageError(f"{self.name} has no {attention} attention; it has: {real}")
        return attention

    def flops(self, preset: str, length: int, overrides: Settings) -> float:
        """FLOPs of one forward of one input, by the usual formula; for estimates of time, not for reports."""
        s = self.settings(preset, length, overrides)
        hidden, layers, ffn = s["hidden_size"], s["num_hidden_layers"], s["intermediate_size"]
        attended = self.window(s, length)
        return float(layers * length * (8 * hidden**2 + 4 * hidden * ffn + 4 * attended * hidden))


def refuse_length(model: str, length: int, nearest: list[int], why: str) -> UsageError:
    """The error for a length that cannot be, with the nearest that can."""
    near = " or ".join(length_text(n) for n in nearest if n > 0)
    return UsageError(f"{model} cannot take {length_text(length)} tokens: {why}; the nearest it can: {near}")
