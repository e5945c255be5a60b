# Works with GNU make 3.81 and up, and in folders whose path has spaces: all paths are relative.
PY := .venv/bin/python
PORT ?= 8000
ARGS ?=

# Container images often set this. Without byte code every process compiles all that it imports,
# which doubles the time of the tests and of the book.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup book serve lab test test-browser lint models bench mutants clean lock

# $(call needs,FILE): stop with a sentence where the part behind a target does not exist yet.
needs = @test -e "$(1)" || { echo "make $@: not there yet: $(1) does not exist." >&2; exit 2; }

help: ## Show this list
	@echo "make TARGET, where TARGET is one of"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | awk -F'|' '{ printf "  %-13s %s\n", $$1, $$2 }'
	@echo "ARGS=... is passed on by test, test-browser, lab, models, bench and mutants; PORT=... by serve."

setup: ## Make .venv, the Python environment that everything below uses
	@PYTHON="$(PYTHON)" sh scripts/setup_env.sh

book: setup ## Build the book into _build/html and say which file to open
	$(call needs,scripts/build_book.py)
	@$(PY) scripts/build_book.py

serve: setup ## Show the built book on http://localhost:8000 (PORT=...)
	@$(PY) scripts/serve_book.py --port "$(PORT)"

lab: book ## Open the chapters as notebooks in JupyterLab
	@echo "Installing JupyterLab into .venv, where it is missing ..."
	@$(PY) -m pip --disable-pip-version-check install --quiet --require-hashes --only-binary :all: -r requirements-lab.lock
	@$(PY) scripts/open_lab.py $(ARGS)

test: setup ## Run the tests, without the slow ones and those in a browser
	@$(PY) -m pytest -n auto --dist loadfile --no-loadscope-reorder -m "not browser and not slow" $(ARGS)

test-browser: book ## Test the built book in Chromium; ARGS="-m browser": every chapter in JupyterLab
	@$(PY) -m pytest -m "browser and not slow" $(ARGS)

lint: setup ## Check style, types, and that nothing here belongs to one machine only
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@$(PY) scripts/check_repository.py

models: setup ## Make the files in models/ again from the trained weights and the record
	$(call needs,scripts/make_models.py)
	@$(PY) scripts/make_models.py $(ARGS)

bench: setup ## Measure the speed of the engine and of ONNX Runtime
	$(call needs,scripts/benchmark.py)
	@$(PY) scripts/benchmark.py $(ARGS)

mutants: setup ## Change the arithmetic in a thousand places, and see a test fail each time
	@$(PY) -m pip --disable-pip-version-check install --quiet mutmut==3.8.1
	@$(PY) scripts/mutants.py $(ARGS)

clean: ## Remove what was generated, but not .venv and not a training run
	@test ! -d _build || find _build -mindepth 1 -maxdepth 1 ! -name training -exec rm -rf {} +
	@rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find book scripts src tests -name __pycache__ -type d -prune -exec rm -rf {} +

lock: ## Renew the lock files; ARGS=--upgrade takes the newest versions (needs uv)
	@sh scripts/lock.sh $(ARGS)
