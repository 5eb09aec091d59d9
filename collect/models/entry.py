"""What a registered model says of itself. Needs neither torch nor transformers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from tracekit.errors import UsageError
from tracekit.safety import sanitize
from tracekit.units import length_text

from . import costs
from .local import is_local

Settings = Mapping[str, Any]
PRESETS = ("base", "tiny")
MODES = ("inference", "training", "decode")
LADDERS: Mapping[str, tuple[float, ...]] = {
    "tokens": (128, 256, 512, 1024, 2048, 4096, 8192),
    "seconds": (1, 2, 4, 8, 16, 32),
    "pixels": (128, 224, 384, 512, 768, 1024),
}
ANY_BACKEND = ("sdpa", "eager", "flex_attention", "flash_attention_2")
WITHOUT_FLEX = ("sdpa", "eager", "flash_attention_2")
EAGER_SDPA = ("sdpa", "eager")
EAGER = ("eager",)
SAMPLE_RATE = 16_000  # Hz, of every waveform model here
MEL_RATE = 100  # frames of a mel spectrogram a second
INPUT_UNITS = {"tokens": "tokens", "waveform": "seconds", "mel": "seconds", "image": "pixels"}


def any_length(_settings: Settings, _length: float) -> dict[str, Any]:
    """No parameter of the model depends on the input length."""
    return {}


def one_each(_settings: Settings, length: float) -> int:
    """Attention sees one position for each unit of length."""
    return int(length)


def encoder_cost(settings: Settings, tokens: float, attended: float | None = None) -> float:
    """FLOPs of the forward of a plain encoder: projections, feed-forward, and scores against `attended` positions."""
    hidden = settings["hidden_size"]
    ffn = settings.get("intermediate_size", 4 * hidden)
    return costs.transformer(tokens, settings["num_hidden_layers"], hidden, ffn, attended)


def at_least(setting: str, default: int, extra: int = 0) -> Callable[[Settings, float], dict[str, Any]]:
    """A table of at least `length + extra` rows, no smaller than the model's `default`."""

    def fit(settings: Settings, length: float) -> dict[str, Any]:
        return {setting: max(int(length) + extra, settings.get(setting, default))}

    return fit


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """One model that can be collected: most need nothing but their settings.

    `attention` lists the implementations that are real, the default first; `local` says whether our sliding-window
    backend is right for it too. `base` and `tiny` are config settings of the two presets (`base`: the published size;
    those that cost estimates need, the rest is the architecture's default). `inputs` is what it takes: tokens,
    waveform, mel (a spectrogram) or image.
    `fit(settings, length)` gives the settings that make a length possible, and raises UsageError where none do.
    `tokens(settings, length)` is how many positions attention sees: frames, patches. `cost(settings, length)` is the
    FLOPs of one forward of one input, by the usual formula: for estimates of time, not for reports.
    `model_class` is a name in transformers, or `module:Class`; `builder` is `module:function`, imported when a point is
    made: `(entry, identity, seed) -> Built`. `windowed`: its sliding window is only a mask under eager and sdpa.
    `reference`: off a GPU it runs a slow reference path, not the kernel that it is known for. `custom`: it is the
    user's own, and not registered here.
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
    inputs: str = "tokens"
    local: bool = False
    windowed: bool = False
    reference: bool = False
    modes: tuple[str, ...] = ("inference", "training")
    fit: Callable[[Settings, float], dict[str, Any]] = any_length
    tokens: Callable[[Settings, float], int] = one_each
    cost: Callable[[Settings, float], float] | None = encoder_cost
    model_class: str = "AutoModel"
    builder: str = "tracekit.collect.models.build:from_config"
    custom: bool = False
    note: str = ""

    @property
    def length_unit(self) -> str:
        """The unit of its input length."""
        return INPUT_UNITS[self.inputs]

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
        return {**chosen, **self.fit(chosen, length)}

    def build(self) -> Callable[..., Any]:
        """The function that makes a model and its inputs; importing it imports torch and transformers."""
        module, _, function = self.builder.partition(":")
        return getattr(import_module(module), function)  # type: ignore[no-any-return]

    def has_attention(self, attention: str) -> bool:
        """Whether an implementation is real in this model: one it lists, or our own where that is right."""
        own = attention == "local" and not self.windowed  # without a window of its own it needs to be told one
        return attention in self.attention or (self.local and is_local(attention) and not own)

    def refuse_attention(self, attention: str) -> UsageError:
        """The error for an attention implementation that this model has not."""
        ours = ", local:W" if self.local else ""
        has = f"it has: {', '.join(self.attention)}{ours}"
        return UsageError(f"{self.name} has no '{sanitize(attention)}' attention; {has}")

    def flops(self, preset: str, length: float, overrides: Settings) -> float | None:
        """FLOPs of one forward of one input, roughly; None where nobody knows."""
        if self.cost is None:
            return None
        settings = self.settings(preset, length, overrides)
        try:
            return self.cost(settings, length)
        except (TypeError, KeyError, ValueError, ZeroDivisionError):  # sizes that a stranger's config says otherwise
            if self.custom:
                return None
            raise

    def notes(self, attention: str, device: str) -> list[str]:
        """What a reader must know to take the numbers of this model for what they are."""
        found = [self.note] if self.note else []
        if self.windowed and attention in ("eager", "sdpa"):
            found.append(
                f"its sliding window is only a mask under {attention}: quadratic; --attention local makes it real"
            )
        if self.reference and device == "cpu":
            found.append(
                "reference kernel: on a CPU transformers runs a slow stand-in, which says nothing of its own kernel"
            )
        return found


def refuse_length(model: str, length: float, nearest: Sequence[float], why: str, unit: str = "tokens") -> UsageError:
    """The error for a length that cannot be, with the nearest that can."""
    near = " or ".join(map(length_text, nearest))
    return UsageError(f"{model} cannot take {length_text(length)} {unit}: {why}; the nearest it can: {near}")


def check_multiple(model: str, length: float, of: int, why: str, unit: str = "tokens", least: int = 1) -> None:
    """Raise UsageError unless a length is `least`, `least + 1`, ... times `of`."""
    below = int(length) // of
    if length % of or below < least:
        nearest = sorted({max(below, least) * of, max(below + 1, least) * of})
        raise refuse_length(model, length, nearest, why, unit)
