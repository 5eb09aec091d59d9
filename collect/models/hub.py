"""Models of transformers: of the hub, of a folder, or of a bare architecture. Imports torch and transformers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch
from transformers import CONFIG_MAPPING, AutoConfig, AutoModel

from tracekit.errors import UsageError
from tracekit.points import Identity
from tracekit.safety import first_line, sanitize

from . import custom
from .build import KIND_OF_INPUT, Built, attention_of, model_class, random_model, with_inputs
from .entry import ModelEntry

# What classes of transformers say of the attention that they take.
_ATTENTION = {
    "sdpa": "_supports_sdpa",
    "eager": "",
    "flex_attention": "_supports_flex_attn",
    "flash_attention_2": "_supports_flash_attn",
}


def describe(name: str, trust_remote_code: bool) -> dict[str, Any]:
    """What is to be known of a model before its points are planned. Raises UsageError where it cannot be found."""
    config = load_config(name, trust_remote_code)
    plain = msgspec.json.decode(msgspec.json.encode(config.to_dict(), enc_hook=str))
    try:
        chosen = AutoModel._model_mapping[type(config)]
        if isinstance(chosen, tuple):
            chosen = chosen[0]
    except KeyError:
        chosen = AutoModel
    kind = KIND_OF_INPUT.get(getattr(chosen, "main_input_name", "input_ids"), "")
    if kind == "waveform" and "num_mel_bins" in plain:
        kind = "mel"
    if not kind:
        raise UsageError(f"hf:{sanitize(name)}: no inputs are known for '{sanitize(chosen.main_input_name)}'")
    return {
        "model_type": config.model_type,
        "config": plain,
        "digest": custom.digest(msgspec.json.encode(plain), *(_code(Path(name)) if trust_remote_code else ())),
        "inputs": kind,
        "attention": [name for name, flag in _ATTENTION.items() if not flag or getattr(chosen, flag, False)],
        "model_class": "AutoModel",
    }


def _code(folder: Path) -> list[bytes]:
    """The Python files of a folder, whose code runs where the user trusts it."""
    return [file.read_bytes() for file in sorted(folder.rglob("*.py"))] if folder.is_dir() else []


def load_config(name: str, trust_remote_code: bool, settings: Mapping[str, Any] | None = None) -> Any:
    """The config of a folder, of an architecture by its bare name, or of a model of the hub, with `settings` changed.

    Settings go in when it is made, not afterwards: others follow from them.
    """
    changed = dict(settings or {})
    if not Path(name).exists() and name in CONFIG_MAPPING:
        return CONFIG_MAPPING[name](**changed)
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code)
        return type(config).from_dict(_with(config.to_dict(), changed)) if changed else config
    except (OSError, ValueError) as error:
        raise UsageError(f"hf:{sanitize(name)}: {first_line(error, 300)}") from None


def _with(saved: dict[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    """A saved config with settings changed; lists of one item a layer are cut to fewer layers, or left out for more."""
    before, after = saved.get("num_hidden_layers"), changed.get("num_hidden_layers")
    if isinstance(before, int) and isinstance(after, int):
        for key, value in list(saved.items()):
            if isinstance(value, list) and len(value) == before != after:
                saved[key] = value[:after] if after < before else None
    return {**{key: value for key, value in saved.items() if value is not None}, **changed}


def build(entry: ModelEntry, identity: Identity, seed: int) -> Built:
    """A model of transformers: weights random from its config, or with `pretrained` those of the folder or the hub."""
    torch.manual_seed(seed)
    name = custom.hub_name(entry.source) or ""
    settings = entry.settings(identity.preset, identity.length, identity.overrides)
    changed = {**entry.fit(settings, identity.length), **identity.overrides}
    config = load_config(name, identity.trust_remote_code, {key: settings[key] for key in changed})
    options = {
        "attn_implementation": attention_of(identity.attention),
        "dtype": getattr(torch, identity.dtype),
    }
    trust = {"trust_remote_code": identity.trust_remote_code}
    try:
        if identity.pretrained:
            chosen = model_class(entry.model_class)
            model = chosen.from_pretrained(name, config=config, use_safetensors=True, **options, **trust)
        else:
            model = random_model(entry.model_class, config, **options, **trust)
    except (OSError, ValueError) as error:
        raise UsageError(f"{sanitize(entry.source)}: {first_line(error, 300)}") from None
    model = model.to(identity.device).eval()
    tokens = entry.tokens(settings, identity.length) if entry.inputs == "tokens" or entry.family != "custom" else None
    return with_inputs(entry.inputs, model, identity, tokens)
