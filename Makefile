# TREX: `make` alone lists what there is.

# The first Python there is that is new enough; `make PYTHON=/path/to/python install` takes another.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
WORKERS ?= 3
KILLS ?= 20

.DEFAULT_GOAL := help
.PHONY: help install assets run test test-kill test-engines check bench notebooks studio clean

help:  ## List the commands
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' $(firstword $(MAKEFILE_LIST)) | awk -F'\t' '{ printf "  make %-14s%s\n", $$1, $$2 }'

# The stamp is written last: an installation that was interrupted is taken up again.
$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "TREX needs Python 3.11 or newer: install it, or name one with PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[molecules,metrics,ftbench,llm,studio,dev]'
	@# Type checkers and editors find the package `trex` here, whatever this folder is called.
	mkdir -p $(VENV)/src
	ln -sfn '$(CURDIR)' $(VENV)/src/trex
	touch $(INSTALLED)

install: $(INSTALLED)  ## Make .venv with everything in it

assets: $(INSTALLED)  ## Fetch, verify and convert the embedded model and data
	$(BIN)/trex assets

run: assets  ## Fine-tune the embedded model on `sentiment`, within a quarter of an hour
	$(BIN)/trex run sentiment --budget 14m

test: assets  ## All tests but the slow ones
	$(BIN)/python -m pytest -m 'not slow' -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test-kill: assets  ## Kill real runs at random moments, resume them, compare
	$(BIN)/python -m pytest -m slow

test-engines: assets  ## Tests on Ray, Slurm and PostgreSQL on this machine; KILLS=20 sets the kills
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[ray,slurm,postgres]'
	TREX_TEST_ENGINES=1 TREX_TEST_KILLS=$(KILLS) $(BIN)/python -m pytest tests/engines tests/training/test_launcher_protocol.py

check: $(INSTALLED)  ## Lint and type-check
	$(BIN)/ruff check .
	MYPYPATH=$(VENV)/src $(BIN)/mypy -p trex

bench: assets  ## Measure the loop's own work, the search policies, the intervals and the contamination gate
	$(BIN)/python benchmarks/loop.py
	$(BIN)/python benchmarks/search.py
	$(BIN)/python benchmarks/intervals.py
	$(BIN)/python benchmarks/contamination.py

notebooks: assets  ## Execute the notebooks in place
	for notebook in notebooks/*.ipynb; do $(BIN)/jupyter execute --inplace "$$notebook" || exit 1; done

studio: assets  ## Serve the graph to LangGraph Studio
	$(BIN)/langgraph dev --no-browser

clean:  ## Remove the environment and the caches in this folder; runs and assets stay
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .langgraph_api
