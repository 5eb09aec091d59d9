"""What a worker does: the commands of one point, in the process that holds its model."""

from __future__ import annotations

import time
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import torch

from tracekit.errors import UsageError
from tracekit.points import Identity, Point, Trial
from tracekit.safety import sanitize

from . import device, environment, models
from .annotate import annotate
from .attention import backend_calls
from .measure import Calibrator, around, timed, turn
from .memory import peak_memory
from .models import custom
from .models.build import Built, attention_of, check_overrides
from .models.entry import ModelEntry
from .prepare import checkpoint, compiled, notes_of
from .profile import run_profiled, write_point
from .steps import Decoding, Step, make_step, named, unnamed
from .throughput import TRIAL_SAMPLES

_ROOM = 0.8  # of the available memory that a larger batch may be expected to take


class Session:
    """One model at one length. Every public method is a command; `prepare` comes before those that run the model."""

    built: Built
    _step: Step

    def __init__(self, identity: Identity, seed: int) -> None:
        torch.set_num_threads(identity.threads)
        self.identity = identity
        self._seed = seed
        self._calibrator: Calibrator | None = None
        self._resident_stepped: int | None = None  # peak bytes of this process after its first step
        self._resident_tried: dict[int, int] = {}  # and after a trial of each batch

    @cached_property
    def entry(self) -> ModelEntry:
        """The model's entry; one that is not registered is described here."""
        spec = custom.without_digest(self.identity.architecture)
        if custom.is_custom(spec):
            models.add(spec, models.described(spec, self.describe(), self.identity.pretrained))
        return models.get(spec)

    def describe(self) -> dict[str, Any]:
        """What a model that is not registered says of itself. Raises UsageError where it cannot be found."""
        from .models import factory, hub

        planned = self.identity.architecture
        spec = custom.without_digest(planned)
        name = custom.hub_name(spec)
        said = factory.describe(spec) if name is None else hub.describe(name, self.identity.trust_remote_code)
        if planned not in (spec, f"{spec}@{said['digest']}"):
            raise UsageError(f"{sanitize(spec)} changed since the sweep was planned: run it again")
        return said

    def check(self) -> None:
        """Raise UsageError for what can be told without a model: unknown overrides, a device that is not there."""
        check_overrides(self.entry, self.identity.overrides)
        if not device.available(self.identity.device):
            raise UsageError(f"torch {torch.__version__} has no device '{sanitize(self.identity.device)}' here")

    def prepare(self) -> dict[str, Any]:
        """Build the model, run one step, and return what the point can say of itself.

        Raises UsageError where the model does not do what the point is named after.
        """
        identity = self.identity
        self.built = self.entry.build()(self.entry, identity, self._seed)
        if identity.checkpointing:
            checkpoint(self.built.model)
        with backend_calls(self.built.model) as calls:
            first_step_s = self._first_step()
        asked = identity.attention
        unasked = ("eager", custom.OWN) if self.entry.architecture else (custom.OWN,)  # what a model has by itself
        if asked not in unasked and not calls[attention_of(asked)]:
            own = unasked[0]
            raise UsageError(f"{self.entry.name} never called '{sanitize(asked)}': it has its own, --attention {own}")
        if identity.compile != "none":
            self.built = compiled(self.built, identity.compile)
            first_step_s = self._first_step()
        if identity.isolation == "process":  # else others' memory is in it
            self._resident_stepped = environment.resident_peak_bytes()
        return {
            "model_class": type(self.built.model).__name__,
            "parameters": sum(p.numel() for p in self.built.model.parameters()),
            "config": _plain_config(self.built.model),
            "tokens": self.built.tokens,
            "notes": [*self.entry.notes(identity.attention, identity.device), *notes_of(self.built, identity)],
            "first_step_s": first_step_s,
            "environment": {"threads_pinned": environment.pinned(), **device.facts(identity.device)},
            "versions": {"torch": str(torch.__version__)},
        }

    def _first_step(self) -> float:
        """Make the step and run it once; seconds it took."""
        self._step = make_step(self.built, self.identity.mode, self.identity.optimizer)
        begun = time.perf_counter()
        self.step()
        return time.perf_counter() - begun

    def step(self) -> None:
        """One step of the batch, its phases unnamed."""
        self._step(unnamed)

    def latency(self, sweep: str, number: int, most: int) -> dict[str, Any]:
        """This model's turn in the round `number` of `sweep`: the samples, and the fixed work before and after them.

        In decode mode there is a sample of the time to the first token too.
        """
        if self._calibrator is None:
            self._calibrator = Calibrator(self.identity.device)
        where = self.identity.device
        before = self._calibrator.measure(number)
        samples = turn(self.step, where, sweep, number, most)
        turned: dict[str, Any] = {
            "calibration": [around(before, self._calibrator.measure(number))],
            "samples": samples,
        }
        if isinstance(self._step, Decoding):
            prefill = self._step.prefill
            turned["first_token"] = turn(lambda: prefill(unnamed), where, sweep, number, 1)
        return turned

    def trial(self, batch: int) -> Trial:
        """Step times of another batch size. Raises MemoryError where it is not expected to fit."""
        self._refuse_batch(batch)
        step = make_step(self.built.of_batch(batch), self.identity.mode, self.identity.optimizer)
        step(unnamed)
        self._resident_tried[batch] = environment.resident_peak_bytes() or 0
        samples = [timed(lambda: step(unnamed), self.identity.device).wall_ns for _ in range(TRIAL_SAMPLES)]
        return Trial(batch=batch, samples_ns=samples)

    def _refuse_batch(self, batch: int) -> None:
        """Raise MemoryError where memory, as it grew from one batch to the next, would not suffice for this one."""
        room = environment.available_bytes()
        if self.identity.device != "cpu" or room is None or len(self._resident_tried) < 2:
            return
        (small, less), (large, more) = sorted(self._resident_tried.items())[-2:]
        needed = (more - less) / (large - small) * (batch - large)
        if needed > _ROOM * room:
            raise MemoryError(f"a batch of {batch} is expected to need {needed / 1e9:.1f} GB more")

    def profile(self, point: Point, steps: int, target: str, scratch: str) -> None:
        """Profile the annotated model and write the point's file, by way of the folder `scratch` beside it."""
        where = self.identity.device
        device.reset_peak(where)
        with annotate(self.built.model, self.identity.annotate):
            exported, profile = run_profiled(lambda: self._step(named), where, steps, Path(scratch))
        memory = peak_memory(exported, where, self.built, self._step.held_bytes, self._resident_stepped)
        write_point(exported, msgspec.structs.replace(point, profile=profile, memory=memory), Path(target))


def _plain_config(model: torch.nn.Module) -> dict[str, Any]:
    """The model's config as plain JSON; what JSON has no type for is shown as text."""
    config = getattr(model, "config", None)
    plain = msgspec.json.encode(config.to_dict() if config is not None else {}, enc_hook=str)
    decoded: dict[str, Any] = msgspec.json.decode(plain)
    return decoded
