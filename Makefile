# Two doors: `make demo` fine-tunes and shows where the report is, `make test` checks everything.
# A stamp under the environment remembers what was installed; a second run installs nothing.

PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?=
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --no-input
REQUIREMENTS := pyproject.toml constraints.txt requirements-starter.txt

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo pictures prompts emoji test lint format clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.installed  ## set up .venv, fine-tune a sentiment classifier, print where its report is
	$(BIN)/tunesmith train recipes/text-classification.yaml

pictures: $(VENV)/.installed  ## build the pictures of three recipes in examples/pictures (GPL stamps, not committed)
	$(BIN)/python scripts/make_pictures.py

prompts: $(VENV)/.installed  ## build the recordings of a recipe in examples/prompts (CC-BY-SA, not committed)
	$(BIN)/python scripts/make_prompts.py

emoji: $(VENV)/.installed-dev  ## train the small Stable Diffusion of examples/emoji-diffusion again (an hour or more on a core)
	$(BIN)/python scripts/make_emoji_diffusion.py

test: lint  ## set up .venv, run lint, types, import contracts and all tests
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile $(PYTEST_ARGS)

lint: $(VENV)/.installed-dev  ## ruff, formatting, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev  ## sort imports and format in place
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove the environment, tool caches and build leftovers; runs/ stays
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "error: Tunesmith needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>/dev/null || echo missing)"; \
	  echo "  fix: make PYTHON=/path/to/python3.11 $(or $(MAKECMDGOALS),demo)"; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "  fix: install the venv module (Debian, Ubuntu: apt-get install python3-venv)"; exit 2; }

$(VENV)/.installed: $(REQUIREMENTS) | $(BIN)/python
	@echo "installing Tunesmith into $(VENV) (the first time takes some minutes)"
	$(PIP) -c constraints.txt -e .
	$(PIP) --no-deps -r requirements-starter.txt
	@touch $@

$(VENV)/.installed-dev: $(REQUIREMENTS) | $(BIN)/python
	@echo "installing Tunesmith and its development tools into $(VENV) (the first time takes some minutes)"
	$(PIP) -c constraints.txt -e '.[dev]'
	$(PIP) --no-deps -r requirements-starter.txt
	@touch $@ $(VENV)/.installed
