# One command per purpose: `make` lists them. Every target first sees to the environment in .venv.
# Kept to what GNU make 3.81 knows, which is what macOS ships.

PYTHON  = python3
PROFILE = laptop
CORES  := $(shell OMP_NUM_THREADS= nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
SEEDS   = 0
NAME    = table_a
SETTINGS =
MODEL   =
SOURCE  = results
CLAIMS  =
LEARNAF =
DATA    = simulated
TORCH   = $(shell nvidia-smi -L >/dev/null 2>&1 && echo cuda || echo cpu)
MINUTES =
VENV    = .venv

# A misspelt variable would change nothing and say nothing.
KNOWN   = PYTHON PROFILE CORES SEEDS NAME SETTINGS MODEL SOURCE CLAIMS LEARNAF DATA TORCH MINUTES VENV RUN ROOT BENCH LAB_OPTIONS
$(foreach name,$(.VARIABLES),$(if $(findstring command line,$(origin $(name))),$(if $(filter $(name),$(KNOWN)),,\
  $(error There is no variable $(name): make knows $(KNOWN)))))
$(if $(filter-out cpu cuda,$(TORCH)),$(error TORCH must be cpu or cuda, not $(TORCH)))
$(if $(SETTINGS)$(MODEL),$(if $(filter-out experiment weights,$(MAKECMDGOALS)),$(error SETTINGS and MODEL belong to experiment and weights)))

# `make ... RUN=python` uses the active environment (conda, say) and builds none.
RUN     = $(VENV)/bin/python
LOCK   := $(shell cksum requirements.lock | cut -d ' ' -f 1)
STAMP   = $(VENV)/.installed-$(LOCK)
READY   = $(if $(filter file,$(origin RUN)),$(STAMP))

ONLY = $(if $(SETTINGS),--settings "$(SETTINGS)") $(if $(MODEL),--model "$(MODEL)")

# Linux alone has a separate CPU build of torch; elsewhere the default index serves it. `--retries 0`: where that index
# can't be reached, pip goes on with the default one at once.
CPU_INDEX = https://download.pytorch.org/whl/cpu
CPU_TORCH = $(if $(filter Linux-cpu,$(shell uname -s)-$(TORCH)),--no-deps --retries 0 --timeout 15 --extra-index-url $(CPU_INDEX))
PIP       = $(VENV)/bin/python -m pip --disable-pip-version-check

# Compares what the notebooks give now with the outputs stored in them; notebooks/conftest.py says of which.
NBVAL     = -m pytest --nbval --nbval-current-env -n 2 --dist loadscope notebooks

.PHONY: help figures all-figures experiment learnaf render claims publish weights book lint test test-all lab doctor \
  bench environment
.DEFAULT_GOAL = help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "  PROFILE=$(PROFILE)  (or smoke: the machinery in a minute; paper: the paper's own sizes, for a GPU)"
	@echo "  CORES=$(CORES)  SEEDS=$(SEEDS)  (SEEDS=\"0 1 2\": every training with each seed; SEEDS=published: with those that experiments/ names)"
	@echo "  DATA=$(DATA)  (or learnaf: the public photographs, after make learnaf)"
	@echo "  SETTINGS=\"D1 I1\", MODEL=l2a  of these only, for experiment and weights"
	@echo "  MINUTES=30  stop after so many, and go on with the same command"
	@echo "  TORCH=$(TORCH)  (cpu or cuda: the build to install; found by itself)  PYTHON=$(PYTHON)"

BATCH   = $(RUN) -m companion.batch
OPTIONS = --profile $(PROFILE) --data $(DATA) --cores $(CORES)
LIMIT   = $(if $(MINUTES),--minutes $(MINUTES))

figures: $(READY) ## Table A and Figure A from nothing: simulate, train, evaluate, draw (into runs/)
	$(BATCH) figures $(OPTIONS) --seeds "$(SEEDS)" $(LIMIT)

all-figures: $(READY) ## every table and figure from nothing
	$(BATCH) all-figures $(OPTIONS) --seeds "$(SEEDS)" $(LIMIT)

experiment: $(READY) ## the runs of one experiment alone, as NAME=table_c (a file of experiments/)
	$(BATCH) $(NAME) $(OPTIONS) --seeds "$(SEEDS)" $(ONLY) $(LIMIT)

learnaf: $(READY) ## the public photographs, for DATA=learnaf: ROOT=the folder of their archives, or of what was in them (LEARNAF=--help: choices)
	@test -n "$(ROOT)" || { echo "Say where the data set lies: make learnaf ROOT=/path/to/folder" >&2; exit 1; }
	$(RUN) -m companion.photographs collect "$(ROOT)" $(LEARNAF)

render: $(READY) ## tables and figures from the committed results, in a minute or two (SOURCE=runs: from yours)
	$(BATCH) render $(OPTIONS) --source $(SOURCE)

claims: $(READY) ## does it hold? Every claim and its verdict from committed results (CLAIMS=file: claims of your own)
	@$(if $(CLAIMS),$(RUN) -m companion.claims --profile $(PROFILE) --source $(SOURCE) --claims "$(CLAIMS)",$(BATCH) claims $(OPTIONS) --source $(SOURCE))

publish: $(READY) ## copy the finished runs to results/
	$(RUN) -m companion.runs.publish --profile $(PROFILE)

weights: $(READY) ## choose the loss weights on validation stacks
	$(BATCH) weights $(OPTIONS) $(ONLY) $(LIMIT)

book: $(READY) ## all notebooks and figures as pages to read without installing anything (into book/)
	$(RUN) -m companion.book

lint: $(READY) ## the layout of the code, and common faults
	$(RUN) -m ruff format --check
	$(RUN) -m ruff check

test: $(READY) ## the tests, without the slow ones
	OMP_NUM_THREADS=1 $(RUN) -m pytest -m "not slow" -n $(CORES)
	OMP_NUM_THREADS=1 $(RUN) $(NBVAL)

test-all: test ## the tests, with the slow ones: trainings killed and resumed, notebooks with two threads, a browser
	$(RUN) -m pytest -m slow
	OMP_NUM_THREADS=2 $(RUN) $(NBVAL)

lab: $(READY) ## JupyterLab on the notebooks
	$(RUN) -m jupyterlab --ServerApp.root_dir="$(CURDIR)" --LabApp.default_url=/lab/tree/notebooks $(LAB_OPTIONS)

doctor: $(READY) ## what this machine has, and what to do about each problem
	@$(RUN) -m companion.doctor

bench: $(READY) ## how long things take here, and how much memory and disk (BENCH=--help: its sections)
	$(RUN) -m benchmarks $(BENCH)

environment: $(READY) ## the pinned packages into .venv (the other targets do it by themselves)

# The stamp comes last and carries the lock's checksum, so an interrupted or outdated install is noticed. Without any
# stamp the folder is half made, and pip would trust half-copied packages: it is made anew. The .pth file, relative so
# that the folder can be moved, lets notebooks and their kernels import fcl from anywhere.
$(STAMP):
	@command -v "$(PYTHON)" >/dev/null || { echo "There is no '$(PYTHON)' here. Name yours: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@"$(PYTHON)" -I companion/interpreter.py
	@echo "Installing the pinned packages into $(VENV), once: one to several minutes, torch ($(TORCH)) first."
	@if [ -e "$(VENV)" ] && [ ! -e "$(VENV)/.made-by-fcl" ] && ! ls $(VENV)/.installed-* >/dev/null 2>&1; then \
	  echo "$(VENV) was not made by this project and is left as it is: move it away, or name another folder with VENV=" >&2; exit 1; fi
	@if ls $(VENV)/.installed-* >/dev/null 2>&1; then rm -f $(VENV)/.installed-*; \
	  else rm -rf "$(VENV)"; mkdir -p "$(VENV)"; touch "$(VENV)/.made-by-fcl"; "$(PYTHON)" -m venv "$(VENV)"; fi
	$(PIP) install --constraint requirements.lock $(CPU_TORCH) torch
	$(PIP) install -qq --requirement requirements.lock
	@$(VENV)/bin/python -m pip check
	@echo ../../../.. > "$$($(VENV)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/fcl-project.pth"
	@touch $@
