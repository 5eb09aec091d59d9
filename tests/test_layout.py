"""The layout: every package is listed and linked, and what is installed is `tracekit` and nothing beside it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

LINKS = ("collect", "analyze", "reports")
FOLDERS = ("tracekit", *LINKS)


def in_folder(root: Path, top: str) -> set[Path]:
    """The files of one top-level folder relative to `root`, those behind links and caches left out."""
    found = set()
    for folder, folders, files in os.walk(root / top):  # does not follow links
        folders[:] = [name for name in folders if name != "__pycache__"]
        found |= {(Path(folder) / name).relative_to(root) for name in files}
    return found


def installed_path(path: Path) -> str:
    return path.as_posix() if path.parts[0] == "tracekit" else f"tracekit/{path.as_posix()}"


def test_every_package_is_listed(root: Path) -> None:
    inits = [path for top in FOLDERS for path in in_folder(root, top) if path.name == "__init__.py"]
    found = {installed_path(path.parent).replace("/", ".") for path in inits}
    assert found == set(tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])


@pytest.mark.parametrize("name", LINKS)
def test_links_point_to_the_top(root: Path, name: str) -> None:
    link = root / "tracekit" / name
    assert link.is_symlink(), f"tracekit/{name} must be a link to ../{name}"
    assert link.readlink() == Path("..") / name
    assert link.resolve() == root / name


def test_the_lock_pins_every_requirement(root: Path) -> None:
    lines = [line for line in (root / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    assert all(line.count("==") == 1 and " " not in line for line in lines), "names and versions only"
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in lines}
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    wanted = {
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    }
    names = {name.partition(">")[0].partition("[")[0].lower() for name in wanted}
    assert names - {"torch-tracekit"} <= pinned
    assert "torch==2.13.0" in lines  # no +cpu: that build is not where everyone looks


@pytest.fixture(scope="module")
def distributions(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel, built from a copy: a build leaves things in its tree."""
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
    for name in FOLDERS:
        shutil.copytree(root / name, tree / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, tree)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(tree)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return out


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_ours_once_and_nothing_else(root: Path, distributions: Path) -> None:
    with zipfile.ZipFile(next(distributions.glob("*.whl"))) as wheel:
        names = wheel.namelist()
    ours = sorted(name for name in names if ".dist-info/" not in name)
    assert ours == sorted(installed_path(path) for top in FOLDERS for path in in_folder(root, top))


@pytest.mark.slow
def test_the_sdist_holds_every_file_of_ours_once(root: Path, distributions: Path) -> None:
    with tarfile.open(next(distributions.glob("*.tar.gz"))) as sdist:
        members = [member for member in sdist.getmembers() if not member.isdir()]
    names = [member.name.partition("/")[2] for member in members]
    ours = sorted(name for name in names if name.split("/")[0] in FOLDERS)
    assert ours == sorted(path.as_posix() for top in FOLDERS for path in in_folder(root, top))
    assert all(member.isfile() for member in members)
    assert {"pyproject.toml", "README.md", "LICENSE"} <= set(names)


@pytest.mark.slow
def test_the_wheel_works_away_from_the_checkout(distributions: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    with zipfile.ZipFile(next(distributions.glob("*.whl"))) as wheel:
        wheel.extractall(site)
    code = (
        "import tracekit.cli, tracekit.collect.models, tracekit.analyze.load, tracekit.reports.page as page\n"
        "page.environment().get_template('open.html.j2'); page.static('vega.min.js')\n"
        "print(*(m.__file__ for n, m in sys.modules.items() if n.split('.')[0] == 'tracekit'), sep='\\n')"
    )
    code = f"import sys; sys.path.insert(0, {str(site)!r})\n{code}"  # before the editable install of the tests
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(Path(line).is_relative_to(site) for line in done.stdout.splitlines()), done.stdout
