"""Models that are not registered: asked in a worker what they are, so that the plan knows before any point is made."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from tracekit.errors import TracekitError
from tracekit.points import Identity
from tracekit.safety import sanitize

from . import models
from .models import custom
from .plan import split_label
from .worker import PointFailedError, Worker


def resolve(
    specs: Iterable[str], *, pretrained: bool = False, trust_remote_code: bool = False, timeout: float = 600.0
) -> None:
    """Register every custom model of a request (see `models.custom`); costs a process each.

    Raises UsageError for a model that is not there or cannot be imported.
    """
    for spec in specs:
        name = split_label(spec)[1]
        if not custom.is_custom(name):
            continue
        unplanned = Identity(model=name, architecture=name, length=1, threads=1)
        identity = msgspec.structs.replace(unplanned, pretrained=pretrained, trust_remote_code=trust_remote_code)
        try:
            with Worker(identity, 0, timeout) as worker:
                said = worker.ask("describe")
        except PointFailedError as failure:
            raise TracekitError(f"{sanitize(name)} cannot be loaded: {failure.reason}") from None
        models.add(name, models.described(name, said, pretrained))
