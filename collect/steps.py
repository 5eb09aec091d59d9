"""What one step of a mode is: a forward; a training step; one token against a cache of all the others.

A step takes `phase`, a function from a phase's name to a context manager, which names its parts when it is profiled.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, Protocol

import torch
from torch.profiler import record_function

from tracekit.components import PHASE_RANGE, Range
from tracekit.errors import UsageError
from tracekit.safety import sanitize

from .models.build import Built, tensor_bytes, tensors_in

OPTIMIZERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "adafactor": torch.optim.Adafactor,
}
_LEARNING_RATE = 1e-5
_CACHES = ("past_key_values", "cache_params", "state")  # what a decoder calls what it remembers
_LOSS = Range("loss", "", "fn:mean_square").name

Phase = Callable[[str], AbstractContextManager[Any]]


def unnamed(_phase: str) -> AbstractContextManager[None]:
    """Phases of a step that nobody profiles."""
    return nullcontext()


def named(phase: str) -> AbstractContextManager[Any]:
    """Phases as ranges of the profiler."""
    return record_function(Range(PHASE_RANGE, "", phase).name)


class Step(Protocol):
    """One step of a mode."""

    def __call__(self, phase: Phase) -> None:
        """Run it, each of its phases within `phase(name)`."""

    @property
    def held_bytes(self) -> int:
        """What it keeps in memory from step to step, beside parameters and inputs."""


def make_step(built: Built, mode: str, optimizer: str) -> Step:
    """The step of a mode for a model and its inputs. Raises UsageError where the model has no such mode."""
    if mode == "training":
        return Training(built, optimizer)
    return Decoding(built) if mode == "decode" else Inference(built)


class Inference:
    """One forward without gradients; of a decoder, what `generate` does first: logits of the last token alone."""

    def __init__(self, built: Built) -> None:
        self.built = built
        self._options = last_logits(built.model)

    def __call__(self, phase: Phase) -> None:
        """Run it."""
        with phase("forward"), torch.inference_mode():
            self.built(**self._options)

    @property
    def held_bytes(self) -> int:
        """Nothing."""
        return 0


class Training:
    """Forward, loss, backward and a step of the optimizer, in train mode with the config's own dropout.

    The loss is the model's own where its inputs hold labels, else the mean square of its first output: the cheapest
    loss that sends a gradient everywhere.
    """

    def __init__(self, built: Built, optimizer: str) -> None:
        self.built = built
        built.model.train()
        trained = [p for p in built.model.parameters() if p.requires_grad]
        if not trained:
            raise UsageError("the model has no parameter to train")
        self._optimizer = OPTIMIZERS[optimizer](trained, lr=_LEARNING_RATE)

    def __call__(self, phase: Phase) -> None:
        """Run it."""
        with phase("forward"):
            loss = loss_of(self.built())
        with phase("backward"):
            loss.backward()  # type: ignore[no-untyped-call]
        with phase("optimizer"):
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)

    @property
    def held_bytes(self) -> int:
        """The optimizer's state, once it has made a step."""
        return tensor_bytes([self._optimizer.state])


class Decoding:
    """One token against a cache of all the inputs' tokens.

    Transformers' caches grow by concatenation, so that putting back what they held before a step makes the next step
    see the same length. A recurrent state has no length; it goes on.
    """

    def __init__(self, built: Built) -> None:
        self.built = built
        self.prefill = Inference(built)
        options = {"use_cache": True, **last_logits(built.model)}
        _check_decoder(built)
        with torch.inference_mode():
            output = built(**options)
        name = next((name for name in _CACHES if getattr(output, name, None) is not None), None)
        if name is None:
            raise UsageError(f"{_kind(built)} keeps no cache: it cannot decode token by token")
        self._cache = getattr(output, name)
        self._held = [dict(vars(layer)) for layer in getattr(self._cache, "layers", ())]
        token = built.inputs["input_ids"][:, -1:]
        self._inputs = {"input_ids": token, name: self._cache, **options}
        before = self._length()
        self(unnamed)
        if self._length() != before:
            raise UsageError(f"{_kind(built)}'s cache grows with each token and cannot be put back")

    def _length(self) -> int:
        """Positions that the cache holds; 0 for a recurrent state, which has none."""
        with suppress(AttributeError, ValueError):  # no cache of transformers, or one of recurrent layers alone
            return int(self._cache.get_seq_length())
        return 0

    def __call__(self, phase: Phase) -> None:
        """Run it."""
        with phase("forward"), torch.inference_mode():
            self.built.run(**self._inputs)
        for layer, held in zip(getattr(self._cache, "layers", ()), self._held, strict=True):
            vars(layer).update(held)

    @property
    def held_bytes(self) -> int:
        """The cache."""
        return tensor_bytes([self._held or self._cache])


def _check_decoder(built: Built) -> None:
    """Raise UsageError for a model that is none, or whose inputs hold no tokens by name."""
    if getattr(getattr(built.model, "config", None), "is_encoder_decoder", False):
        raise UsageError(f"{_kind(built)} has an encoder too: a token of its decoder alone cannot be measured here yet")
    parameters = inspect.signature(built.model.forward).parameters.values()
    takes = any(one.name == "use_cache" or one.kind is one.VAR_KEYWORD for one in parameters)
    if "input_ids" not in built.inputs or not takes:
        raise UsageError(
            f"{_kind(built)} cannot decode: that takes input_ids and use_cache, as decoders of transformers do"
        )


def _kind(built: Built) -> str:
    return sanitize(type(built.model).__name__)


def last_logits(model: torch.nn.Module) -> dict[str, Any]:
    """The option that spares a decoder the logits of all tokens but the last, where it has one."""
    return {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}


def loss_of(output: Any) -> torch.Tensor:
    """The loss in a model's output, else the mean square of its first floating-point tensor."""
    loss = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    if isinstance(loss, torch.Tensor):
        return loss
    first = next((tensor for tensor in tensors_in(output) if tensor.requires_grad), None)
    if first is None:
        raise UsageError(
            f"nothing to train: the output ({sanitize(type(output).__name__)}) holds no tensor with a gradient"
        )
    with record_function(_LOSS):
        return first.float().square().mean()
