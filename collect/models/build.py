"""A fresh model with random weights, and inputs for it. Imports torch and transformers."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from transformers import CONFIG_MAPPING

from tracekit.errors import UsageError
from tracekit.points import Identity
from tracekit.safety import sanitize

from .entry import MEL_RATE, SAMPLE_RATE, ModelEntry
from .local import is_local

_FIRST_WORD = 5  # ids below are special in BERT-like vocabularies; padding shifts RoBERTa's positions
_CHARACTERS = 0x3000  # code points, for a model without a vocabulary


@dataclass(frozen=True)
class Built:
    """A model in eval mode on its device, inputs for one batch, and what attention sees of one input (`tokens`)."""

    model: torch.nn.Module
    inputs: dict[str, torch.Tensor]
    tokens: int

    @property
    def parameter_bytes(self) -> int:
        """Bytes of parameters and buffers."""
        return _tensor_bytes([*self.model.parameters(), *self.model.buffers()])

    @property
    def input_bytes(self) -> int:
        """Bytes of the inputs."""
        return _tensor_bytes(self.inputs.values())


def _tensor_bytes(tensors: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def check_overrides(entry: ModelEntry, overrides: Mapping[str, Any]) -> None:
    """Raise UsageError for a config override that the architecture does not know, with the nearest names."""
    config = CONFIG_MAPPING[entry.architecture]()
    known = {**config.to_dict(), **dict.fromkeys(config.attribute_map)}
    for key, value in overrides.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=3)
            hint = f"; near it: {', '.join(near)}" if near else ""
            raise UsageError(f"--set {sanitize(key)}: {entry.name} has no such setting{hint}")
        default = getattr(config, key)
        if isinstance(default, int | float) and not isinstance(value, int | float):
            raise UsageError(f"--set {sanitize(key)}: {entry.name} takes a number there, not '{sanitize(value)}'")


def from_config(entry: ModelEntry, identity: Identity, seed: int) -> Built:
    """A model for one point, from its config alone: nothing is downloaded, weights are random from `seed`.

    No input gets global attention, token types other than 0 or padding: what transformers does by default.
    """
    torch.manual_seed(seed)
    settings = entry.settings(identity.preset, identity.length, identity.overrides)
    config = CONFIG_MAPPING[entry.architecture](**settings)
    options = {"attn_implementation": backend(identity.attention), "dtype": getattr(torch, identity.dtype)}
    chosen = model_class(entry.model_class)
    build = getattr(chosen, "from_config", None) or chosen._from_config  # the first is the Auto classes'
    model = build(config, **options).to(identity.device).eval()
    inputs = inputs_for(entry.inputs, model, identity)
    return Built(model, inputs, entry.tokens(settings, identity.length))


def backend(attention: str) -> str:
    """The name under which transformers knows an attention implementation; ours is registered on first use."""
    if not is_local(attention):
        return attention
    from tracekit.collect.attention import implementation

    return implementation(attention)


def model_class(name: str) -> Any:
    """A class by its name in transformers, or by `module:Class`."""
    module, _, attribute = name.rpartition(":")
    return getattr(import_module(module or "transformers"), attribute)


def inputs_for(kind: str, model: torch.nn.Module, identity: Identity) -> dict[str, torch.Tensor]:
    """Random inputs of a kind (see `ModelEntry.inputs`), of those names that the model's forward takes."""
    made = _INPUTS[kind](model.config, identity.batch, identity.length)
    accepted = inspect.signature(model.forward).parameters
    dtype = next(model.parameters()).dtype
    return {
        name: tensor.to(identity.device, dtype if tensor.is_floating_point() else None)
        for name, tensor in made.items()
        if name in accepted
    }


def _tokens(config: Any, batch: int, length: float) -> dict[str, torch.Tensor]:
    """Token ids, every one of them attended to."""
    known = getattr(config, "vocab_size", None) or _CHARACTERS
    ids = torch.randint(min(_FIRST_WORD, known - 1), known, (batch, int(length)))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _waveform(_config: Any, batch: int, length: float) -> dict[str, torch.Tensor]:
    """Seconds of sound at 16 kHz, normalized as the models' feature extractors do."""
    return {"input_values": torch.randn(batch, round(length * SAMPLE_RATE))}


def _mel(config: Any, batch: int, length: float) -> dict[str, torch.Tensor]:
    """Mel spectrograms of 100 frames a second: (batch, bins, frames) for Whisper, (batch, frames, bins) elsewhere."""
    bins = config.num_mel_bins
    frames = round(length * MEL_RATE)
    return {"input_features": torch.randn(batch, bins, frames), "input_values": torch.randn(batch, frames, bins)}


def _image(config: Any, batch: int, length: float) -> dict[str, torch.Tensor]:
    """Square images of `length` pixels a side."""
    return {"pixel_values": torch.randn(batch, getattr(config, "num_channels", 3), int(length), int(length))}


_INPUTS = {"tokens": _tokens, "waveform": _waveform, "mel": _mel, "image": _image}
