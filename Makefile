# The commands a person and CI both call. Each sets up what it needs first.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Tests at once: many wait more than they work.
AT_ONCE := $(shell expr $$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2) + 2)
STAMP := $(VENV)/.installed
export UV_LINK_MODE := copy

.PHONY: help setup demo test quick check format bench bench-evals bench-gateway docs clean
help:  ## Show the commands.
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP)  ## Install Fairway and what its tests need into .venv, exactly as locked.

$(STAMP): pyproject.toml uv.lock
	@echo "==> setting up $(VENV) from the lock file"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.8'
	@$(BIN)/uv sync --quiet --frozen --all-extras --all-groups --inexact --python $(BIN)/python
	@touch $@

demo: setup  ## Run the main job end to end: promote a good release, catch a bad one.
	@$(BIN)/fairway demo

check: setup  ## Lint, types and import contracts.
	@echo "==> ruff"; $(BIN)/ruff format --check --quiet . && $(BIN)/ruff check --quiet .
	@echo "==> mypy"; $(BIN)/mypy --no-error-summary
	@echo "==> import contracts"; $(BIN)/lint-imports --no-cache

test: check  ## Check, then every test; the end-to-end ones last, as they run whole systems.
	@echo "==> tests"; $(BIN)/pytest -n $(AT_ONCE) --dist loadgroup -q --ignore tests/e2e $(PYTEST_ARGS)
	@echo "==> end-to-end tests"; $(BIN)/pytest -n 4 --dist loadgroup -q tests/e2e $(PYTEST_ARGS)

quick: setup  ## Only the fast tests.
	@$(BIN)/pytest -n auto --dist loadgroup -q -m 'not slow' $(PYTEST_ARGS)

format: setup  ## Rewrite the code in the house format.
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

bench: setup  ## Measure the figures the docs promise, as ratios in one run.
	@$(BIN)/python -m benchmarks

bench-evals: setup  ## Measure evaluations beside promptfoo, Inspect AI and DeepEval; installs each, once.
	@$(BIN)/python -m benchmarks evals

bench-gateway: setup  ## Measure the gateway beside nginx and Envoy; installs Envoy, once.
	@$(BIN)/python -m benchmarks gateway

clean:  ## Remove what the commands above made.
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache bench-results
