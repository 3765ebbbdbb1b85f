# make demo | test | quick | check | bindings | clean. Each makes .venv when it is absent or out of date, and never when it is not.
SHELL := /bin/bash
PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.13 python3.10; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && echo $$p && break; done)
# Python 3.10 is what JetPack 6 has: the core is tested under it where it is installed.
PYTHON310 ?= $(shell for p in python3.10 $$HOME/.pyenv/versions/3.10*/bin/python3.10; do \
	$$p -c 'import venv' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
BIN310 := .venv310/bin
PROJECT := setup.cfg pyproject.toml constraints.txt
INSTALL := pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable

.PHONY: demo test quick test310 bindings check clean

demo: .venv/.installed
	$(BIN)/lineside demo --out demo --force

# What measures has the machine to itself; the rest takes two cores.
test: .venv/.installed bindings test310
	$(BIN)/python -m pytest -n 2 --dist loadfile --ignore tests/benchmarks
	$(BIN)/python -m pytest tests/benchmarks

# What one runs between two edits: the rules of the house and the parts that are computed, without processes, training and stand-ins.
QUICK := tests/test_rooms.py tests/test_repository.py tests/strip tests/graph tests/calibration/ranges \
	tests/engine/files tests/engine/infer tests/engine/qualify tests/engine/device tests/benchmarks/measure/test_stats.py tests/cli/test_help.py \
	tests/cli/test_outputs.py tests/cli/test_infer.py

quick: .venv/.installed
	$(BIN)/python -m pytest -q -n 2 -m "not slow" -x $(QUICK)

test310: $(if $(PYTHON310),.venv310/.installed)
ifneq ($(PYTHON310),)
	$(BIN310)/python -m pytest -n 2 --dist loadfile tests/strip tests/engine tests/cli/test_line_pc.py -m "not slow"
else
	@echo "no python3.10 on this machine: the core is tested under $(PYTHON) alone"
endif

# The real packages that the contract tests look at: 130 MB, installed beside each other and never into .venv.
bindings: .bindings/.installed

.bindings/.installed: tests/contract/lineside_contract/packages.py .venv/.installed
	$(BIN)/python tests/contract/install.py .bindings

# Type checkers and import-linter do not see editable installs: they read a plain copy. Stale files come back, so build/ goes first.
check: .venv/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	rm -rf build
	$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --target build/check .
	MYPYPATH=build/check $(BIN)/mypy --package lineside
	PYTHONPATH=build/check $(BIN)/lint-imports

.venv/.installed: $(PROJECT)
	@test -n "$(PYTHON)" || { echo "lineside needs Python 3.10 to 3.13: none found"; exit 2; }
	$(PYTHON) -m venv .venv
	@echo "installing into .venv (PyTorch brings its CUDA libraries: 5 GB, a few minutes once)"
	$(BIN)/python -m $(INSTALL) ".[dev]"
	@touch $@

.venv310/.installed: $(PROJECT)
	$(PYTHON310) -m venv .venv310
	$(BIN310)/python -m $(INSTALL) ".[onnxruntime]" polygraphy pytest pytest-timeout pytest-xdist
	@touch $@

clean:
	rm -rf .venv .venv310 .bindings build demo *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
