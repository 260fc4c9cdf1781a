PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
NOTEBOOKS = $(wildcard notebooks/*.ipynb)
AS_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)

.DEFAULT_GOAL := help
.PHONY: help lab check test browser demo site lint clean
BROWSERS := chromium chromium-browser google-chrome google-chrome-stable

help:  ## list what make can do here
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' Makefile

lab: $(STAMP)  ## open the course in JupyterLab
	$(BIN)/python -m jupyterlab $(AS_ROOT) notebooks/00_start_here.ipynb

check: $(STAMP)  ## lint and the quick tests, in three minutes
	$(BIN)/python -m ruff check
	PBE_PROFILE=smoke HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -q -m "not slow" tests

test: $(STAMP) browser  ## run every test and every notebook
	PBE_PROFILE=smoke HF_HUB_OFFLINE=1 $(BIN)/python -m pytest \
	    --nbmake --nbmake-timeout=180 tests $(NOTEBOOKS)

# The tests in a browser need one: it is installed where that needs no question.
browser:
	@for name in "$$PBE_CHROMIUM" $(BROWSERS); do \
	    command -v "$$name" > /dev/null && exit 0; done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
	        --no-install-recommends chromium fonts-liberation > /dev/null; fi; \
	command -v chromium > /dev/null || echo "No chromium here: the Studio is not tested" \
	    "in a browser (apt-get install chromium, or set PBE_CHROMIUM=/path/to/it)"

demo: $(STAMP)  ## edit one picture and say where it is
	$(BIN)/python -m pbe_lite demo

site: $(VENV)/.site  ## the course as a static site, in runs/site/html
	$(BIN)/python -m sphinx -q -c docs -d runs/site/doctrees . runs/site/html
	@echo "Open runs/site/html/index.html"

lint: $(STAMP)  ## check the code with ruff
	$(BIN)/python -m ruff check

clean:  ## remove the environment and caches; runs/ stays
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
	find . -name .ipynb_checkpoints -prune -exec rm -rf {} +

# Touched last, so that an install that fails or is stopped is taken up again.
$(STAMP): requirements.txt pyproject.toml
	@command -v "$(PYTHON)" > /dev/null || { \
	    echo "No $(PYTHON) found: install Python 3.11 or newer, or name yours:" \
	         "make $(MAKECMDGOALS) PYTHON=/path/to/python3"; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "$(PYTHON) is $$("$(PYTHON)" -V 2>&1), but this course needs Python 3.11" \
	         "or newer: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 1; }
	@test -x $(BIN)/pip || "$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); \
	    echo "$(PYTHON) cannot make a virtual environment" \
	         "(on Debian and Ubuntu: apt install python3-venv)"; exit 1; }
	$(BIN)/python -m pip install -r requirements.txt
	-@$(BIN)/jupyter labextension disable @jupyter/nbgrader 2> /dev/null  # teachers enable it
	@touch $@

# The lessons and tests need no Sphinx, so only `make site` installs it.
$(VENV)/.site: $(STAMP)
	$(BIN)/python -m pip install -e ".[site]"
	@touch $@
