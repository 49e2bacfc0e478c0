# Every target is one obvious thing.  Two are enough on a fresh machine: make demo, make test.
# PYTHON chooses the interpreter the virtual environment is made from; QUICK=1 shortens what has a short form.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
JOBS ?= 2
SCENE ?= demo
FUZZ_SECONDS ?= 60
QUICK_FLAG := $(if $(QUICK),--quick)

# Real captures: tests marked `data` skip where this folder is missing.
export SCENEWISE_DATA ?= $(abspath $(if $(wildcard ../shared/data),../shared/data,data))

.DEFAULT_GOAL := help
.PHONY: help demo test test-gpu lint check bench reproduce golden fuzz docs hooks clean

help:
	@echo "make demo        install into $(VENV) and reconstruct the embedded room"
	@echo "make test        install and run the tests"
	@echo "make check       formatting, lint, types, layers, tests"
	@echo "make bench       speed of the kernels, read-outs, lifting, sparse networks"
	@echo "make reproduce METHOD=gaussian_splatting [QUICK=1]   figures of docs/results/"
	@echo "make golden      regenerate tests/golden/"
	@echo "make fuzz        mutate input files for FUZZ_SECONDS per parser"
	@echo "make docs        build the documentation into site/"
	@echo "make test-gpu    tests that need CUDA"
	@echo "make hooks       run the fast checks before every commit"

# --- installation: a stamp per set of packages, so that a second call costs nothing ---
NATIVE := $(wildcard src/scenewise/kernels/native/*.cpp src/scenewise/kernels/native/*.h)
INSTALL_INPUTS := pyproject.toml $(wildcard build_backend/*.py) $(NATIVE)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-core: $(INSTALL_INPUTS) | $(BIN)/python
	$(PIP) install -e .
	@touch $@

$(VENV)/.installed-dev: $(INSTALL_INPUTS) | $(BIN)/python
	$(PIP) install -e ".[io,sfm,foundation,library,viewer,dev]"
	@touch $@ $(VENV)/.installed-core

$(VENV)/.installed-docs: pyproject.toml | $(VENV)/.installed-core
	$(PIP) install -e ".[docs]"
	@touch $@

$(VENV)/.installed-cuda: $(VENV)/.installed-dev
	$(PIP) install -e ".[io,sfm,foundation,library,viewer,dev,cuda]"
	@touch $@

# --- what a person runs ---
demo: $(VENV)/.installed-core
	$(BIN)/scenewise demo --out $(SCENE) $(QUICK_FLAG)

# One torch thread per worker: two busy thread pools on the same cores cost more than they bring.
# Bytecode is kept even where the environment says otherwise: workers and every command a test starts share it.
test: export PYTHONDONTWRITEBYTECODE :=
test: export OMP_NUM_THREADS := 1
test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

test-gpu: $(VENV)/.installed-cuda
	$(BIN)/python -m pytest -m gpu -rs

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test

bench: $(VENV)/.installed-dev
	$(BIN)/scenewise doctor
	$(BIN)/python benchmarks/splat.py $(QUICK_FLAG)
	$(BIN)/python benchmarks/label_free.py $(QUICK_FLAG)
	$(BIN)/python benchmarks/sparse_conv.py $(QUICK_FLAG)
	$(BIN)/python benchmarks/anchor_decoder.py $(QUICK_FLAG)
	$(BIN)/python benchmarks/march.py $(QUICK_FLAG)
	$(BIN)/python benchmarks/scene_graph.py $(QUICK_FLAG)
	$(BIN)/python benchmarks/scene_library.py $(QUICK_FLAG)

reproduce: $(VENV)/.installed-dev
	@test -n "$(METHOD)" || { echo "say which: make reproduce METHOD=gaussian_splatting"; exit 2; }
	$(BIN)/python -m scenewise.studies $(METHOD) $(QUICK_FLAG)

golden: $(VENV)/.installed-dev
	$(BIN)/python -m tests.golden.regenerate

fuzz: $(VENV)/.installed-dev
	$(BIN)/python -m tests.fuzz.fuzz_parsers --seconds $(FUZZ_SECONDS)

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir site

hooks:
	git config core.hooksPath .githooks

clean:
	rm -rf build site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
