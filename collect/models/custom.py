"""The user's own models: `hf:ORG/NAME`, `hf:FOLDER`, `hf:TYPE`, `package.module:factory`, `file.py:factory`.

Needs neither torch nor transformers: what a model says of itself is found out in a worker, by `hub` or
`factory`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tracekit.errors import UsageError
from tracekit.units import length_text

from .entry import ANY_BACKEND, EAGER, MODES, ModelEntry, Settings, encoder_cost

OWN = "own"  # the attention of a model that tells nobody what it is
KINDS = {"tokens": "tokens", "seconds": "waveform", "pixels": "image"}  # of inputs, by unit of length
_HUB = "hf:"
_FACTORY = re.compile(r"(?P<where>.+\.py|[A-Za-z_][\w.]*):(?P<function>[A-Za-z_]\w*)")
_DIGEST = re.compile(r"@[0-9a-f]{8}$")
# Settings that shape weights: with pretrained ones they stay as they are.
_TOKEN_TABLES = ("max_position_embeddings", "n_positions", "max_encoder_position_embeddings")
_TABLES = (*_TOKEN_TABLES, "max_source_positions", "max_length", "image_size", "num_hash_buckets", "axial_pos_shape")


def is_custom(name: str) -> bool:
    """Whether a model is named in one of the ways above."""
    return name.startswith(_HUB) or _FACTORY.fullmatch(without_digest(name)) is not None


def without_digest(name: str) -> str:
    """The model as the user named it: entries of custom models bear a digest of their source, too."""
    return _DIGEST.sub("", name)


def hub_name(spec: str) -> str | None:
    """What follows `hf:`; None for a factory."""
    return spec.removeprefix(_HUB) if spec.startswith(_HUB) else None


def factory_of(spec: str) -> tuple[str, str]:
    """Where a factory is (a file or a module) and its name."""
    match = _FACTORY.fullmatch(spec)
    if match is None:
        raise UsageError(f"{spec}: write package.module:factory or file.py:factory")
    return match["where"], match["function"]


def short_name(spec: str) -> str:
    """What a model is called where the user gives no label: the last part of its name."""
    last = Path(spec.removeprefix(_HUB)).name if spec.startswith(_HUB) else spec.rpartition(":")[2]
    return re.sub(r"[^\w+-]", "-", last)[:60].strip("-") or "model"


def digest(*sources: bytes) -> str:
    """Eight hex digits over what a model was made from."""
    return hashlib.sha256(b"\0".join(sources)).hexdigest()[:8]


def entry_of(spec: str, said: Mapping[str, Any], known: ModelEntry | None, pretrained: bool) -> ModelEntry:
    """The entry of a described model; `known` is the registered one of its architecture, which knows its lengths."""
    name = f"{spec}@{said['digest']}"
    if hub_name(spec) is None:
        return ModelEntry(
            name=name,
            architecture="",
            source=spec,
            attention=(OWN, *ANY_BACKEND) if said["takes_attention"] else (OWN,),
            base={},
            tiny={},
            family="custom",
            modality=said["unit"],
            inputs=KINDS[said["unit"]],
            modes=MODES,
            cost=None,
            builder="tracekit.collect.models.factory:build",
            custom=True,
        )
    config = said["config"]
    model = known or _generic(said)
    return replace(
        model,
        name=name,
        source=spec,
        base=config,
        tiny={},
        baseline=None,
        fit=_fixed(spec, model.fit, config) if pretrained else model.fit,
        builder="tracekit.collect.models.hub:build",
        custom=True,
    )


def _generic(said: Mapping[str, Any]) -> ModelEntry:
    """What can be told of an architecture that is not registered."""
    config = said["config"]
    width = all(isinstance(config.get(key), int) for key in ("hidden_size", "num_hidden_layers"))
    return ModelEntry(
        name=said["model_type"],
        architecture=said["model_type"],
        source="",
        attention=tuple(said["attention"]) or EAGER,
        base=config,
        tiny={},
        family="custom",
        modality=said["inputs"],
        inputs=said["inputs"],
        modes=MODES,
        fit=_raised,
        cost=encoder_cost if width and said["inputs"] == "tokens" else None,
        model_class=said["model_class"],
    )


def _raised(settings: Settings, length: float) -> dict[str, Any]:
    """Position tables of at least `length` rows, and images of the size the model was made for."""
    found: dict[str, Any] = {}
    table = settings.get("max_position_embeddings")
    if isinstance(table, int):
        found["max_position_embeddings"] = max(table, int(length) + 2)
    if isinstance(settings.get("image_size"), int):
        found["image_size"] = int(length)
    return found


def _fixed(
    spec: str, fit: Callable[[Settings, float], dict[str, Any]], config: Settings
) -> Callable[[Settings, float], dict[str, Any]]:
    """As `fit`, but for what pretrained weights have no room for."""

    def fixed(settings: Settings, length: float) -> dict[str, Any]:
        found = fit(settings, length)
        for key in _TABLES:
            if key in found and key in config and found[key] != config[key]:
                if key in _TOKEN_TABLES and length <= config[key]:
                    found.pop(key)  # only reserve, which this model may not need
                    continue
                raise UsageError(
                    f"{spec} cannot take a length of {length_text(length)} with its pretrained weights: they were made"
                    f" for {key} = {config[key]}; without --pretrained it can"
                )
        return found

    return fixed
