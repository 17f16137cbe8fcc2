# Two commands: `make demo` sets everything up and runs the experiment, `make test` sets everything up and tests it.
# Each can be run again at any time and does only what is missing.

PYTHON ?= $(shell for p in python3.11 python3 python3.13 python3.12 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
RUNS := outputs/experiments
# Not compiled: Python compiles what is imported, which is a small part, when it is. It has to keep that, also where the
# surroundings tell it not to: else every process that a test starts compiles PyTorch anew, for seven seconds.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet --no-compile -c constraints.txt

# A worker per processor, each with the files it is given as a whole, since a file's tests share what they train.
WORKERS := -n $(or $(JOBS),logical) --maxprocesses 8 --dist loadfile --no-loadscope-reorder

.PHONY: help install demo scratch test test-all oldest coverage wheel-test browser gallery lint lint-page format bench faults docs

help:
	@echo "make demo     install, then fine-tune on Atlantis for 200 steps and write the report (minutes)"
	@echo "make scratch  install, then the whole story from a new model (20 minutes on 2 cores)"
	@echo "make test     install, then run the tests, one worker for each processor (JOBS=1 for one worker)."
	@echo "              Of what takes long a sample is tested; the whole is marked so:"
	@echo "make test-all the same with the tests marked 'whole'"
	@echo "make oldest   the same as make test, with the oldest versions that pyproject.toml allows, in .venv-oldest"
	@echo "              (Python 3.11 or 3.12, for which these were made; PyTorch's files are several GB on Linux)"
	@echo "make coverage the same as make test, more slowly; which lines of src/ no test runs"
	@echo "make wheel-test"
	@echo "              install, then build the wheel and try it in an empty folder"
	@echo "make browser  install Chromium (Debian, as root) where there is none, then test the page in it"
	@echo "make gallery  write docs/gallery/ anew from the demo run's report and Chromium's pictures of it"
	@echo "make lint     install, then check style (ruff), types (pyright) and pinned versions; of the page's scripts"
	@echo "              too (Biome, TypeScript), where there is Node.js"
	@echo "make bench    install, then time everything beside its peer and write docs/performance.md (15 minutes;"
	@echo "              ROUNDS=9 for more rounds, ONLY=\"train probe\" for some of it)"
	@echo "make faults   install, then kill, starve and damage runs, feed them wrong and hostile files, and write"
	@echo "              docs/reliability.md (an hour, two suites at a time; JOBS=1 for one, N=100 for fewer"
	@echo "              trials, ONLY=\"kills disk\" for some of it)"
	@echo "make docs     install, then build the documentation as a site: build/site/index.html"
	@echo "make format   install, then let ruff rewrite what it can"
	@echo "make install  only install, into $(VENV)"

install: $(INSTALLED)

# The stamp is written last, so an interrupted installation is taken up again.
$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or newer found; install one or give PYTHON=/path/to/python" >&2; exit 2; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	$(INSTALL) -e '.[dev]'
	@touch $@

demo: $(INSTALLED)
	$(BIN)/atlantis train configs/demo.yaml $(if $(wildcard $(RUNS)/demo),--resume)

scratch: $(INSTALLED)
	$(BIN)/atlantis train configs/from_scratch.yaml $(if $(wildcard $(RUNS)/from_scratch $(RUNS)/scratch_base),--resume)

test: $(INSTALLED)
	$(BIN)/python -m pytest $(WORKERS)

test-all: $(INSTALLED)
	$(BIN)/python -m pytest $(WORKERS) -m "not wheel"

oldest: $(INSTALLED)
	@.venv-oldest/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv .venv-oldest
	$(BIN)/python scripts/oldest.py >.venv-oldest/constraints.txt
	.venv-oldest/bin/python -m pip install --disable-pip-version-check --quiet --no-compile \
		-c .venv-oldest/constraints.txt -e '.[dev]'
	.venv-oldest/bin/python -m pytest $(WORKERS)

# Each process that a test starts or forks writes a file of its own, and one that is killed half a file, which is passed
# over. These files are not flushed to disk, so the test that all are is left out. Below the floor in pyproject.toml it fails.
coverage: $(INSTALLED)
	rm -rf build/coverage && mkdir -p build/coverage
	$(BIN)/python -m coverage run -m pytest $(WORKERS) --deselect tests/test_faults.py::test_the_order_of_flushing_holds
	-$(BIN)/python -m coverage combine --quiet 2>build/coverage.log
	$(BIN)/python -m coverage report

wheel-test: $(INSTALLED)
	$(BIN)/python -m pytest -m wheel -rs tests/test_package.py

browser: $(INSTALLED)
	@command -v chromium chromium-browser >/dev/null || { apt-get update -qq && apt-get install -y -qq chromium; } \
		|| echo "no Chromium, and it cannot be installed here: the tests will be skipped" >&2
	$(BIN)/python -m pytest -m browser -rs

gallery: $(INSTALLED)
	$(BIN)/python -m scripts.gallery $(RUNS)/demo

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/python -m pip check
	$(BIN)/python scripts/check_constraints.py
	@$(MAKE) --no-print-directory lint-page

# What package-lock.json pins is installed once, into node_modules/. Where it cannot be, a line says so: the browser
# tests still run every script.
lint-page:
	@command -v npm >/dev/null || { echo "the page's scripts: not checked, for there is no npm here"; exit 0; }; \
	test node_modules/.installed -nt package-lock.json \
		|| { npm ci --silent --no-audit --no-fund && touch node_modules/.installed; } \
		|| { echo "the page's scripts: not checked, for npm cannot install package-lock.json here"; exit 0; }; \
	npm run --silent lint

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	@! test -x node_modules/.bin/biome || npm run --silent format

docs: $(INSTALLED)
	$(INSTALL) -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --site-dir build/site
	@echo "build/site/index.html; with the search: $(BIN)/python -m http.server --directory build/site"

bench: $(INSTALLED)
	$(BIN)/python -m checks.benchmarks $(ONLY) $(if $(ROUNDS),--rounds $(ROUNDS))
	$(BIN)/python -m checks.benchmarks.page

faults: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m checks.faults $(ONLY) --jobs $(or $(JOBS),2) $(if $(N),--n $(N)) \
		$(if $(SEED),--seed $(SEED)); code=$$?; $(BIN)/python -m checks.faults.page && exit $$code
