# Every target makes its own virtual environment first; nothing else needs to be set up.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test check format bench paper chaos clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(VENV)/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: $(VENV)/.installed  ## three emulated boards keep two promises, and lose one board
	@$(BIN)/equipoise demo

check: $(VENV)/.installed  ## format, lint, types, direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -q tests/test_imports.py

test: check  ## check, then every test
	$(BIN)/pytest -q

format: $(VENV)/.installed  ## put the source into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.installed  ## run every benchmark; figures go to out/
	@mkdir -p out
	@for bench in benchmarks/bench_*.py; do echo "== $$bench"; PYTHONPATH=. $(BIN)/python $$bench || exit 1; done

paper: $(VENV)/.installed  ## the paper's evaluation: every figure of the laboratory, as a page in out/paper
	$(BIN)/equipoise lab paper --out out/paper

chaos: $(VENV)/.installed  ## as root: 200 requests on four hosts under faults; what was found goes to out/chaos
	$(BIN)/python -m benchmarks.chaos --out out/chaos

clean:  ## remove what the targets above made
	rm -rf $(VENV) out dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
