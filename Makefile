# Two commands do everything: `make run` (the embedded study) and `make test`. Both make the environment first.
PYTHON ?= python3
CORES ?= all
VENV := .venv
# Relative: make takes an absolute path with a space for two.
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONUTF8 := 1
# Images of containers set it; then every job and every test would compile torch and Snakemake anew.
unexport PYTHONDONTWRITEBYTECODE
# What is given to this make is not for one that a test calls.
unexport MAKEFLAGS MFLAGS ARGS

.PHONY: run study headroom test lint report status why unused environment clean

WORDS := --configfile experiments/digits_words.yaml

run: environment  ## the embedded study on both of its beds; ARGS="--configfile experiments/pacs.yaml" runs that alone
	snakemake --cores $(CORES) $(ARGS)
	$(if $(ARGS),,snakemake --cores $(CORES) $(WORDS))

study: environment  ## evidence on the claims: results/tables/digits-study/summary.md first; about half an hour more
	snakemake --cores $(CORES) $(WORDS) experiments/selection.yaml $(ARGS)
	snakemake --cores $(CORES) --configfile experiments/study.yaml $(ARGS)

headroom: environment  ## is there room above zero-shot? Before any sweep; ARGS as for run
	snakemake --cores $(CORES) $(ARGS) -- headroom_table

test: environment  ## all but SLURM, kills and the report in a browser; ARGS='-m ""' adds them, as .ci/run does
	OMP_NUM_THREADS=1 python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not ci" $(ARGS)

lint: environment
	ruff check .
	ruff check --preview --select PLW1514 .  # text files are UTF-8, whatever the locale
	ruff format --check .
	snakefmt --check Snakefile workflow
	snakemake --lint
	lint-imports
	mypy

report: environment  ## one HTML archive with every table and figure
	snakemake --cores $(CORES) $(ARGS) --report report.zip --report-stylesheet workflow/report/style.css

status: environment  ## where an experiment stands; ARGS="--watch 10" repeats it
	@python workflow/scripts/status.py $(ARGS)

why: environment  ## what would run, and why; ARGS as for run
	@python workflow/scripts/why.py $(ARGS)

unused: environment  ## what no experiment uses any more; ARGS=--delete removes it
	@python workflow/scripts/unused.py $(ARGS)

environment: $(VENV)/.ready

$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ". Name one: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(shell sed -n 's/^uv==//p' requirements.lock)
	$(BIN)/uv pip sync --quiet --python $(BIN)/python requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

clean:  ## everything that can be made again, the results too
	rm -rf results/* logs .snakemake $(VENV)
	git checkout -q -- results/README.md
