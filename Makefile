# make demo: set everything up, run the main job, write report/index.html
# make test: set everything up, run the whole test suite
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check live notebooks docs site picture studies benchmark benchmark-load benchmark-sweep benchmark-tlb benchmark-devices benchmark-traces clean

$(VENV)/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=24'
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

demo: $(VENV)/.installed
	@mkdir -p report
	$(BIN)/perfmodel compare --measured auto --report report --save-json report/compare.json

test: $(VENV)/.installed
	$(BIN)/python -m pytest

check: $(VENV)/.installed
	$(BIN)/python -m pytest tests/architecture

live: $(VENV)/.installed
	$(BIN)/python -m pytest tests/live

# After a change to a notebook's .py: make the .ipynb anew, with its outputs.
notebooks: $(VENV)/.installed
	$(BIN)/jupytext --to ipynb notebooks/*.py
	$(BIN)/jupyter-execute --inplace notebooks/*.ipynb

# After a change to the mechanism or its callers.
docs: $(VENV)/.installed
	$(BIN)/python -m perfmodel.report.callers > docs/callers.md

# The documentation as a site in build/site; a warning is an error.
site: $(VENV)/.installed
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/site

# The picture of README.md and of the site.
picture: $(VENV)/.installed
	$(BIN)/python docs/figures/make.py

# All installed studies: a figure and the numbers of each in report/studies; some minutes.
studies: $(VENV)/.installed
	for study in workloads/studies/*.toml; do \
		$(BIN)/perfmodel sweep $$study --report report/studies || exit; done

benchmark: $(VENV)/.installed
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/engine.py --inherit-environ XDG_CACHE_HOME,HOME

# The engine under memory pressure, on several CPUs, and for more of everything; two minutes.
benchmark-load: $(VENV)/.installed
	$(BIN)/python benchmarks/load.py --inherit-environ XDG_CACHE_HOME,HOME

# Sweeps: 10,000 what-ifs, 1,000 engine runs, one Dask worker against two; five minutes.
benchmark-sweep: $(VENV)/.installed
	$(BIN)/python benchmarks/sweep.py

# TLBs beside other simulators; about ten minutes, on an otherwise idle machine.
benchmark-tlb: $(VENV)/.installed
	$(BIN)/python benchmarks/tlb.py --inherit-environ XDG_CACHE_HOME,HOME

# Block devices beside SimPy; about a minute, on an otherwise idle machine.
benchmark-devices: $(VENV)/.installed
	$(BIN)/python benchmarks/devices.py --inherit-environ XDG_CACHE_HOME,HOME

# Accesses generated, stored, imported and looked at; under a minute.
benchmark-traces: $(VENV)/.installed
	$(BIN)/python benchmarks/traces.py

clean:
	rm -rf $(VENV) report .pytest_cache .mypy_cache .ruff_cache .hypothesis
