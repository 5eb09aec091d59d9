"""A fresh model with random weights, and inputs for it. Imports torch and transformers."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModel

from tracekit.errors import UsageError
from tracekit.points import Identity
from tracekit.safety import sanitize

from .entry import ModelEntry

_FIRST_WORD = 5  # ids below are special in BERT-like vocabularies; padding shifts RoBERTa's positions


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
    dtype = getattr(torch, identity.dtype)
    model = AutoModel.from_config(config, attn_implementation=identity.attention, dtype=dtype)
    model = model.to(identity.device).eval()
    length = int(identity.length)
    shape = (identity.batch, length)
    ids = torch.randint(min(_FIRST_WORD, config.vocab_size - 1), config.vocab_size, shape, device=identity.device)
    accepted = inspect.signature(model.forward).parameters
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return Built(model, {name: tensor for name, tensor in inputs.items() if name in accepted}, length)
