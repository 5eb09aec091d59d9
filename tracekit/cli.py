"""The command line: one parser, one module per command, one place that turns errors into a line and an exit code.

A command module has `SUMMARY`, `EXAMPLES` (two, shown in --help), `configure(parser)` and `run(args) -> exit code`, and
imports its work inside `run`, so that `tracekit --help` stays quick.
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from typing import Any, NoReturn

import tracekit
from tracekit.errors import EXIT_INTERRUPTED, EXIT_USAGE, TracekitError
from tracekit.process import settle
from tracekit.safety import sanitize

COMMANDS = ("collect", "report", "compare", "recommend", "check", "export", "query", "open", "models")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"error: {sanitize(message, None)} (see {self.prog} --help)", file=sys.stderr)
        sys.exit(EXIT_USAGE)


class _Version(argparse.Action):
    """Print our version and those of torch and transformers, without importing them."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib import metadata

        parts = [f"tracekit {tracekit.__version__}"]
        for package in ("torch", "transformers"):
            try:
                parts.append(f"{package} {metadata.version(package)}")
            except metadata.PackageNotFoundError:
                parts.append(f"{package} not installed")
        print(", ".join(parts))
        parser.exit()


def build_parser() -> argparse.ArgumentParser:
    """The whole parser. Command modules are imported (they are light), their work is not."""
    parser = _Parser(prog="tracekit", description=tracekit.__doc__.splitlines()[0])
    parser.add_argument("--version", action=_Version, nargs=0, help="show versions and exit")
    common = _Parser(add_help=False)
    common.add_argument("-q", "--quiet", action="store_true", help="print results and errors only")
    common.add_argument("-v", "--verbose", action="count", default=0, help="say more on stderr (repeat for more)")
    common.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)
    for name in COMMANDS:
        module = import_module(f"tracekit.commands.{name}")
        epilog = "examples:\n" + "\n".join(f"  {example}" for example in module.EXAMPLES)
        sub = commands.add_parser(
            name,
            parents=[common],
            help=module.SUMMARY,
            description=module.SUMMARY,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.configure(sub)
        sub.set_defaults(run=module.run)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code; errors become one line on stderr, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a C locale must not end a report
    settle()
    args = build_parser().parse_args(argv)
    try:
        return int(args.run(args))
    except TracekitError as error:
        return _fail(str(error), error.exit_code)
    except BrokenPipeError:  # `tracekit report | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}", EXIT_USAGE)
    except KeyboardInterrupt:
        return _fail("interrupted", EXIT_INTERRUPTED)


def _fail(message: str, code: int) -> int:
    print(f"error: {sanitize(message, 2000)}", file=sys.stderr)
    return code
