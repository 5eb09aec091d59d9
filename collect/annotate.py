"""Named ranges for a model's parts: hooks on modules, wrappers on the functions that modules hide.

Modules are walked outside-in: the first rule that speaks labels a subtree, its descendants inherit; only `positional`
is split out of other components. Inside attention, linear layers are the part `projections`, and the attention function
(or, where a model has none, the module that owns the projections) is the part `core`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any

import torch
from torch.profiler import record_function

from tracekit.components import ANNOTATIONS, LAYER_RANGE, MASK_RANGE, MODEL_RANGE, Range, is_layer, judge
from tracekit.errors import UsageError
from tracekit.safety import sanitize

from .functions import EAGER, Function, attention_backends, namespaces, wrap

# What the module that computes scores calls the first of its projections; the last two are RWKV's and Mamba's.
_QUERY_NAMES = (
    *("query", "q_proj", "q_lin", "q", "qkv", "query_key_value", "query_proj", "query_key", "q_head", "linear_q"),
    *("receptance", "in_proj"),
)
# Functions in a model's own module, by name: what range a call of them opens.
_FUNCTIONS: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (re.compile(r"create_\w*mask\w*|_?prepare_4d_\w+"), MASK_RANGE, ""),
    (re.compile(EAGER), "attention", "core"),
    (re.compile(r"_?apply_(rotary|relative_position)\w*|build_relative_position|build_rpos"), "positional", ""),
    (re.compile(r"window_(partition|reverse)"), "attention", ""),
)
# Methods that do what other models have a module or a function for, by class and name.
_METHODS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\w+\.compute_(position_|side_)?bias"), "positional"),  # T5's line, MPNet
    (re.compile(r"Swin\w*Layer\.get_attn_mask"), MASK_RANGE),
    (re.compile(r"Swin\w*Layer\.maybe_pad"), "attention"),  # to whole windows
)


def ranges_of(model: torch.nn.Module, components: bool = True, parts: bool = True) -> dict[torch.nn.Module, Range]:
    """The range of every module that opens one: the model, its layers and, with `components`, its components.

    A component that was compiled apart is one piece: nothing within it opens a range.
    """
    found = {model: Range(MODEL_RANGE, "", "")}
    _walk(model, "", None, found, components)
    return found if parts else {module: one for module, one in found.items() if not one.part}


def _walk(
    module: torch.nn.Module,
    path: str,
    owner: str | None,
    found: dict[torch.nn.Module, Range],
    components: bool,
) -> None:
    for name, child in module.named_children():
        here = f"{path}.{name}" if path else name
        real = _uncompiled(child)
        class_name = type(real).__name__
        called = not isinstance(real, torch.nn.ModuleList | torch.nn.ModuleDict)  # containers have no forward
        own = judge(class_name, name, in_layer=is_layer(type(module).__name__)) if called else None
        label = own if owner is None or own == "positional" else None
        part = _part(real, owner or label)
        if called and child not in found:
            if components and (label or part):
                found[child] = Range(label or owner or "other", part, here)
            elif owner is None and is_layer(class_name):
                found[child] = Range(LAYER_RANGE, "", here)
        if real is child:
            _walk(child, here, label or owner, found, components)


def _uncompiled(module: torch.nn.Module) -> torch.nn.Module:
    """What torch.compile wrapped, or the module itself."""
    original = getattr(module, "_orig_mod", module)
    return original if isinstance(original, torch.nn.Module) else module


def _part(module: torch.nn.Module, component: str | None) -> str:
    """The part of attention that a module is, or ""."""
    if component != "attention":
        return ""
    if _is_projection(module):
        return "projections"
    owns = any(_is_projection(getattr(module, name, None)) for name in _QUERY_NAMES)
    return "core" if owns and not _calls_attention_function(type(module)) else ""


def _is_projection(module: object) -> bool:
    """Whether a module is a linear layer: also as GPT-2's Conv1D and as a convolution over single positions."""
    pointwise = isinstance(module, torch.nn.Conv1d) and module.kernel_size == (1,)
    return isinstance(module, torch.nn.Linear) or pointwise or type(module).__name__ == "Conv1D"


def _calls_attention_function(kind: type) -> bool:
    """Whether a class leaves its scores to an attention function, which opens a range of its own."""
    methods = (inspect.unwrap(one) for base in kind.__mro__[:-1] for one in vars(base).values() if callable(one))
    names = (getattr(getattr(method, "__code__", None), "co_names", ()) for method in methods)
    return any(EAGER in found or "ALL_ATTENTION_FUNCTIONS" in found for found in names)


@contextmanager
def annotate(model: torch.nn.Module, detail: str = "components") -> Iterator[None]:
    """Open named ranges whenever `model` runs, for any profiler; `detail` is `components`, `layers` or `none`.

    >>> with tracekit.annotate(model), torch.profiler.profile() as prof:   # doctest: +SKIP
    ...     model(batch).loss.backward()

    Hooks stand on modules and wrappers around attention functions, nothing of the computation changes. Everything is
    taken off on exit, also after an error; the model and transformers are as they were before. Raises UsageError for an
    unknown `detail`.
    """
    if detail not in ANNOTATIONS:
        raise UsageError(f"detail must be one of {', '.join(ANNOTATIONS)}, not {sanitize(detail)!r}")
    with ExitStack() as stack:
        if detail != "none":
            for module, one in ranges_of(model, components=detail == "components").items():
                _hook(stack, module, one)
        if detail == "components" and all(_uncompiled(module) is module for module in model.modules()):
            _wrap_functions(stack, model)
        yield


def _hook(stack: ExitStack, module: torch.nn.Module, one: Range) -> None:
    """Ranges around a module's forward; a list, because a module may run within itself."""
    opened: list[record_function] = []

    def before(*_: Any) -> None:
        opened.append(record_function(one.name))
        opened[-1].__enter__()  # type: ignore[no-untyped-call]

    def after(*_: Any) -> None:
        if opened:  # `before` may have been skipped by an error in an earlier hook
            opened.pop().__exit__(None, None, None)

    stack.callback(module.register_forward_pre_hook(before).remove)
    stack.callback(module.register_forward_hook(after, always_call=True).remove)


def _wrap_functions(stack: ExitStack, model: torch.nn.Module) -> None:
    for namespace in namespaces(model):
        wrap(stack, namespace, _ranged_by_name)
    for path, module in model.named_modules():
        _wrap_methods(stack, path, module)
    wrap(stack, attention_backends(), lambda name, one: _ranged(one, Range("attention", "core", f"fn:{name}")))


def _wrap_methods(stack: ExitStack, path: str, module: torch.nn.Module) -> None:
    kind = type(module)
    for name in dir(kind):
        for pattern, what in _METHODS:
            if pattern.fullmatch(f"{kind.__name__}.{name}"):
                own = vars(module)  # an instance's names are looked up before its class's
                own[name] = _ranged(getattr(module, name), Range(what, "", f"{path}.{name}"))
                stack.callback(own.pop, name)


def _ranged_by_name(name: str, function: Function) -> Function | None:
    for pattern, what, part in _FUNCTIONS:
        if pattern.fullmatch(name):
            return _ranged(function, Range(what, part, f"fn:{'eager' if name == EAGER else name}"))
    return None


def _ranged(function: Function, one: Range) -> Function:
    @wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        with record_function(one.name):
            return function(*args, **kwargs)

    return inner
