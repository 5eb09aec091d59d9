"""The user's own factories, `file.py:factory` and `package.module:factory`: runs their code; imports torch."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from tracekit.errors import UsageError
from tracekit.points import Identity
from tracekit.safety import first_line, sanitize

from . import custom
from .build import KIND_OF_INPUT, Built, attention_of, with_inputs
from .entry import INPUT_UNITS, ModelEntry


def describe(spec: str) -> dict[str, Any]:
    """What is to be known of a factory before its points are planned. Raises UsageError where it cannot be imported."""
    factory, sources = _factory(spec)
    unit = getattr(factory, "length_unit", "tokens")
    if unit not in custom.KINDS:
        raise UsageError(f"{sanitize(spec)}: length_unit is {', '.join(custom.KINDS)}, not '{sanitize(unit)}'")
    return {"digest": custom.digest(*sources), "unit": unit, "takes_attention": "attention" in _accepted(factory)}


@functools.cache
def _factory(spec: str) -> tuple[Callable[..., Any], tuple[bytes, ...]]:
    """The function that a spec names, and the sources that came with it: its own and its neighbours'."""
    where, function = custom.factory_of(spec)
    before = set(sys.modules)
    try:
        module = _from_file(Path(where)) if where.endswith(".py") else importlib.import_module(where)
    except Exception as error:
        raise UsageError(f"{sanitize(spec)}: it cannot be imported: {first_line(error, 300)}") from None
    found = getattr(module, function, None)
    if not callable(found):
        raise UsageError(f"{sanitize(spec)}: there is no function '{sanitize(function)}' in it")
    home = Path(where).parent if where.endswith(".py") else _home(where)
    files = {_file_of(sys.modules[name]) for name in set(sys.modules) - before if name in sys.modules}
    own = {_file_of(module)} | {file for file in files if file and file.is_relative_to(home.resolve())}
    return found, tuple(file.read_bytes() for file in sorted(filter(None, own)))


def _file_of(module: Any) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).resolve() if file and Path(file).is_file() else None


def _home(module: str) -> Path:
    """The folder of the package that a module is in; of a module in none, its file."""
    top = sys.modules[module.partition(".")[0]]
    file = _file_of(top)
    return Path() if file is None else file.parent if hasattr(top, "__path__") else file


def _from_file(path: Path) -> Any:
    """The module in a file; its neighbours can be imported, as when Python runs it."""
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    found = importlib.util.spec_from_file_location(f"tracekit_user_{path.stem}", path)
    if found is None or found.loader is None:
        raise ImportError("no Python file")
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module
    found.loader.exec_module(module)
    return module


def build(entry: ModelEntry, identity: Identity, seed: int) -> Built:
    """The user's own model: what the factory returns, with inputs of its own or those of a model of transformers."""
    torch.manual_seed(seed)
    factory, _ = _factory(entry.source)
    unit = entry.length_unit
    offered = {
        "length": identity.length if unit == "seconds" else int(identity.length),
        "batch": identity.batch,
        "device": identity.device,
        "dtype": getattr(torch, identity.dtype),
        "seed": seed,
        "attention": None if identity.attention == custom.OWN else attention_of(identity.attention),
    }
    made = _call(factory, {**offered, **identity.overrides})
    model, given = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(model, torch.nn.Module):
        raise UsageError(f"{sanitize(entry.source)} returned {_kind(model)}, which is no torch.nn.Module")
    model = model.to(device=identity.device, dtype=offered["dtype"]).eval()
    tokens = int(identity.length) if unit == "tokens" else None
    if given is None:
        return with_inputs(_derived_kind(entry, model), model, identity, tokens)
    return _with_own_inputs(entry, identity, model, given, offered, _accepted(factory), tokens)


def _with_own_inputs(
    entry: ModelEntry,
    identity: Identity,
    model: torch.nn.Module,
    given: Any,
    offered: Mapping[str, Any],
    of_factory: set[str],
    tokens: int | None,
) -> Built:
    """A model with inputs that the user gives, or whose function the user gives."""
    function = given if callable(given) else None
    accepted = of_factory | (_accepted(function) if function else set())
    for name, differs in (("length", True), ("batch", identity.batch != 1)):
        if differs and not accepted & {name, "**"}:
            raise UsageError(
                f"{sanitize(entry.source)}: neither it nor its inputs take '{name}', so nothing depends on it"
            )

    def remake(batch: int) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        inputs = _call(function, {**offered, "batch": batch, "model": model}) if function else given
        return _sorted_inputs(_moved(inputs, identity), entry.source)

    args, named = remake(identity.batch)
    again = function is not None and bool(_accepted(function) & {"batch", "**"})
    return Built(model, named, tokens, args, remake=remake if again else None)


def check_overrides(spec: str, overrides: Mapping[str, Any]) -> None:
    """Raise UsageError for an override that is no parameter of the factory."""
    accepted = _accepted(_factory(spec)[0])
    for key in overrides:
        if key not in accepted and "**" not in accepted:
            takes = ", ".join(sorted(accepted)) or "nothing"
            raise UsageError(f"--set {sanitize(key)}: {sanitize(spec)} takes {sanitize(takes)}")


def _derived_kind(entry: ModelEntry, model: torch.nn.Module) -> str:
    """The kind of inputs of a model of transformers."""
    main = getattr(model, "main_input_name", None)
    if main not in KIND_OF_INPUT or not hasattr(model, "config"):
        raise UsageError(f"{sanitize(entry.source)}: return (module, inputs): nothing says what its inputs are")
    unit = INPUT_UNITS[KIND_OF_INPUT[main]]
    if unit != entry.length_unit:
        raise UsageError(f"{sanitize(entry.source)}: its lengths are {unit}: set length_unit = '{unit}' on the factory")
    return KIND_OF_INPUT[main]


def _accepted(function: Callable[..., Any]) -> set[str]:
    """The parameters of a function; "**" among them when it takes any."""
    parameters = inspect.signature(function).parameters.values()
    return {"**" if one.kind is one.VAR_KEYWORD else one.name for one in parameters}


def _call(function: Callable[..., Any], offered: Mapping[str, Any]) -> Any:
    """Call with those arguments that it accepts."""
    accepted = _accepted(function)
    return function(**{name: value for name, value in offered.items() if name in accepted or "**" in accepted})


def _sorted_inputs(inputs: Any, source: str) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    if isinstance(inputs, torch.Tensor):
        return (inputs,), {}
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    if isinstance(inputs, list | tuple):
        return tuple(inputs), {}
    raise UsageError(f"{sanitize(source)}: inputs are a tensor, a tuple or a dict of them, not {_kind(inputs)}")


def _moved(value: Any, identity: Identity) -> Any:
    """Tensors, in whatever nest, on the device of the point and in its dtype where they are no integers."""
    if isinstance(value, torch.Tensor):
        return value.to(identity.device, getattr(torch, identity.dtype) if value.is_floating_point() else None)
    if isinstance(value, Mapping):
        return {key: _moved(one, identity) for key, one in value.items()}
    return type(value)(_moved(one, identity) for one in value) if type(value) in (list, tuple) else value


def _kind(value: Any) -> str:
    return sanitize(type(value).__name__)
