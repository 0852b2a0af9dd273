# Needs python3 >= 3.11 and make; everything else goes into .venv.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
EXTRAS := server,creds,cli,http,mcp,llm,otel,testing
PYTEST := $(BIN)/pytest
# What to hand on: make test ARGS="-k journal", make bench ARGS="--missions 1000"
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup check format-check lint types imports spelling format test unit integration e2e docker coverage demo bench docs clean

help:  ## say what there is
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## install everything into .venv, from the lock

# Never asks uv to remove what is not locked: pip and uv itself live there.
$(READY): pyproject.toml uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed: make PYTHON=python3.13 $(MAKECMDGOALS)" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --upgrade pip uv
	@$(BIN)/uv sync --quiet --locked --all-extras --inexact --python $(BIN)/python \
	  || { echo "uv could not install from the lock; pip tries without it" >&2; \
	       $(BIN)/python -m pip install --quiet --editable '.[$(EXTRAS)]' --group dev; }
	@touch $@

check: format-check lint types imports spelling  ## formatting, ruff, mypy, import-linter, codespell

format-check: $(READY)
	$(BIN)/ruff format --check .

lint: $(READY)
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy

imports: $(READY)
	$(BIN)/lint-imports

spelling: $(READY)
	$(BIN)/codespell

format: $(READY)  ## mend formatting and what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: $(READY)  ## all tests that need no Docker
	$(PYTEST) -m "not docker" $(ARGS)

unit: $(READY)  ## tests without a server: seconds
	$(PYTEST) -m "not integration and not e2e and not docker" $(ARGS)

integration: $(READY)  ## tests against a real nats-server each
	$(PYTEST) -m integration $(ARGS)

e2e: $(READY)  ## tests with whole processes, which they kill
	$(PYTEST) -m e2e $(ARGS)

docker: $(READY)  ## tests with containers; skipped, saying so, where there is no Docker
	$(PYTEST) -m docker $(ARGS)

coverage: $(READY)  ## the tests again, with branch coverage; the contracts must reach 95 %
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -m "not docker" $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report
	$(BIN)/coverage report --include 'contracts/*' --fail-under 95

demo: $(READY)  ## the whole stack, sample chats, and what became of them
	$(BIN)/missions demo $(ARGS)

bench: $(READY)  ## the figures: beside a hand-written floor, the whiteboard, leaks
	$(BIN)/python -m benchmarks $(ARGS)

docs: $(READY)  ## write what is generated: the JSON Schemas, AsyncAPI, and pages of docs/
	$(BIN)/python -m contracts.schema_export
	$(BIN)/python -m contracts.asyncapi
	$(BIN)/python docs/generate.py

clean:  ## remove .venv, caches and what was built
	rm -rf .venv build dist .coverage .coverage.* htmlcov .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
