"""What an import costs and which way imports run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import tracekit
from tracekit.cli import COMMANDS

HEAVY = {"torch", "transformers", "hta", "pandas", "altair", "polars", "numpy", "pyarrow", "jinja2", "ray"}


def loaded(code: str) -> set[str]:
    """The top-level modules present after `code` ran in a fresh process, which must end well."""
    script = f"{code}\nimport sys; print('', *sys.modules, sep='\\n', file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stderr.splitlines()}


def loaded_by_command(*words: str) -> set[str]:
    run = f"from tracekit.cli import main\ntry: code = main({list(words)!r})\nexcept SystemExit as end: code = end.code"
    return loaded(f"{run}\nassert not code, code")


@pytest.mark.parametrize("words", [[], *([command] for command in COMMANDS)], ids=" ".join)
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    assert loaded_by_command(*words, "--help") & HEAVY == set()


@pytest.mark.parametrize("words", [["--version"], ["models", "--json"]], ids=" ".join)
def test_version_and_models_load_no_torch(words: list[str]) -> None:
    assert loaded_by_command(*words) & {"torch", "transformers"} == set()


def test_import_tracekit_loads_the_standard_library_only() -> None:
    assert loaded("import tracekit") - loaded("pass") <= {"tracekit", *sys.stdlib_module_names}


def test_analysis_loads_no_torch_and_terminal_no_altair() -> None:
    assert not {"torch", "transformers", "altair", "pandas"} & loaded(
        "import tracekit.analyze.load, tracekit.reports.terminal"
    )


def test_annotate_needs_the_users_torch_and_nothing_else() -> None:
    pytest.importorskip("torch")
    ranges = "import torch, tracekit\nwith tracekit.annotate(torch.nn.Linear(2, 2)) as _: pass"
    assert not {"transformers", "polars", "numpy"} & (loaded(ranges) - loaded("import torch"))


def test_every_public_name_resolves() -> None:
    for name in tracekit.__all__:
        assert getattr(tracekit, name) is not None
    # importing the subpackage would overwrite them
    assert not {"collect", "analyze", "reports"} & set(tracekit.__all__)


def test_import_directions(root: Path) -> None:
    """The contracts in pyproject.toml."""
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 broken" in done.stdout
