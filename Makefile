# One command to see it work:   make demo
# One command to test it all:   make test
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt

# Idle OpenMP threads sleep instead of spinning: with two cores, several processes would starve each other.
export OMP_WAIT_POLICY ?= PASSIVE

.DEFAULT_GOAL := help
.PHONY: help demo test lint format kernels serve bench faults openapi docs clean system

help: ## say what each target does
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

demo: $(VENV)/.worker kernels ## photographs through the whole service; writes demo-output/
	@$(BIN)/m3r demo

test: $(VENV)/.dev kernels lint ## lint, types, import contracts and every test
	@$(BIN)/python -m pytest -m "not faults" -n 2 --dist loadfile

lint: $(VENV)/.dev ## style, types and the direction of imports
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/clang-format --style=file:kernels/.clang-format --dry-run --Werror $$(find kernels tests/kernels -name "*.cpp" -o -name "*.h" -o -name "*.cu" -o -name "*.cuh")
	@$(BIN)/lint-imports

format: $(VENV)/.dev ## put the code in the house style
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

kernels: $(VENV)/.worker ## compile the CPU kernels
	@$(BIN)/python -m mast3r_kernels.build

serve: $(VENV)/.worker kernels ## API, queue and worker on http://127.0.0.1:8000
	@$(BIN)/m3r serve

bench: $(VENV)/.dev kernels ## print the benchmark tables (minutes; wants a quiet machine)
	@for script in benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python -m benchmarks.$$(basename $$script .py) || exit 1; done

faults: $(VENV)/.dev kernels ## the whole fault matrix: processes killed in every stage
	@$(BIN)/python -m pytest -m faults --timeout 1800

openapi: $(VENV)/.dev ## write openapi.yaml anew from the application
	@$(BIN)/python -m services.api.openapi > openapi.yaml

docs: $(VENV)/.dev ## build the documentation site into site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict && echo "site/index.html"

clean: ## remove what the other targets made
	rm -rf $(VENV) demo-output site .demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

system: ## install or name the system libraries that are missing
	@sh deploy/system-libraries.sh

$(VENV)/.venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11 demo")'
	@$(PYTHON) -m venv $(VENV) && touch $@

$(VENV)/.worker: $(VENV)/.venv pyproject.toml constraints.txt | system
	@echo "installing into $(VENV) (the first time downloads a few hundred megabytes)"
	@$(PIP) --editable '.[worker]' && touch $@

$(VENV)/.dev: $(VENV)/.worker
	@echo "installing the development tools"
	@sh deploy/system-libraries.sh dev
	@$(PIP) --editable '.[dev]' && touch $@
