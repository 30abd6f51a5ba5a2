# make report     the site and the PDF, from what is committed
# make test       the tests, with all they need
# make test-fast  those that need neither a study nor a book nor a browser
# make study      fetch, run, freeze and show a study: make study STUDY=embedded

PYTHON ?= python3
STUDY ?= embedded
BIN := .venv/bin
INSTALL := $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint requirements.txt

.PHONY: report test test-fast study freeze requirements clean

report: .venv/.site
	@$(BIN)/vitrine render

test: .venv/.dev
	@$(BIN)/python tests/browser.py
	$(BIN)/ruff format --check code chapters tests bench
	$(BIN)/ruff check code chapters tests bench
	$(BIN)/mypy
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

test-fast: .venv/.dev
	OMP_NUM_THREADS=1 $(BIN)/pytest --quiet --numprocesses auto -m "not slow"

study: .venv/.study
	@$(BIN)/vitrine fetch --study $(STUDY)
	@$(BIN)/vitrine run --study $(STUDY)
	@$(BIN)/vitrine freeze --study $(STUDY)
	@$(BIN)/vitrine render

freeze: .venv/.site
	@$(BIN)/vitrine freeze

# Pins the whole environment anew from the ranges of pyproject.toml.
requirements: .venv/.uv
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --all-extras \
	  --no-header --no-annotate pyproject.toml --output-file requirements.txt

clean:
	rm -rf .venv _site .quarto

.venv/.uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "vitrine needs Python 3.11 or newer; name one with PYTHON=...")'
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@touch $@

.venv/.site: .venv/.uv pyproject.toml requirements.txt
	@$(INSTALL) --editable .
	@touch $@

.venv/.study: .venv/.uv pyproject.toml requirements.txt
	@$(INSTALL) --editable '.[study,fast]'
	@touch $@ .venv/.site

.venv/.dev: .venv/.uv pyproject.toml requirements.txt
	@$(INSTALL) --editable '.[study,fast,dev]'
	@touch $@ .venv/.site .venv/.study
