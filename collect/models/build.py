"""A fresh model with random weights, and inputs for it. Imports torch and transformers."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
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
# What a class of transformers calls its main input, and the kind of inputs that it is.
KIND_OF_INPUT = {"input_ids": "tokens", "input_values": "waveform", "input_features": "mel", "pixel_values": "image"}
_CHARACTERS = 0x3000  # code points, for a model without a vocabulary


@dataclass(frozen=True)
class Built:
    """A model on its device, inputs for one batch, and what attention sees of one input (`tokens`, None: unknown).

    `run` is what a step calls: the model, or what torch.compile made of it. `args` are inputs without names. `remake`
    makes args and inputs of another batch; None where that cannot be.
    """

    model: torch.nn.Module
    inputs: Mapping[str, Any]
    tokens: int | None
    args: tuple[Any, ...] = ()
    compiled: Callable[..., Any] | None = None
    remake: Callable[[int], tuple[tuple[Any, ...], Mapping[str, Any]]] | None = None

    def __call__(self, **options: Any) -> Any:
        """One forward of the batch."""
        return self.run(*self.args, **self.inputs, **options)

    @property
    def run(self) -> Callable[..., Any]:
        """The model as it is called."""
        return self.model if self.compiled is None else self.compiled

    def of_batch(self, batch: int) -> Built:
        """The same model with inputs of another batch. Raises UsageError where its inputs are of one batch alone."""
        if self.remake is None:
            raise UsageError("its inputs are of one batch alone: return a function of batch that makes them")
        args, inputs = self.remake(batch)
        return replace(self, inputs=inputs, args=args)

    @property
    def parameter_bytes(self) -> int:
        """Bytes of parameters and buffers."""
        return tensor_bytes([*self.model.parameters(), *self.model.buffers()])

    @property
    def input_bytes(self) -> int:
        """Bytes of the inputs."""
        return tensor_bytes([*self.inputs.values(), *self.args])


def tensor_bytes(values: Iterable[Any]) -> int:
    """Bytes of the tensors among `values`."""
    return sum(tensor.numel() * tensor.element_size() for value in values for tensor in tensors_in(value))


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """The tensors in a tensor, mapping, sequence or nest of these."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from tensors_in(one)


def check_overrides(entry: ModelEntry, overrides: Mapping[str, Any]) -> None:
    """Raise UsageError for a config override that the architecture does not know, with the nearest names."""
    if entry.custom and not entry.architecture:
        from . import factory

        factory.check_overrides(entry.source, overrides)
        return
    if entry.custom:
        known = dict(entry.base)
    else:
        config = CONFIG_MAPPING[entry.architecture]()
        known = {**config.to_dict(), **{name: getattr(config, name) for name in config.attribute_map}}
    for key, value in overrides.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=3)
            hint = f"; near it: {', '.join(near)}" if near else ""
            raise UsageError(f"--set {sanitize(key)}: {entry.name} has no such setting{hint}")
        default = known[key]
        if isinstance(default, int | float) and not isinstance(value, int | float):
            raise UsageError(f"--set {sanitize(key)}: {entry.name} takes a number there, not '{sanitize(value)}'")


def from_config(entry: ModelEntry, identity: Identity, seed: int) -> Built:
    """A model for one point, from its config alone: nothing is downloaded, weights are random from `seed`.

    No input gets global attention, token types other than 0 or padding: what transformers does by default.
    """
    torch.manual_seed(seed)
    settings = entry.settings(identity.preset, identity.length, identity.overrides)
    config = CONFIG_MAPPING[entry.architecture](**settings)
    options = {"attn_implementation": attention_of(identity.attention), "dtype": getattr(torch, identity.dtype)}
    model = random_model(entry.model_class, config, **options).to(identity.device).eval()
    return with_inputs(entry.inputs, model, identity, entry.tokens(settings, identity.length))


def attention_of(attention: str) -> str:
    """The name under which transformers knows an attention implementation; ours is registered on first use."""
    if not is_local(attention):
        return attention
    from tracekit.collect.attention import implementation

    return implementation(attention)


def random_model(class_name: str, config: Any, trust_remote_code: bool = False, **options: Any) -> Any:
    """A model with random weights: of an Auto class, or of a model's own."""
    chosen = model_class(class_name)
    if hasattr(chosen, "from_config"):  # said aloud: unasked, transformers would ask on the terminal
        return chosen.from_config(config, trust_remote_code=trust_remote_code, **options)
    return chosen._from_config(config, **options)


def model_class(name: str) -> Any:
    """A class by its name in transformers, or by `module:Class`."""
    module, _, attribute = name.rpartition(":")
    return getattr(import_module(module or "transformers"), attribute)


def with_inputs(kind: str, model: torch.nn.Module, identity: Identity, tokens: int | None) -> Built:
    """A model with random inputs of a kind (see `ModelEntry.inputs`)."""

    def remake(batch: int) -> tuple[tuple[Any, ...], dict[str, torch.Tensor]]:
        return (), _inputs_for(kind, model, identity, batch)

    return Built(model, remake(identity.batch)[1], tokens, remake=remake)


def _inputs_for(kind: str, model: torch.nn.Module, identity: Identity, batch: int) -> dict[str, torch.Tensor]:
    """Inputs of those names that the model's forward takes."""
    made = _INPUTS[kind](model.config, batch, identity.length)
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
