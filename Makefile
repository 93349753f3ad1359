# `make setup` makes .venv; every other target makes it first where it is missing or out of date.
# Another interpreter: `make setup PYTHON=python3.12`. pip uses your own index and settings.

PYTHON ?= python3
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

export VIDEO

.PHONY: help setup peers demo test check bench clean

help:
	@echo "make setup              make .venv with everything (some minutes the first time)"
	@echo "make demo               teach the published I3D fifteen motions and show what it knows (about six minutes)"
	@echo "make demo VIDEO=a.mp4   the same on your own clip; results in demo/"
	@echo "make test               the whole test suite (JOBS=$(JOBS) processes)"
	@echo "make peers              other libraries, whose networks tests and benchmarks compare with ours"
	@echo "make check              lint, format, types"
	@echo "make bench              speed and memory, side by side with other implementations"
	@echo "make clean              remove .venv, caches and demo/ (fetched weights stay in the user's cache)"

setup: $(READY)

# The file `ready` is written last, so an interrupted set-up is taken up again. A .venv whose interpreter
# or pip does not run (made half, or its Python was removed) is made anew.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("vadis needs Python 3.11 or newer, \
	this is " + sys.version.split()[0] + "; name another one: make PYTHON=python3.12 " + "$(MAKECMDGOALS)")'
	@rm -f $@
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[dev,all]'
	@touch $@

peers: $(READY)
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[peers]'

demo: $(READY)
	$(BIN)/python -m vadis demo $${VIDEO:+-- "$$VIDEO"}

# One thread in each process: two processes with a thread pool each would fight for the same cores.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(JOBS) --dist worksteal --durations 10

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python benchmarks/predict.py
	$(BIN)/python benchmarks/predict.py --memory
	$(BIN)/python benchmarks/models.py
	if [ -n "$$VADIS_CLIPS" ]; then $(BIN)/python benchmarks/predict.py --clips "$$VADIS_CLIPS"; fi
	$(BIN)/python benchmarks/clip_access.py
	$(BIN)/python benchmarks/mutations.py

clean:
	rm -rf $(VENV) demo build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find vadis tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
