"""Names of our sliding-window attention: `local:W` (W positions on each side), or `local` (the model's own window).

Needs no torch; the attention itself is in `collect.attention`.
"""

from __future__ import annotations

import re

_NAME = re.compile(r"local(?::([1-9]\d{0,8}))?")


def is_local(name: str) -> bool:
    """Whether a name is one of ours."""
    return _NAME.fullmatch(name) is not None


def window(name: str) -> int | None:
    """The positions seen on each side; None where the model's own window holds. `name` must be one of ours."""
    match = _NAME.fullmatch(name)
    assert match is not None
    return int(match[1]) if match[1] else None
