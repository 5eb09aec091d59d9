"""What is done to a model before its first step: gradient checkpointing, torch.compile. And what to know of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from tracekit.components import LAYER_RANGE
from tracekit.errors import UsageError
from tracekit.points import Identity
from tracekit.safety import sanitize

from .annotate import ranges_of
from .models.build import Built

_MOST_GRAPHS = 1000


def checkpoint(model: torch.nn.Module) -> None:
    """Recompute each layer's activations in the backward. Raises UsageError where the model cannot."""
    if not getattr(model, "supports_gradient_checkpointing", False):
        raise UsageError(f"{sanitize(type(model).__name__)} has no gradient checkpointing")
    model.gradient_checkpointing_enable()  # type: ignore[operator]


def compiled(built: Built, how: str) -> Built:
    """The model under torch.compile: `model` as a whole, `component` each component apart, `none`.

    Compiled as a whole, what happens within is one piece, and no range survives. Components keep theirs, on the outside
    of each; what a compiler would fuse across them is lost. Layers may need a graph each, and so do batches: a limit
    that would send the rest back to plain Python, in silence, is out of reach, and an error where it is met.
    """
    if how != "none":
        torch._dynamo.config.recompile_limit = _MOST_GRAPHS
        torch._dynamo.config.fail_on_recompile_limit_hit = True
    if how == "model":
        return replace(built, compiled=torch.compile(built.model, dynamic=False))
    if how == "component":
        done: list[str] = []
        for module, one in ranges_of(built.model, parts=False).items():
            if one.path and one.what != LAYER_RANGE and not any(one.path.startswith(f"{path}.") for path in done):
                parent, _, name = one.path.rpartition(".")
                setattr(built.model.get_submodule(parent), name, torch.compile(module, dynamic=False))
                done.append(one.path)
    return built


def notes_of(built: Built, identity: Identity) -> list[str]:
    """What to know of how a point was made."""
    found = []
    if identity.compile == "model":
        found.append("compiled as a whole: no component can be told, only operators and kernels")
    if identity.compile == "component":
        found.append("each component compiled apart: what a compiler would fuse across them is not")
    dropout = _attention_dropout(built.model)
    if identity.mode == "training" and identity.attention == "sdpa" and identity.device == "cpu" and dropout:
        found.append(
            f"attention dropout of {dropout:g} sends sdpa down torch's math path on a CPU: quadratic memory, as eager"
        )
    return found


def _attention_dropout(model: torch.nn.Module) -> float:
    config: Any = getattr(model, "config", None)
    names = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop", "attention_probs_dropout")
    return next((float(value) for name in names if (value := getattr(config, name, None))), 0.0)
