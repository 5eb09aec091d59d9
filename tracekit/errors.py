"""Errors a user can act on: one line each, with the exit code of the command they end."""

from __future__ import annotations

EXIT_OK = 0
EXIT_FAILED = 1  # a gate, a check, or a point that ended in error
EXIT_USAGE = 2  # wrong usage or unusable input
EXIT_INTERRUPTED = 130


class TracekitError(Exception):
    """Something the user can mend: the message says what is wrong, where, and what to do.

    Only `tracekit.cli.main` catches it; it prints one line on stderr and ends with `exit_code`.
    """

    def __init__(self, message: str, *, exit_code: int = EXIT_USAGE) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class UsageError(TracekitError):
    """The command line, or an argument of a library call, cannot be meant."""


class TraceError(TracekitError):
    """A file that is no trace, or one that cannot be read."""


class MissingExtraError(TracekitError):
    """A command needs packages of an optional extra."""

    def __init__(self, extra: str, module: str) -> None:
        super().__init__(f"this needs {module}, which is not installed: pip install 'torch-tracekit[{extra}]'")
