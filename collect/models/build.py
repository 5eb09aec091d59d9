"""A fresh model with random weights, and inputs for it. Imports torch and transformers."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModel

from tracekit.errors import UsageError
from tracekit.points import Identity
from tracekit.safety import sanitize

from .entry import ModelEntry


@dataclass(frozen=True)
class Built:
    """A model in eval mode on its device, its inputs, and what attention sees (`tokens`)."""

    model: torch.nn.Module
    inputs: dict[str, torch.Tensor]
    tokens: int

    @property
    def parameter_bytes(self) -> int:
        """Bytes of parameters and buffers."""
        tensors = [*self.model.parameters(), *self.model.buffers()]
        return sum(t.numel() * t.element_size() for t in tensors)

    @property
    def input_bytes(self) -> int:
        """Bytes of the inputs."""
        return sum(t.numel() * t.element_size() for t in self.inputs.values())


def config_for(entry: ModelEntry, preset: str, length: int, overrides: dict[str, Any]) -> Any:
    """The architecture's own config with the preset, the overrides and what the length needs.

    Raises UsageError for an override the config does not know.
    """
    config = CONFIG_MAPPING[entry.architecture]()
    for key, value in overrides.items():
        if not hasattr(config, key):
            near = difflib.get_close_matches(key, config.to_dict(), n=2)
            hint = f"; near it: {', '.join(near)}" if near else ""
            raise UsageError(f"{entry.name} has no setting '{sanitize(key)}'{hint}")
        known = getattr(config, key)
        if isinstance(known, int | float) and not isinstance(value, int | float):
            raise UsageError(f"{entry.name}: {sanitize(key)} is a number, not '{sanitize(value)}'")
    for key, value in entry.settings(preset, length, overrides).items():
        setattr(config, key, value)
    return config


def build(entry: ModelEntry, identity: Identity, seed: int) -> Built:
    """A model for one point, from its config alone: nothing is downloaded, weights are random from `seed`."""
    torch.manual_seed(seed)
    config = config_for(entry, identity.preset, int(identity.length), identity.overrides)
    model = AutoModel.from_config(config, attn_implementation=identity.attention, dtype=getattr(torch, identity.dtype))
    model = model.to(identity.device).eval()
    shape = (identity.batch, int(identity.length))
    ids = torch.randint(5, config.vocab_size, shape, device=identity.device)
    return Built(model, {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, int(identity.length))
