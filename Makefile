# Everything runs in .venv, made with the standard venv and pip. PYTHON chooses the interpreter: make test PYTHON=python3.13
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-slow coverage lint types bench docs clean

demo: .venv/installed
	$(BIN)/eagerly demo

test: .venv/test
	$(BIN)/python -m pytest

test-slow: .venv/test
	$(BIN)/python -m pytest -m slow

coverage: .venv/test
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --show-missing --skip-covered

lint: .venv/lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: .venv/lint .venv/test
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

bench: .venv/bench
	$(BIN)/python -m benchmarks

docs: .venv/test
	$(BIN)/python docs/generate.py

clean:
	rm -rf .venv

.venv/pip:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	touch $@

.venv/installed: .venv/pip pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/test: .venv/installed
	$(BIN)/python -m pip install --quiet --group test
	touch $@

.venv/lint: .venv/installed
	$(BIN)/python -m pip install --quiet --group lint
	touch $@

.venv/bench: .venv/installed
	$(BIN)/python -m pip install --quiet --group bench
	touch $@
