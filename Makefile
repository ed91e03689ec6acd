# `make demo` and `make test` need nothing but Python 3.11+, make and git; each installs what it needs into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TYPECHECK := build/typecheck
COVERAGE := build/coverage
# One process more than there are cores, as tests of jobs also wait; and their order is that of tests/conftest.py.
PROCESSES := $(shell $(PYTHON) -c "import os; print(min(4, (os.cpu_count() or 1) + 1))")
PYTEST_ARGS ?= --numprocesses=$(PROCESSES) --dist=loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help install demo lab test coverage lowest lint format bench docs protocol clean

# uv takes half a minute where pip takes five. Without compiled bytecode, a process takes seconds longer to import
# TensorFlow wherever it may not write that itself. An editable installation lacks the file that makes Jupyter's server
# load the live view.
define installed
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet uv && \
		$(BIN)/uv pip install --quiet --python $(VENV) --compile-bytecode --editable '.[$(1)]' || \
		$(BIN)/pip install --quiet --editable '.[$(1)]'
	mkdir -p $(VENV)/etc/jupyter && cp -r widgets/jupyter_server_config.d $(VENV)/etc/jupyter/
	touch $@
endef

help:  ## Show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

install: $(STAMP)  ## Install everything into .venv

$(STAMP): pyproject.toml setup.py
	$(call installed,dev)

$(VENV)/.installed-demo: pyproject.toml setup.py
	$(call installed,demo)

# What the notebooks need, unless everything is installed.
DEMO := $(if $(wildcard $(STAMP)),$(STAMP),$(VENV)/.installed-demo)

demo: $(DEMO)  ## Run the quickstart notebook: train, evaluate and predict on 327,346 real flights
	mkdir -p demo-output
	cd demo-output && $(CURDIR)/$(BIN)/papermill --log-output ../notebooks/quickstart.ipynb quickstart.ipynb
	$(BIN)/jupyter nbconvert --log-level=WARN --to html demo-output/quickstart.ipynb
	@echo "The executed notebook: demo-output/quickstart.ipynb, and quickstart.html beside it. To run it yourself: make lab"

lab: $(DEMO)  ## Open the notebooks in JupyterLab
	$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) --notebook-dir=. \
		--LabApp.default_url=/lab/tree/notebooks/quickstart.ipynb

test: $(STAMP)  ## Run the tests, and say which rooms they reached
	rm -rf $(COVERAGE)
	PYTHONPATH=$(CURDIR)/tests/measured$${PYTHONPATH:+:$$PYTHONPATH} $(BIN)/python -m pytest $(PYTEST_ARGS); \
		status=$$?; $(BIN)/python tests/coverage_report.py; exit $$status

coverage: $(STAMP)  ## List which functions in FOLDERS=... the last `make test` did not enter
	$(BIN)/python tests/coverage_report.py $(FOLDERS)

LOWEST := .venv-lowest
LOWEST_TESTS ?= tests/client tests/data tests/model tests/parameters tests/master tests/jobs/test_results.py tests/sql

lowest: $(LOWEST)/.installed  ## Run a part of the tests with the oldest versions of all dependencies that are allowed
	$(LOWEST)/bin/python -m pytest --numprocesses=$(PROCESSES) --dist=loadfile $(LOWEST_TESTS)

$(LOWEST)/.installed: pyproject.toml setup.py
	rm -rf $(LOWEST)
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/pip install --quiet uv
	$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST) --resolution lowest-direct --editable '.[dev]'
	touch $@

lint: $(STAMP) $(TYPECHECK)  ## Check style, types, layers and generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=$(TYPECHECK) $(BIN)/mypy --explicit-package-bases $(TYPECHECK)/elasticdl_nb
	cd $(TYPECHECK) && $(CURDIR)/$(BIN)/lint-imports --config $(CURDIR)/pyproject.toml
	$(BIN)/python tests/protocol_is_fresh.py

# Static checkers do not follow setuptools' package_dir: give them the packages as links under one name.
.PHONY: $(TYPECHECK)
$(TYPECHECK):
	rm -rf $@
	mkdir -p $@/elasticdl_nb
	ln -s $(addprefix $(CURDIR)/,$(wildcard elasticdl_nb/*)) $@/elasticdl_nb/
	for folder in magics widgets runtime model_zoo; do ln -s $(CURDIR)/$$folder $@/elasticdl_nb/$$folder; done

format: $(STAMP)  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)  ## Measure against the alternatives, side by side
	for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

docs: $(STAMP) $(TYPECHECK)  ## Build the documentation site into build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

protocol: $(STAMP)  ## Generate the stubs of the .proto files
	$(BIN)/python tests/protocol_is_fresh.py --write

clean:  ## Remove what was built and installed
	rm -rf $(VENV) $(LOWEST) build dist *.egg-info
