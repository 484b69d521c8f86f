# Everything runs in .venv, made with the standard venv and pip. Another interpreter, another folder:
# make test PYTHON=python3.13 VENV=.venv-3.13
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test test-slow coverage lint types bench docs clean

demo: $(VENV)/installed
	$(BIN)/eagerly demo

test: $(VENV)/test
	$(BIN)/python -m pytest

test-slow: $(VENV)/test
	$(BIN)/python -m pytest -m slow

coverage: $(VENV)/test
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --show-missing --skip-covered

lint: $(VENV)/lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/lint $(VENV)/test
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

bench: $(VENV)/bench
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks cache
	$(BIN)/python -m benchmarks fanout
	$(BIN)/python -m benchmarks runs

docs: $(VENV)/test
	$(BIN)/python docs/generate.py

clean:
	rm -rf $(VENV)

$(VENV)/pip:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	touch $@

$(VENV)/installed: $(VENV)/pip pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/test: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --group test
	touch $@

$(VENV)/lint: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --group lint
	touch $@

$(VENV)/bench: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --group bench
	touch $@
