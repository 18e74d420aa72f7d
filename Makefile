# Everything here needs python3 (3.11 or newer) with its venv module, and the package index, nothing else.
# Only `make lock` needs more: it fetches uv into the environment itself.
.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench chaos lock format
SHELL := /bin/sh

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
RUN_IN_PARALLEL ?= -n 2 --dist loadfile

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv from the lock file

$(STAMP): requirements-dev.lock setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "This needs Python 3.11 or newer: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
		{ echo "python3 has no venv module here. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(STAMP) ## Start everything, download a film from a stand-in, show the file
	$(BIN)/python -m tests.demo demo-output

test: $(STAMP) ## Run every test on real servers, then the storm
	$(BIN)/python -m pytest $(RUN_IN_PARALLEL)
	$(BIN)/python -m tests.chaos --seed 1

check: $(STAMP) ## Lint, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## Bring the code into form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP) ## Measure every figure
	$(BIN)/python -m bench

chaos: $(STAMP) ## The storm: three minutes of faults by another seed each time (SEED=n repeats one)
	$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED))

lock: $(STAMP) ## Pin the newest versions that setup.cfg allows
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	sh .ci/lock $(BIN)/uv
