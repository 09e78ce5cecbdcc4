# Set-up, demo and gates. `make demo` needs nothing but python3, make and a C++ compiler; the tests need clang too.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check
# Linux wheels of PyTorch from PyPI bring gigabytes of CUDA; where this index cannot be reached, they still do.
TORCH_INDEX := --extra-index-url https://download.pytorch.org/whl/cpu --retries 1 --timeout 30

.PHONY: demo eval test check proto format clean

demo: $(INSTALLED)
	@$(BIN)/jangtq-coord demo

# The demo model's held-out questions through two workers, a coordinator and HTTP; EVAL=--share=0.1 asks a tenth.
eval: $(INSTALLED)
	@$(BIN)/python -m jangtq_demo.evaluate $(EVAL)

test: $(READY)
	$(BIN)/python -m pytest -q -n auto

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	PATH="$(abspath $(BIN)):$$PATH" sh proto/generate.sh --check

proto: $(READY)
	PATH="$(abspath $(BIN)):$$PATH" sh proto/generate.sh

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .demo

$(INSTALLED): pyproject.toml constraints.txt hatch_build.py kernels/jangtq_kernels/source_digest.py $(wildcard */*/native/*)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "jangtq-cluster needs Python 3.11 or newer, this is " + sys.version.split()[0] + " (choose another with make PYTHON=...)")'
	@echo "Creating $(VENV) and installing (less than a minute the first time)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) "pip>=25.1"
	@$(PIP) -c constraints.txt -e .
	@touch $@

$(READY): $(INSTALLED)
	@echo "Installing what the tests need (about a minute the first time)"
	@$(PIP) -c constraints.txt $(TORCH_INDEX) --no-deps torch
	@$(PIP) -c constraints.txt --group dev --group proto
	@touch $@
