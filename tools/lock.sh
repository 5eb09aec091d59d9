#!/usr/bin/env sh
# Resolve requirements.lock from pyproject.toml in a scratch environment. Usage: tools/lock.sh [PYTHON]
set -eu
python=${1:-python3}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$python" -m venv "$scratch/venv"
pip="$scratch/venv/bin/python -m pip --disable-pip-version-check"
# torch first and by version: a bare range would pull a CUDA build where only the CPU build is wanted.
$pip install --quiet "torch==2.13.0"
$pip install --quiet ".[dev]" "setuptools>=77" wheel build
{
  echo "# Made by 'make lock' with Python $("$python" -c 'import platform; print(platform.python_version())') on $(uname -s) $(uname -m)."
  echo "# What CI and 'make install' use; the ranges that users get are in pyproject.toml. Without hashes, because torch"
  echo "# has several builds of one version: where the registry's default is the CUDA build, its packages come with it."
  $pip freeze --all --exclude torch-tracekit | grep -v '^pip==' | sed 's/^\(torch==[^+]*\)+.*/\1/'
} > requirements.lock
