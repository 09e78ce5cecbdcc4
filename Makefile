# Set-up, demo, tests and gates. All targets install what they need from the Python package index; only python3, make and a C++ compiler must be there.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
READY := $(VENV)/.ready
TRAINING := $(VENV)/.training
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check
# Linux wheels of PyTorch from PyPI bring gigabytes of CUDA; where this index cannot be reached, they still do.
TORCH_INDEX := --extra-index-url https://download.pytorch.org/whl/cpu --retries 1 --timeout 30
# pytest-xdist keeps the tests of one shared cluster in one process. Bytecode is kept whatever the environment says:
# else each of some hundred processes compiles every module again.
PYTEST := env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -q -n auto --dist loadgroup
NATIVE_LIBRARIES := kernels/jangtq_kernels/_jangtq.* kernels/jangtq_kernels/_blas.*

.PHONY: demo eval test test-all clients demo-train-test check check-mac proto format clean FORCE

demo: $(INSTALLED)
	@$(BIN)/jangtq-coord demo

# The demo model's held-out questions through two workers, a coordinator and HTTP; EVAL=--share=0.1 asks a tenth.
eval: $(INSTALLED)
	@$(BIN)/python -m jangtq_demo.evaluate $(EVAL)

test: $(READY)
	$(PYTEST)

# The same with the whole products of parameters and the large shapes, of which `make test` takes a part.
test-all: $(READY)
	JANGTQ_TESTS=all $(PYTEST)

# What Linux can prove of Macs beyond `make test`: the library compiled for macOS, NEON kernels under QEMU, types for
# darwin, and wheels for macOS of every package, which the network is asked for.
check-mac: $(READY)
	$(PYTEST) tests/apple

# Training the demo model, the only thing here that needs PyTorch.
demo-train-test: $(TRAINING)
	$(PYTEST) tests/demo_training

# Real clients against a running server, each in an environment of its own in .clients/: installs some gigabytes.
# CLIENTS="codex claude-code" runs some, CLIENTS=--quick those of CI, CLIENTS=--newest upgrades.
clients: $(READY)
	$(BIN)/python -m clients $(CLIENTS)

check: $(READY) $(TRAINING)
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
	rm -rf $(VENV) .demo $(NATIVE_LIBRARIES)

# An environment that was never finished, or of another Python than the one asked for, is made anew.
ifneq ($(origin PYTHON),file)
ifneq ($(shell $(PYTHON) -V 2>&1),$(shell $(BIN)/python -V 2>&1))
$(INSTALLED): FORCE
NEW_VENV := yes
endif
endif
ifeq ($(wildcard $(INSTALLED)),)
NEW_VENV := yes
endif

$(INSTALLED): pyproject.toml constraints.txt hatch_build.py kernels/jangtq_kernels/source_digest.py $(wildcard */*/native/* */*/native/*/*)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "jangtq-cluster needs Python 3.11 or newer, this is " + sys.version.split()[0] + " (choose another with make PYTHON=...)")'
ifeq ($(NEW_VENV),yes)
	@echo "1/3 Creating $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PIP) "pip>=25.1"
endif
	@$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' > $(VENV)/requirements.txt
	@echo "2/3 Installing packages: `wc -l < $(VENV)/requirements.txt` and what they need themselves (half a minute the first time)"
	@$(PIP) -c constraints.txt -r $(VENV)/requirements.txt
	@echo "3/3 Compiling the native code, a file for each processor at a time"
	@$(PIP) --no-deps -e .
	@touch $@

$(READY): $(INSTALLED)
	@echo "Installing what the tests need (half a minute the first time)"
	@$(PIP) -c constraints.txt --group dev --group proto
	@touch $@

$(TRAINING): $(READY)
	@echo "Installing PyTorch for the CPU (200 MB; gigabytes where download.pytorch.org cannot be reached)"
	@$(PIP) -c constraints.txt $(TORCH_INDEX) --no-deps torch
	@$(PIP) -c constraints.txt --group demo
	@touch $@
