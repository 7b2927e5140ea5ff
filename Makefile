# make demo | test | quick | test-cudasim | fuzz | fuzz-torch | lint | docs | bench | pages | pages-check | clean
#
# Needs python3 (3.11 to 3.13, with venv) and make; everything else is installed into .venv, once.
#   make test PYTEST_ARGS="-k lorenz"      one part of the tests
#   make quick                             the tests of a few seconds: what one runs between commits
#   make test WORKERS=0                    no parallel workers
#   make demo TORCH_PIP_ARGS="--index-url URL"   torch from another index, for instance one of CPU builds

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.NOTPARALLEL:

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= auto
PYTEST_ARGS ?=
DEMO_ARGS ?=
BENCH_ARGS ?=
FUZZ_ARGS ?=
TORCH_PIP_ARGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt

# One numeric thread a process: small networks and small systems get slower, not faster, with more.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1

.PHONY: help demo test quick test-cudasim fuzz fuzz-torch lint docs docs-serve bench pages pages-check clean
help:
	@sed -n '1,7s/^# \{0,1\}//p' Makefile

demo: $(VENV)/.demo
	$(BIN)/stepsmith demo $(DEMO_ARGS)

test: $(VENV)/.test
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(PYTEST_ARGS)

# Without tests marked `slow` or `gpu`: under two minutes once the kernels are compiled.
quick: $(VENV)/.test
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not slow and not gpu" $(PYTEST_ARGS)

# Kernels in Numba's CUDA simulator: the switch holds for a whole process, hence a run of its own.
test-cudasim: $(VENV)/.test
	NUMBA_ENABLE_CUDASIM=1 $(BIN)/python -m pytest tests/cuda_sim tests/faults/test_numbers.py $(PYTEST_ARGS)

# Random right-hand sides against SciPy, 10,000 cases; about half an hour on two cores.
fuzz: $(VENV)/.test
	$(BIN)/python tests/fuzz.py $(FUZZ_ARGS)

# Random solves in torch, stochastic equations, samplers and bad input; --minutes 20 unless FUZZ_ARGS says otherwise.
fuzz-torch: $(VENV)/.test
	$(BIN)/python tests/fuzz_torch.py $(FUZZ_ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/mypy -p stepsmith

# The documentation site, into site/.  A warning (a link or an anchor that leads nowhere, a page in no list) is an error.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

docs-serve: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs serve

# Without benchmarks/peers_*.py, whose compilation and scans of tolerances take long: run them by name.
# numbalsoda has no wheels: it is compiled where there is a Fortran compiler, and left out, with a word, where not.
FC_FOUND := $(shell command -v gfortran)
bench: $(VENV)/.bench $(if $(FC_FOUND),$(VENV)/.bench-fortran)
	@$(if $(FC_FOUND),:,echo "== numbalsoda is left out: no gfortran found")
	@for script in $(sort $(filter-out benchmarks/peers_% benchmarks/pages.py,$(wildcard benchmarks/[a-z]*.py))); do \
	  echo "== $$script"; $(BIN)/python "$$script" $(BENCH_ARGS); \
	done

# Tables and figures of the pages from benchmarks/results/*.json; needs nothing but Python.
pages:
	@$(PYTHON) benchmarks/pages.py

pages-check:
	@$(PYTHON) benchmarks/pages.py --check

clean:
	rm -rf $(VENV) build dist site .cache *.egg-info .pytest_cache .ruff_cache .mypy_cache

$(VENV)/.venv:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else \
	  "stepsmith needs Python 3.11 to 3.13, but $(PYTHON) is %d.%d: make PYTHON=/path/to/python3.12 ..." % v)'
	@echo "== creating $(VENV)"
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.torch: constraints.txt | $(VENV)/.venv
	@echo "== installing torch"
	$(PIP) $(TORCH_PIP_ARGS) "$$(grep '^torch==' constraints.txt)"
	@touch $@

# .demo, .test, .dev, .docs, .bench, .bench-fortran: the extra of that name, and the package itself in editable form
EXTRAS := demo test dev docs bench bench-fortran
$(EXTRAS:%=$(VENV)/.%): $(VENV)/.%: pyproject.toml constraints.txt $(VENV)/.torch
	@echo "== installing stepsmith[$*]"
	$(PIP) -e '.[$*]'
	@touch $@
