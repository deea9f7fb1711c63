# make run: everything from a fresh clone to the figures. Needs Python 3.11 or later, nothing else.
PYTHON ?= python3
# What is handed to snakemake and pytest: make run ARGS=-n, make test ARGS="-k config".
ARGS ?=
# Configuration files over config/config.yaml: make run CONFIG=config/smoke.yaml.
CONFIG ?=

export PATH := $(CURDIR)/.venv/bin:$(PATH)
READY := .venv/.ready
SINGLE_THREADED := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
# A file is one worker's, because its tests share what they build; tests/conftest.py has the order.
PYTEST := $(SINGLE_THREADED) python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
# Stands in for another CPU, on which the same training differs in its last bits.
OTHER_CPU ?= ATEN_CPU_CAPABILITY=avx2 MKL_CBWR=COMPATIBLE

# A dry run makes no page; without a screen there is nothing to open it with.
named = if [ -f $(1) ]; then echo "Open $(1)"; fi
opened = if [ -f $(1) ] && [ "$${DISPLAY:-}$${WAYLAND_DISPLAY:-}$$(uname)" != Linux ]; then python -m webbrowser $(1); fi

.DEFAULT_GOAL := help
.PHONY: help setup demo run page report test test-quick test-other-cpu lint format docs lock clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 28

setup: $(READY) ## install the locked versions into .venv (once, and after they change)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "zscope needs Python 3.11 or later; $(PYTHON) is: $$($(PYTHON) --version 2>&1)"; \
	  echo "name another one: make setup PYTHON=python3.12"; exit 1; }
	@test -x .venv/bin/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv (a few minutes, once)"
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

demo: setup ## every figure on small sizes, in demo/ (minutes): shows what there is, not results
	python -m snakemake --cores all --directory demo --configfile config/smoke.yaml $(ARGS)
	@$(call named,demo/results/index.html)
	@$(call opened,demo/results/index.html)

run: setup ## every figure and table of the default config, or of CONFIG=FILE
	@$(if $(CONFIG),python -m zscope.config.yaml_files $(CONFIG))
	python -m snakemake --cores all $(ARGS) $(if $(CONFIG),--configfile $(CONFIG))
	@$(call named,results/index.html)

page: run ## results/index.html, and open it
	@$(call opened,results/index.html)

report: run ## report.html: every figure with its caption and provenance, in one file
	python -m snakemake --report report.html

test: setup ## every test
	$(PYTEST) $(ARGS)

test-quick: setup ## the tests that take seconds
	$(PYTEST) -m "not slow" $(ARGS)

test-other-cpu: setup ## the tests that train, and those of models, as on another CPU (minutes)
	$(OTHER_CPU) $(PYTEST) -m "numerics and not slow" $(ARGS)

lint: setup ## style, types, the rules, and that the generated files are in step
	ruff check
	ruff format --check
	snakefmt --check workflow
	mypy
	python -m snakemake --lint
	python -m zscope.reference --check

format: setup ## put the style right
	ruff check --fix
	ruff format
	snakefmt workflow

docs: setup ## docs/config.md, docs/tables.md and the editors' schema, from the code
	python -m zscope.reference

# What torch brings along by itself (the CUDA libraries of some of its builds) is not locked, so
# that the lock serves every build of it.
lock: ## requirements.lock, from pyproject.toml in a fresh environment
	@set -e; fresh=$$(mktemp -d); trap 'rm -rf "$$fresh"' EXIT; \
	  $(PYTHON) -m venv "$$fresh"; \
	  "$$fresh/bin/python" -m pip install --quiet -e '.[test]'; \
	  "$$fresh/bin/python" -m pip check; \
	  { sed -n '/^#/p' requirements.lock; \
	    "$$fresh/bin/python" -m pip freeze --exclude-editable \
	      | sed 's/+[A-Za-z0-9.]*$$//' | grep -Ev '^(nvidia-|cuda-|triton)'; } > "$$fresh/lock"; \
	  if grep -n '[@/]' "$$fresh/lock" | grep -v '#'; then \
	    echo "these are not plain versions: requirements.lock is left as it was"; exit 1; fi; \
	  cp "$$fresh/lock" requirements.lock; echo "wrote requirements.lock"

clean: ## caches; results/, logs/ and .venv stay
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis report.html
	find lib tests workflow benchmarks -name __pycache__ -prune -exec rm -rf {} +
