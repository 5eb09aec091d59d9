"""The functions that a model's code calls by name, and transformers' attention functions: found, wrapped, put back."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch

EAGER = "eager_attention_forward"  # what transformers calls the attention that each model's own module brings
Function = Callable[..., Any]


def namespaces(model: torch.nn.Module) -> list[dict[str, Any]]:
    """The names in the Python modules that define the classes of a model, torch's own aside."""
    names = {type(module).__module__ for module in model.modules()}
    return [vars(sys.modules[name]) for name in sorted(names) if name in sys.modules and not name.startswith("torch.")]


def attention_backends() -> dict[str, Function]:
    """The attention functions that transformers' models choose from by name; none where nobody imported it."""
    modeling = sys.modules.get("transformers.modeling_utils")
    interface = getattr(modeling, "ALL_ATTENTION_FUNCTIONS", None)
    functions: dict[str, Function] = getattr(type(interface), "_global_mapping", {})
    return functions


def wrap(stack: ExitStack, functions: dict[str, Any], wrapped: Callable[[str, Function], Function | None]) -> None:
    """Put `wrapped(name, function)` in the place of each function, unless it is None, until `stack` closes."""
    for name, function in list(functions.items()):
        if callable(function) and (other := wrapped(name, function)) is not None:
            functions[name] = other
            stack.callback(functions.__setitem__, name, function)
