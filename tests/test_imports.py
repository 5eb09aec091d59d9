"""What an import costs and which way imports run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import tracekit

HEAVY = ("torch", "transformers", "hta", "pandas", "altair", "polars", "numpy", "pyarrow", "jinja2", "ray")


def loaded(code: str) -> set[str]:
    script = f"import sys\ntry:\n    {code}\nexcept SystemExit: pass\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stderr.split()}


@pytest.mark.parametrize(
    "words", [["--help"], ["report", "--help"], ["collect", "--help"], ["open", "--help"], ["models", "--help"]]
)
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    assert loaded(f"from tracekit.cli import main; main({words!r})") & set(HEAVY) == set()


def test_version_and_models_load_no_torch() -> None:
    for words in (["--version"], ["models", "--json"]):
        assert not {"torch", "transformers"} & loaded(f"from tracekit.cli import main; main({words!r})")


def test_import_tracekit_loads_the_standard_library_only() -> None:
    assert loaded("import tracekit") - loaded("pass") <= {"tracekit", *sys.stdlib_module_names}


def test_analysis_loads_no_torch_and_terminal_no_altair() -> None:
    assert not {"torch", "transformers", "altair", "pandas"} & loaded(
        "import tracekit.analyze.study, tracekit.reports.terminal"
    )


def test_every_public_name_resolves() -> None:
    for name in tracekit.__all__:
        assert getattr(tracekit, name) is not None
    assert not {"collect", "analyze", "reports"} & set(
        tracekit.__all__
    )  # importing the subpackage would overwrite them


def test_import_directions(root: Path) -> None:
    """The contracts in pyproject.toml."""
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
