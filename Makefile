# `make demo` shows it, `make test` proves it. PYTHON=python3.12 chooses another interpreter.
PYTHON ?= python3
export PYTHON
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest

.PHONY: help install dev demo check test test-all clients clients-fast bench lock docs clean

# The clients that `make test` runs; `make test-all` runs all of requirements/clients and the JavaScript one.
CLIENTS := boto3-newest awscli sagemaker-sdk-v2

help: ## What can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# EXTRA=docker adds what the Docker engine needs.
install: ## .venv with the server
	@scripts/install requirements/$(or $(EXTRA),server).txt

dev: ## .venv with the server, the checks and the tests
	@scripts/install requirements/dev.txt

demo: ## From nothing to the whole path, on real input
	@$(PYTHON) demo/run.py

check: dev ## Format, lint, types, layers, budgets (the fast part)
	$(BIN)/ruff format --check src tests bench demo
	$(BIN)/ruff check src tests bench demo
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy
	$(PYTEST) -q tests/architecture tests/docs

test: check clients-fast ## What CI runs
	$(PYTEST) -m "not slow" -n 2 --dist loadgroup

test-all: check clients ## With the long suites
	$(PYTEST) -n 2 --dist loadgroup

clients: clients-fast ## The pinned environments of all clients
	@for file in requirements/clients/*.txt; do scripts/make-environment .clients/$$(basename $$file .txt) $$file || exit 1; done
	@scripts/make-javascript-client .clients/javascript

clients-fast: ## Those of the clients that `make test` runs
	@for name in $(CLIENTS); do scripts/make-environment .clients/$$name requirements/clients/$$name.txt || exit 1; done

bench: dev ## Rates as ratios from one run; raw figures in bench/results
	@scripts/make-environment .bench/peers requirements/bench.txt
	$(BIN)/python -m bench

lock: dev ## Pin the requirements anew
	PATH="$(CURDIR)/$(BIN):$$PATH" scripts/lock

docs: dev ## Write the generated pages
	$(BIN)/python -m scripts.generate_docs

clean: ## Remove everything that was made
	rm -rf $(VENV) .demo .clients .image-environments .mypy_cache .ruff_cache .pytest_cache
