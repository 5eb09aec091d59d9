"""What a worker does: the commands of one point, in the process that holds its model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import torch

from tracekit.errors import UsageError
from tracekit.points import Calibration, Identity, Point, Sample, Trial
from tracekit.safety import sanitize

from . import device, environment, models
from .annotate import annotate
from .measure import Calibrator, timed, turn
from .memory import peak_memory
from .models.build import Built, check_overrides
from .profile import run_profiled, write_point
from .throughput import TRIAL_SAMPLES

_ROOM = 0.8  # of the available memory that a larger batch may be expected to take


class Session:
    """One model at one length. Every public method is a command; `prepare` comes before those that run the model."""

    built: Built

    def __init__(self, identity: Identity, seed: int) -> None:
        torch.set_num_threads(identity.threads)
        self.identity = identity
        self.entry = models.get(identity.architecture)
        self._seed = seed
        self._calibrator: Calibrator | None = None
        self._resident_built = 0  # peak bytes of this process once the model was built, and after its first step
        self._resident_stepped: int | None = None

    def check(self) -> None:
        """Raise UsageError for what can be told without a model: unknown overrides, a device that is not there."""
        check_overrides(self.entry, self.identity.overrides)
        if not device.available(self.identity.device):
            raise UsageError(f"torch {torch.__version__} has no device '{sanitize(self.identity.device)}' here")

    def prepare(self) -> dict[str, Any]:
        """Build the model, run one step, and return what the point can say of itself."""
        self.built = self.entry.build()(self.entry, self.identity, self._seed)
        self._resident_built = environment.resident_peak_bytes() or 0
        self.step()
        self._resident_stepped = environment.resident_peak_bytes()
        model = self.built.model
        return {
            "model_class": type(model).__name__,
            "parameters": sum(p.numel() for p in model.parameters()),
            "config": _plain_config(model),
            "tokens": self.built.tokens,
            "environment": {"threads_pinned": environment.pinned(), **device.facts(self.identity.device)},
            "versions": {"torch": str(torch.__version__)},
        }

    def step(self, inputs: dict[str, torch.Tensor] | None = None) -> object:
        """One forward of the batch, or of `inputs`, without gradients."""
        with torch.inference_mode():
            return self.built.model(**(inputs or self.built.inputs))

    def latency(self, sweep: str, number: int, most: int) -> tuple[Calibration, list[Sample]]:
        """This model's turn in the round `number` of `sweep`: the calibration, then the samples."""
        if self._calibrator is None:
            self._calibrator = Calibrator(self.identity.device)
        calibration = self._calibrator.measure(number)
        return calibration, turn(self.step, self.identity.device, sweep, number, most)

    def trial(self, batch: int) -> Trial:
        """Step times of another batch size. Raises MemoryError where it is not expected to fit."""
        growth = ((self._resident_stepped or 0) - self._resident_built) / self.identity.batch
        room = environment.available_bytes()
        if self.identity.device == "cpu" and room is not None and growth * batch > _ROOM * room:
            raise MemoryError(f"a batch of {batch} is expected to need about {growth * batch / 1e9:.1f} GB")
        inputs = {name: tensor[:1].repeat_interleave(batch, 0) for name, tensor in self.built.inputs.items()}
        self.step(inputs)
        samples = [timed(lambda: self.step(inputs), self.identity.device).wall_ns for _ in range(TRIAL_SAMPLES)]
        return Trial(batch=batch, samples_ns=samples)

    def profile(self, point: Point, steps: int, target: str) -> None:
        """Profile the annotated model and write the point's file."""
        path = Path(target)
        where = self.identity.device
        device.reset_peak(where)
        with annotate(self.built.model, self.identity.annotate):
            exported, profile = run_profiled(self.step, where, steps, path.parent, path.name)
        try:
            memory = peak_memory(exported, where, self.built, self._resident_stepped)
            done = msgspec.structs.replace(point, profile=profile, memory=memory)
        except BaseException:
            exported.unlink(missing_ok=True)
            raise
        write_point(exported, done, path)


def _plain_config(model: torch.nn.Module) -> dict[str, Any]:
    """The model's config as plain JSON; what JSON has no type for is shown as text."""
    config = getattr(model, "config", None)
    plain = msgspec.json.encode(config.to_dict() if config is not None else {}, enc_hook=str)
    decoded: dict[str, Any] = msgspec.json.decode(plain)
    return decoded
