"""What a worker does: the commands of one point, in the process that holds its model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import torch

from tracekit.points import Calibration, Identity, Point, Sample

from . import device, environment, models
from .annotate import annotated
from .measure import Calibrator, resident_peak_bytes, timed
from .models.build import build
from .profile import peak_memory, run_profiled, write_point


class Session:
    """One model at one length, built when the session begins. Every public method is a command of the worker."""

    def __init__(self, identity: Identity, seed: int) -> None:
        torch.set_num_threads(identity.threads)
        self.identity = identity
        self.seed = seed
        self.entry = models.get(identity.architecture)
        self.built = build(self.entry, identity, seed)
        self._calibrator: Calibrator | None = None

    def step(self) -> object:
        """One forward of the batch, without gradients."""
        with torch.inference_mode():
            return self.built.model(**self.built.inputs)

    def describe(self) -> dict[str, Any]:
        """What the point can say of itself once the model exists."""
        model = self.built.model
        config = getattr(model, "config", None)
        return {
            "family": self.entry.family,
            "modality": self.entry.modality,
            "baseline": self.entry.baseline,
            "source": self.entry.source,
            "model_class": type(model).__name__,
            "parameters": sum(p.numel() for p in model.parameters()),
            "config": msgspec.json.decode(msgspec.json.encode(config.to_dict(), enc_hook=str)) if config else {},
            "tokens": self.built.tokens,
            "seed": self.seed,
            "environment": environment.collect(),
            "versions": environment.versions(),
        }

    def warm_up(self, steps: int = 1) -> Sample:
        """Run `steps` untimed steps and one timed, whose sample tells what a step costs; it is not a measurement."""
        for _ in range(steps):
            self.step()
        return timed(self.step, self.identity.device)

    def latency(self, sweep: str, number: int) -> tuple[Sample, Calibration]:
        """One sample and one calibration: the round `number` of `sweep`."""
        if self._calibrator is None:
            self._calibrator = Calibrator(self.identity.device)
        calibration = self._calibrator.measure(number)
        return timed(self.step, self.identity.device, sweep, number), calibration

    def profile(self, point: Point, steps: int, target: str) -> Point:
        """Profile the annotated model and write the point's file; returns the point as written."""
        path = Path(target)
        where = self.identity.device
        self._calibrator = None
        resident = resident_peak_bytes()
        device.reset_peak(where)
        with annotated(self.built.model, self.identity.annotate):
            exported, profile = run_profiled(self.step, where, steps, path.parent)
        try:
            memory = peak_memory(exported, where, self.built.parameter_bytes, self.built.input_bytes, resident)
            done = msgspec.structs.replace(point, profile=profile, memory=memory)
        except BaseException:
            exported.unlink(missing_ok=True)
            raise
        write_point(exported, done, path)
        return done
