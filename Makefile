# One command per purpose: `make` lists them. Every target first sees to the environment in .venv.
# Kept to what GNU make 3.81 knows, which is what macOS ships.

PYTHON  = python3
PROFILE = laptop
CORES  := $(shell OMP_NUM_THREADS= nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
SEEDS   = 0
SETTINGS =
TORCH   = $(shell nvidia-smi -L >/dev/null 2>&1 && echo cuda || echo cpu)
VENV    = .venv

# `make ... RUN=python` uses the active environment (conda, say) and builds none.
RUN     = $(VENV)/bin/python
LOCK   := $(shell cksum requirements.lock | cut -d ' ' -f 1)
STAMP   = $(VENV)/.installed-$(LOCK)
READY   = $(if $(filter file,$(origin RUN)),$(STAMP))

# Linux alone has a separate CPU build of torch; elsewhere the default index serves it. `--retries 0`: where that index
# can't be reached, pip goes on with the default one at once.
CPU_INDEX = https://download.pytorch.org/whl/cpu
CPU_TORCH = $(if $(filter Linux-cpu,$(shell uname -s)-$(TORCH)),--no-deps --retries 0 --timeout 15 --extra-index-url $(CPU_INDEX))
PIP       = $(VENV)/bin/python -m pip --disable-pip-version-check

# Notebooks whose stored outputs are compared, cell by cell, with what they give now.
CHECKED_NOTEBOOKS = notebooks/simulated_stacks.ipynb

.PHONY: help figures all-figures render publish weights test test-all lab doctor bench environment
.DEFAULT_GOAL = help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "  PROFILE=$(PROFILE)  (or smoke: the machinery in a minute; paper: the paper's own sizes, for a GPU)"
	@echo "  CORES=$(CORES)  SEEDS=$(SEEDS)  (SEEDS=\"0 1 2\" repeats every training with each seed)"
	@echo "  TORCH=$(TORCH)  (cpu or cuda: the build to install; found by itself)  PYTHON=$(PYTHON)"

figures: $(READY) ## Table A and Figure A from nothing: simulate, train, evaluate, draw (into runs/)
	$(RUN) -m fcl.batch figures --profile $(PROFILE) --cores $(CORES) --seeds "$(SEEDS)"

all-figures: $(READY) ## every table and figure from nothing
	$(RUN) -m fcl.batch all-figures --profile $(PROFILE) --cores $(CORES) --seeds "$(SEEDS)"

render: $(READY) ## tables and figures from the committed results, in a minute or two
	$(RUN) -m fcl.render

publish: $(READY) ## copy the finished runs to results/
	$(RUN) -m fcl.runs publish --profile $(PROFILE)

weights: $(READY) ## choose the loss weights on validation stacks (SETTINGS="D1 I1": of these only)
	$(RUN) -m fcl.batch weights --profile $(PROFILE) --cores $(CORES) --settings "$(SETTINGS)"

test: $(READY) ## the tests, without the slow ones
	OMP_NUM_THREADS=1 $(RUN) -m pytest -m "not slow" -n $(CORES)
	OMP_NUM_THREADS=1 $(RUN) -m pytest --nbval --nbval-current-env $(CHECKED_NOTEBOOKS)

test-all: test ## the tests, with the slow ones (trainings from start to end, killed and resumed)
	$(RUN) -m pytest -m slow

lab: $(READY) ## JupyterLab on the notebooks
	$(RUN) -m jupyterlab --ServerApp.root_dir="$(CURDIR)" --LabApp.default_url=/lab/tree/notebooks $(LAB_OPTIONS)

doctor: $(READY) ## what this machine has, and what to do about each problem
	@$(RUN) -m fcl.doctor

bench: $(READY) ## how long things take here, and how much memory and disk (BENCH=--help: its sections)
	$(RUN) -m fcl.bench $(BENCH)

environment: $(READY) ## the pinned packages into .venv (the other targets do it by themselves)

# The stamp comes last and carries the lock's checksum, so an interrupted or outdated install is noticed. Without any
# stamp the folder is half made, and pip would trust half-copied packages: it is made anew. The .pth file, relative so
# that the folder can be moved, lets notebooks and their kernels import fcl from anywhere.
$(STAMP):
	@command -v "$(PYTHON)" >/dev/null || { echo "There is no '$(PYTHON)' here. Name yours: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@"$(PYTHON)" -I fcl/interpreter.py
	@echo "Installing the pinned packages into $(VENV), once: one to several minutes, torch ($(TORCH)) first."
	@if ls $(VENV)/.installed-* >/dev/null 2>&1; then rm -f $(VENV)/.installed-*; else "$(PYTHON)" -m venv --clear $(VENV); fi
	$(PIP) install --constraint requirements.lock $(CPU_TORCH) torch
	$(PIP) install -qq --requirement requirements.lock
	@$(VENV)/bin/python -m pip check
	@echo ../../../.. > "$$($(VENV)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/fcl-project.pth"
	@touch $@
