"""The user's own models, found and built in a worker: runs code that the user named, imports torch, transformers."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch
from transformers import CONFIG_MAPPING, AutoConfig, AutoModel

from tracekit.errors import UsageError
from tracekit.points import Identity
from tracekit.safety import sanitize

from . import custom
from .build import Built, attention_of, inputs_for, model_class, random_model
from .entry import INPUT_UNITS, ModelEntry

_KIND_OF_INPUT = {"input_ids": "tokens", "input_values": "waveform", "input_features": "mel", "pixel_values": "image"}

# What classes of transformers say of the attention that they take.
_ATTENTION = {
    "sdpa": "_supports_sdpa",
    "eager": "",
    "flex_attention": "_supports_flex_attn",
    "flash_attention_2": "_supports_flash_attn",
}


def describe(spec: str, trust_remote_code: bool) -> dict[str, Any]:
    """What is to be known of a model before its points are planned, as plain JSON.

    Raises UsageError with the reason where it cannot be found.
    """
    name = custom.hub_name(spec)
    return _describe_factory(spec) if name is None else _describe_config(name, trust_remote_code)


# -- models of transformers


def _describe_config(name: str, trust_remote_code: bool) -> dict[str, Any]:
    config = load_config(name, trust_remote_code)
    plain = msgspec.json.decode(msgspec.json.encode(config.to_dict(), enc_hook=str))
    try:
        chosen = AutoModel._model_mapping[type(config)]
        if isinstance(chosen, tuple):
            chosen = chosen[0]
    except KeyError:
        chosen = AutoModel
    kind = _KIND_OF_INPUT.get(getattr(chosen, "main_input_name", "input_ids"), "")
    if kind == "waveform" and "num_mel_bins" in plain:
        kind = "mel"
    if not kind:
        raise UsageError(f"hf:{sanitize(name)}: no inputs are known for '{sanitize(chosen.main_input_name)}'")
    return {
        "model_type": config.model_type,
        "config": plain,
        "digest": _digest(msgspec.json.encode(plain)),
        "inputs": kind,
        "attention": [name for name, flag in _ATTENTION.items() if not flag or getattr(chosen, flag, False)],
        "model_class": "AutoModel",
    }


def load_config(name: str, trust_remote_code: bool) -> Any:
    """The config of a folder, of an architecture by its bare name, or of a model of the hub."""
    if not Path(name).exists() and name in CONFIG_MAPPING:
        return CONFIG_MAPPING[name]()
    try:
        return AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise UsageError(f"hf:{sanitize(name)}: {_first_line(error)}") from None


def from_hub(entry: ModelEntry, identity: Identity, seed: int) -> Built:
    """A model of transformers: weights random from its config, or with `pretrained` those of the folder or the hub."""
    torch.manual_seed(seed)
    name = custom.hub_name(entry.source) or ""
    config = load_config(name, identity.trust_remote_code)
    settings = entry.settings(identity.preset, identity.length, identity.overrides)
    for key in {*identity.overrides, *entry.fit(settings, identity.length)}:
        setattr(config, key, settings[key])
    options = {
        "attn_implementation": attention_of(identity.attention),
        "dtype": getattr(torch, identity.dtype),
    }
    trust = {"trust_remote_code": True} if identity.trust_remote_code else {}
    try:
        if identity.pretrained:
            chosen = model_class(entry.model_class)
            model = chosen.from_pretrained(name, config=config, use_safetensors=True, **options, **trust)
        else:
            model = random_model(entry.model_class, config, **options, **trust)
    except (OSError, ValueError) as error:
        raise UsageError(f"{sanitize(entry.source)}: {_first_line(error)}") from None
    model = model.to(identity.device).eval()
    tokens = entry.tokens(settings, identity.length) if entry.inputs == "tokens" or entry.family != "custom" else None
    return Built(model, inputs_for(entry.inputs, model, identity), tokens)


# -- factories


def _describe_factory(spec: str) -> dict[str, Any]:
    factory, source = _factory(spec)
    unit = getattr(factory, "length_unit", "tokens")
    if unit not in custom.KINDS:
        raise UsageError(f"{sanitize(spec)}: length_unit is {', '.join(custom.KINDS)}, not '{sanitize(unit)}'")
    return {"digest": _digest(source), "unit": unit, "takes_attention": "attention" in _accepted(factory)}


def _factory(spec: str) -> tuple[Callable[..., Any], bytes]:
    """The function that a spec names, and the source of its module."""
    where, function = custom.factory_of(spec)
    try:
        module = _from_file(Path(where)) if where.endswith(".py") else importlib.import_module(where)
    except Exception as error:
        raise UsageError(f"{sanitize(spec)}: it cannot be imported: {_first_line(error)}") from None
    found = getattr(module, function, None)
    if not callable(found):
        raise UsageError(f"{sanitize(spec)}: there is no function '{sanitize(function)}' in it")
    file = inspect.getsourcefile(module)
    return found, Path(file).read_bytes() if file else b""


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


def from_factory(entry: ModelEntry, identity: Identity, seed: int) -> Built:
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
        return Built(model, _derived_inputs(entry, model, identity), tokens)
    args, named = _sorted_inputs(_call(given, {**offered, "model": model}) if callable(given) else given, entry.source)
    moved = {name: _moved(value, identity) for name, value in named.items()}
    return Built(model, moved, tokens, tuple(_moved(value, identity) for value in args))


def check_factory_overrides(spec: str, overrides: Mapping[str, Any]) -> None:
    """Raise UsageError for an override that is no parameter of the factory."""
    accepted = _accepted(_factory(spec)[0])
    for key in overrides:
        if key not in accepted and "**" not in accepted:
            takes = ", ".join(sorted(accepted)) or "nothing"
            raise UsageError(f"--set {sanitize(key)}: {sanitize(spec)} takes {sanitize(takes)}")


def _derived_inputs(entry: ModelEntry, model: torch.nn.Module, identity: Identity) -> dict[str, Any]:
    main = getattr(model, "main_input_name", None)
    if main not in _KIND_OF_INPUT or not hasattr(model, "config"):
        raise UsageError(f"{sanitize(entry.source)}: return (module, inputs): nothing says what its inputs are")
    unit = INPUT_UNITS[_KIND_OF_INPUT[main]]
    if unit != entry.length_unit:
        raise UsageError(f"{sanitize(entry.source)}: its lengths are {unit}: set length_unit = '{unit}' on the factory")
    return inputs_for(_KIND_OF_INPUT[main], model, identity)


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
    """A tensor on the device of the point, in its dtype where it is no integer."""
    if not isinstance(value, torch.Tensor):
        return value
    return value.to(identity.device, getattr(torch, identity.dtype) if value.is_floating_point() else None)


def _kind(value: Any) -> str:
    return sanitize(type(value).__name__)


def _digest(source: bytes) -> str:
    return hashlib.sha256(source).hexdigest()[:8]


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return sanitize(f"{type(error).__name__}: {lines[0] if lines else 'no message'}", 300)
