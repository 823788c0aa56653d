# PYTHON, TORCH, STACK and VENV choose the interpreter, the PyTorch to install
# (as pip takes it), whose releases of MMSeg and MMDet (openmmlab or onedl) and
# the folder of the environment: docs/install.md.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv$(patsubst %,-%,$(filter-out openmmlab,$(STACK)))

ifneq ($(words $(VENV)),1)
    $(error VENV='$(VENV)': Make cannot work with blanks in it)
endif

# Each takes 2 GB; more than cores are of no use.
TEST_PROCESSES ?= 2

INSTALL = $(PYTHON) install --venv '$(VENV)' \
    $(if $(TORCH),--torch '$(TORCH)') $(if $(STACK),--stack '$(STACK)')
INSTALLER := $(shell find install -name '*.py')
SOURCES := $(shell find mmseg_ext mmseg_ext_cli.py configs tools -type f \
    -not -path '*/__pycache__/*') README.md model-index.yml

.DEFAULT_GOAL := help
.PHONY: help env test-env demo test test-onedl bench campaign lint format \
    wheel pages clean clean-env
.NOTPARALLEL:

help:  ## Show the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*##/\t/' | expand -t 12

# The package is installed, not linked: the tests meet what a user gets.
$(VENV)/.ready: pyproject.toml $(INSTALLER)
	$(INSTALL)
	@touch $@

$(VENV)/.test-ready: $(VENV)/.ready
	$(INSTALL) --tests
	@touch $@

$(VENV)/.package: $(SOURCES) pyproject.toml | $(VENV)/.ready
	$(INSTALL) --package-only
	@touch $@

env: $(VENV)/.ready $(VENV)/.package  ## Set up the environment only

test-env: env $(VENV)/.test-ready  ## Set up with what the tests need

demo: env  ## Set up, then train, test and show a model on a toy data set
	$(VENV)/bin/python -W ignore tools/demo.py

# Not `python -m pytest`, which would put the source tree on sys.path. A test
# file runs in one process, since its tests share what is made for them.
test: test-env  ## Set up, then run the tests on the installed package
	$(VENV)/bin/pytest -n $(TEST_PROCESSES) --dist loadfile $(PYTEST)

test-onedl:  ## The same with the maintained forks, in .venv-onedl
	$(MAKE) test STACK=onedl VENV=.venv-onedl

campaign: env  ## Try kills, full disks and bad files for half an hour
	$(VENV)/bin/python campaign/run.py $(CAMPAIGN)

bench: env  ## Run the benchmarks
	$(VENV)/bin/python benchmarks/run.py

lint: test-env  ## Check style, spelling and types
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/codespell
	$(VENV)/bin/mypy

format: test-env  ## Fix style
	$(VENV)/bin/ruff check --fix
	$(VENV)/bin/ruff format

wheel: test-env  ## Build sdist and wheel into dist/ and check the wheel
	rm -rf dist
	$(VENV)/bin/python -m build
	$(VENV)/bin/python .ci/check_wheel.py dist/*.whl

# Minutes, in a fresh environment with nothing but the wheel.
pages: test-env  ## Walk the task pages of docs/ as a new user does
	$(VENV)/bin/pytest -n $(TEST_PROCESSES) .ci/test_pages.py $(PYTEST)

clean:  ## Remove what was built and cached
	rm -rf dist .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

clean-env:  ## Remove the environment
	test ! -e '$(VENV)/pyvenv.cfg' || rm -rf '$(VENV)'
