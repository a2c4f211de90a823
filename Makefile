# Every target makes its own set-up; the second time it is a matter of milliseconds.
.DEFAULT_GOAL := help
SHELL := /bin/sh

# The first interpreter on the path that is new enough.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input

.PHONY: help run test check bench docs lock compose-secrets clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 20

run: $(VENV)/.runtime ## start the platform on this machine (Ctrl-C stops it)
	@exec $(BIN)/vedette up

test: check ## everything CI runs: format, lint, types, import contracts, the whole suite
	$(BIN)/pytest --quiet

check: $(VENV)/.development ## format, lint, types and import contracts, without the suite
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.development ## measure the gateway, chexray and the engine against their yardsticks
	$(BIN)/python -m bench.gateway
	$(BIN)/python -m bench.chexray
	$(BIN)/python -m bench.engine
	$(BIN)/python -m bench.fleet
	$(BIN)/python -m bench.serving --quick

docs: $(VENV)/.development ## write docs/reference from the code
	$(BIN)/python -m docs.generate

lock: $(VENV)/.development ## resolve the dependencies anew
	$(PIP) install --quiet uv
	$(BIN)/python deploy/lock.py

compose-secrets: $(VENV)/.runtime ## make the keys and passwords that deploy/compose.yaml needs
	$(BIN)/python -m deploy.prepare

clean: ## remove what the other targets made
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Hashes are checked; the project itself is linked in, so that an edit needs no installation.
define install
@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed and none was found."; exit 1; }
@echo "Installing the packages of $(1) into $(VENV): a minute or two, this once."
@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
@$(PIP) install --quiet --require-hashes --requirement $(1)
@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
endef

$(VENV)/.runtime: requirements.lock pyproject.toml
	$(call install,requirements.lock)
	@touch $@

$(VENV)/.development: requirements-dev.lock pyproject.toml
	$(call install,requirements-dev.lock)
	@touch $(VENV)/.runtime $@
