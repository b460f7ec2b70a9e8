# Everything a newcomer types. Needs Python 3.11 or newer, pip and make; no compiler.
#   make demo   train on real English-German text, translate, score (at most 10 minutes on 2 cores)
#   make test   linters and all tests but those of faults (at most 8 minutes on 2 cores)
#   make test-all   these and the tests of faults, as CI runs them
#   make docs   the site, in build/site; works offline
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

SITE := build/site

.PHONY: demo docs test test-all lint unit faults format clean

# What a test may cost in seconds of processor time, unless it is marked.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --cpu-budget 15
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable

# A stamp is made anew when what is to be installed changes.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "seqtrans needs Python 3.11 or newer; say make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) .
	touch $@

# What tests and linters need besides, the optional packages among it.
$(VENV)/.installed-dev: $(VENV)/.installed
	$(INSTALL) '.[dev,docs,plots]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/python tools/demo.py

# --strict: a broken link or a docstring that names what is not there is an error.
docs: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict --site-dir $(SITE)
	$(BIN)/python tools/check_site.py $(SITE)

test: lint unit

test-all: test faults

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/basedpyright --project tools
	$(BIN)/lint-imports
	$(BIN)/python tools/check_size.py
	$(BIN)/python tools/check_docstrings.py

unit: $(VENV)/.installed-dev
	$(PYTEST) -m 'not faults and not slow'
	@if $(BIN)/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then \
		$(BIN)/python -m pytest --gpu tests/parity/test_cuda*.py; fi

faults: $(VENV)/.installed-dev
	$(PYTEST) -m 'faults and not slow'

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) runs build dist *.egg-info
