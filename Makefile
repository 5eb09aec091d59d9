# Everything goes through `make install`: a virtual environment with what requirements.lock pins.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input
STAMP  := $(VENV)/.installed

.PHONY: help install demo test lint format types lock clean

help: ## show this
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

install: $(STAMP) ## make .venv and install everything, pinned

# The stamp comes last, so that an interrupted install is done again. setuptools is pinned too, hence no isolation.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tracekit needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV): a minute, or more where the registry's torch is the CUDA build"
	$(PIP) -r requirements.lock
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $(STAMP)

demo: install ## collect BERT and Longformer (2 layers) from 128 to 2,048 tokens and report
	$(BIN)/tracekit collect --model bert --model longformer --set num_hidden_layers=2 --lengths 128:2048 --out demo/traces
	$(BIN)/tracekit report demo/traces --html demo/report.html

test: install ## run the whole test suite
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: install ## ruff, format check, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: install ## mypy, strict
	$(BIN)/mypy

format: install ## format the code
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

lock: ## resolve requirements.lock anew from pyproject.toml, in a scratch environment
	.ci/lock $(PYTHON)

clean: ## remove the environment and what the tools left behind
	rm -rf $(VENV) demo build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
