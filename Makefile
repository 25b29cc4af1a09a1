# Everything runs from .venv, which `make setup` makes. Two stamps: `uv pip sync` removes editable installs and
# may need the network, so it runs only when the lock changed; a second `make setup` takes milliseconds.

VENV := .venv
BIN := $(VENV)/bin
SYNCED := $(VENV)/.synced
INSTALLED := $(VENV)/.installed
CLIENT := client/pyproject.toml
EDITABLES := -e . -e ./client
UV := $(BIN)/uv
# uv's own environment variables or settings of the machine must not reach into another environment.
UV_PIP := VIRTUAL_ENV=$(CURDIR)/$(VENV) $(UV) pip

# Where bytecode is not written, each of some hundred processes that the tests start compiles all its modules: 1 s each.
unexport PYTHONDONTWRITEBYTECODE

# Scripts in a virtual environment carry its absolute path: a moved checkout needs a new one.
ifneq ($(shell cat $(VENV)/.made-for 2>/dev/null),$(CURDIR))
MOVED := moved
endif

.DEFAULT_GOAL := setup
.PHONY: setup demo up test unit check bench chaos fuzz audit lock format clean moved

setup: $(INSTALLED)

$(VENV)/.made-for: $(MOVED)
	@python=; for candidate in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do \
	  if $$candidate -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "brim: Python 3.11 or newer, with the venv module, was not found; set PYTHON=/path/to/python3" >&2; exit 1; \
	fi; \
	echo "making $(VENV) with $$($$python --version)"; \
	$$python -m venv --clear $(VENV)
	@printf '%s' "$(CURDIR)" > $@

# uv comes from the lock, by hash; everything else is installed by uv (5 s against 25 s).
$(SYNCED): requirements-dev.lock $(VENV)/.made-for
	@if [ ! -x $(UV) ]; then \
	  sed -n '/^uv==/,/^[^ ]/{/^uv==/p;/^ /p;}' requirements-dev.lock > $(VENV)/uv.lock && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $(VENV)/uv.lock; \
	fi
	@$(UV_PIP) sync --quiet --require-hashes requirements-dev.lock
	@touch $@

$(INSTALLED): pyproject.toml $(CLIENT) $(SYNCED)
	@$(UV_PIP) install --quiet --no-deps --no-build-isolation $(EDITABLES)
	@touch $@

# A few hundred real requests through a rate-limited provider, and a report; ends with 0 only if the promises held.
demo: setup
	@$(BIN)/brim-server up --demo --port 0 --workers 2 -- $(BIN)/python examples/quickstart.py

up: setup
	@$(BIN)/brim-server up $(ARGS)

# In several processes (tests/conftest.py says how many; ARGS="-n 0" for one), the next test to whoever is free.
test: check
	@$(BIN)/pytest -n auto --maxschedchunk 1 $(ARGS)

# What needs no server and no process: seconds, for between two edits.
UNIT := tests/blobs tests/domain tests/providers tests/services tests/chaos/test_history.py
unit: setup
	@$(BIN)/pytest -q $(UNIT) $(ARGS)

check: setup
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports > $(VENV)/lint-imports.log 2>&1 || { cat $(VENV)/lint-imports.log; exit 1; }
	@$(UV_PIP) check --quiet
	@$(BIN)/python .ci/audit.py
	@echo "check: format, lint, types, layers and dependencies are fine"

bench: setup
	@$(BIN)/python -m bench $(ARGS)

# Faults against a running stack, judged from outside: 20 seeded runs and single trials, about an hour. One part:
# make chaos ARGS="runs --seeds 7"; `make test` holds a short form. See docs/faults.md.
chaos: setup
	@$(BIN)/python -m tests.chaos $(ARGS)

# 10,000 cases of our OpenAPI description against a stack of its own: no 5xx; `make test` holds a short form.
fuzz: setup
	@$(BIN)/python -m bench.fuzz $(ARGS)

# Known weaknesses of the locked versions; says so, and ends well, where OSV cannot be reached.
audit: setup
	@$(BIN)/python .ci/audit.py

format: setup
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix .

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist client/dist

# Not part of anything above: it needs the network. Machines with a mirror of their own: LOCK_FLAGS="--index-url …".
lock:
	$(UV_PIP) compile --quiet --universal --generate-hashes --no-header --python-version 3.11 $(LOCK_FLAGS) \
	  pyproject.toml --extra s3 -o requirements.lock
	$(UV_PIP) compile --quiet --universal --generate-hashes --no-header --python-version 3.11 $(LOCK_FLAGS) \
	  pyproject.toml $(CLIENT) --extra embedded --extra s3 --group dev -o requirements-dev.lock
