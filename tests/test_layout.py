"""The layout: every package is listed and linked, and what is installed is `tracekit` and nothing beside it."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

LINKS = ("collect", "analyze", "reports")


def listed(root: Path) -> set[str]:
    settings = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]
    return set(settings["packages"])


def test_every_package_is_listed(root: Path) -> None:
    found = set()
    for top in ("tracekit", *LINKS):
        for init in (root / top).rglob("__init__.py"):
            relative = init.parent.relative_to(root)
            if any((root / part).is_symlink() for part in [*relative.parents, relative]):
                continue
            name = ".".join(relative.parts)
            found.add(name if top == "tracekit" else f"tracekit.{name}")
    assert found == listed(root)


@pytest.mark.parametrize("name", LINKS)
def test_links_point_to_the_top(root: Path, name: str) -> None:
    link = root / "tracekit" / name
    assert link.is_symlink(), f"tracekit/{name} must be a link to ../{name}"
    assert link.readlink() == Path("..") / name
    assert link.resolve() == root / name


@pytest.mark.slow
def test_wheel_and_sdist_hold_each_file_once_and_nothing_else(root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path), str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = wheel.namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"tracekit", "torch_tracekit"}
    assert len(names) == len(set(names))
    expected = {
        "tracekit/py.typed",
        "tracekit/collect/models/text.py",
        "tracekit/reports/templates/report.html.j2",
        "tracekit/reports/templates/open.html.j2",
        "tracekit/reports/static/vega.min.js",
        "tracekit/reports/static/report.css",
        "tracekit/reports/static/LICENSES.txt",
    }
    assert expected <= set(names)
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as sdist:
        members = [member.name.partition("/")[2] for member in sdist.getmembers() if member.isfile()]
    assert {"collect/sweep.py", "analyze/read.py", "reports/static/vega.min.js", "tracekit/cli.py"} <= set(members)
    assert len(members) == len(set(members))
