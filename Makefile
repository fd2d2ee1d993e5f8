# The commands of the project. The first one sets up .venv from constraints.txt; the machine needs only Python 3.11, git and make.  `make PYTHON=/path/to/python3.11 ...` takes another interpreter.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_TEST := $(VENV)/.ready-test
READY_DOCS := $(VENV)/.ready-docs
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help evolve evolve-small data base-model test lint docs ui doctor repro test-fast
.DEFAULT_GOAL := help

help:  ## List the commands
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):[^#]*## */\1\t/' | expand -t 16

$(READY): constraints.txt pyproject.toml scripts/install.py
	@echo "setting up $(VENV) (some minutes the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python scripts/install.py .
	@touch $@

$(READY_TEST): $(READY)
	@echo "adding the tools of the tests to $(VENV)"
	@$(BIN)/python scripts/install.py '.[dev]'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps guidance==0.3.1  # tests read its chat templates as text
	@touch $@

$(READY_DOCS): $(READY)
	@echo "adding the tools of the documentation to $(VENV)"
	@$(BIN)/python scripts/install.py '.[docs]'
	@touch $@

evolve: $(READY)  ## The main job: BC-Base, M iterations, BC-Large, and the final table
	@$(BIN)/agentevol evolve

evolve-small: $(READY)  ## The main job with one iteration on a part of the instructions, in a few minutes
	@$(BIN)/agentevol evolve --params params-small.yaml

repro: $(READY)  ## The main job as a DVC pipeline
	@$(BIN)/dvc repro

data: $(READY)  ## Verify data/ or rebuild it byte for byte, and record it in DVC
	@$(BIN)/agentevol collect
	@$(BIN)/dvc add --quiet data

base-model: $(READY)  ## Rebuild the embedded base model: hours on two cores, minutes on a GPU; continues after a kill
	@$(BIN)/agentevol pretrain

ui: $(READY)  ## Serve MLflow's pages, on this machine only
	@$(BIN)/agentevol ui

doctor: $(READY)  ## Check the installation
	@$(BIN)/agentevol doctor

lint: $(READY_TEST)  ## Style, types and import layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/mypy

docs: $(READY_DOCS)  ## The documentation as a site in build/docs; warnings are errors
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "documentation: build/docs/index.html"

test: lint  ## Lint and all tests
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-fast: $(READY_TEST)  ## The tests that take less than a second or two each, for the inner loop
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"
