# make book: render the course from the notebooks as they were executed. make test: prove it.
PYTHON ?= python3
BIN := .venv/bin
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python

.DEFAULT_GOAL := book
.PHONY: book test data lint types unit nbval notebooks exercises serve bench links audit lock clean

$(BIN)/uv:
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" \
		|| { echo "Python 3.11 or newer is needed: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check uv

.venv/book: book/requirements.txt requirements.lock | $(BIN)/uv
	$(UV) --constraint requirements.lock --requirement book/requirements.txt
	@touch $@

.venv/all: requirements.txt requirements.lock pyproject.toml | $(BIN)/uv
	$(UV) --require-hashes --requirement requirements.lock
	$(UV) --no-deps --editable .
	@touch $@ .venv/book

book: .venv/book
	@rm -rf _build/.doctrees  # a page that is not read again does not warn again
	$(BIN)/jupyter-book build --warningiserror --nitpick --keep-going .
	@echo "The first page: $(CURDIR)/_build/html/index.html"

test: lint types unit data nbval book

lint: .venv/all
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/python tools/notebooks.py --check
	$(BIN)/python tools/exercises.py --check
	$(BIN)/zizmor --offline --quiet .github
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-actions .github/actions/*/action.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml

types: .venv/all
	$(BIN)/mypy

data: .venv/all
	@$(BIN)/python -m course_lib.data || { $(DEBIAN_DATA); }

# Where no source answered: a Debian or Ubuntu has the data as a package.
APT := apt-get install --yes --quiet dataset-fashion-mnist
DEBIAN_DATA := if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; \
	then apt-get update --quiet && $(APT) && $(BIN)/python -m course_lib.data; \
	else echo "On Debian or Ubuntu: sudo $(APT)"; exit 1; fi

unit: .venv/all data
	$(BIN)/python -m pytest --cov

nbval: .venv/all data
	$(BIN)/python -m pytest --nbval --nbval-current-env --nbval-cell-timeout 900 -p tests.notebooks.plugin $(NBVAL) book/*.ipynb book/solutions

notebooks: .venv/all data
	$(BIN)/python tools/notebooks.py $(NAMES)

exercises: .venv/all data
	$(BIN)/python tools/exercises.py $(NAMES)

serve: book
	$(BIN)/python -m http.server --directory _build/html

bench: .venv/all data
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

links: .venv/book
	$(BIN)/jupyter-book build --builder linkcheck .

audit: $(BIN)/uv
	$(BIN)/uv tool run pip-audit@2.10.1 --requirement requirements.lock --disable-pip --require-hashes --strict

lock: $(BIN)/uv
	$(UV:install=compile) --upgrade --universal --generate-hashes --python-version 3.11 \
		--custom-compile-command "make lock" requirements.txt --output-file requirements.lock

clean:
	rm -rf .venv _build dist *.egg-info .*_cache .hypothesis .coverage
