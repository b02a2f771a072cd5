# make help: the targets, and what each does.
PYTHON ?= python3
BIN := .venv/bin
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python

.DEFAULT_GOAL := book
.PHONY: help book slides figures test try new times data lint types unit nbval notebooks exercises proof browser serve bench gpu links audit lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/uv:
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" \
		|| { echo "Python 3.11 or newer is needed: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check uv

.venv/book: book/requirements.txt requirements.lock | $(BIN)/uv
	$(UV) --constraint requirements.lock --requirement book/requirements.txt
	@touch $@

.venv/all: requirements.txt requirements.lock pyproject.toml | $(BIN)/uv
	$(UV) --compile-bytecode --require-hashes --requirement requirements.lock
	$(UV) --no-deps --editable .
	@touch $@ .venv/book

# make book SOLUTIONS=no, for a class: built from a copy that holds no solution, and
# nothing for instructors.
ifeq ($(SOLUTIONS),no)
export CLASS_BUILD := 1
endif
BUILD := $(BIN)/jupyter-book build --warningiserror --nitpick --keep-going
book: .venv/book ## render the course from the notebooks; SOLUTIONS=no: for a class
	@rm -rf _build/.doctrees  # a page that is not read again does not warn again
ifeq ($(SOLUTIONS),no)
	@rm -rf _build/html
	$(BIN)/python -m tools.handout _build/handout
	$(BUILD) --path-output . _build/handout
	$(BIN)/python -m tools.handout --search _build/html
else
	$(BUILD) .
endif
	@echo "The first page: $(CURDIR)/_build/html/index.html"

slides: book ## a deck of slides for each chapter, from its page
	$(BIN)/python -m tools.slides

figures: .venv/book ## all figures of the book in one archive, for slides of others
	$(BIN)/python -m tools.figures

# The parts of `make test`, and how long each took; MORE=browser adds one.
test: ## prove it: lint, types, tests, notebooks, the book
	@MAKE="$(MAKE)" $(PYTHON) -m tools.gate .venv/all data lint types unit nbval book $(MORE)

lint: .venv/all ## ruff, spelling, notebooks against their texts, workflows
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/python -m tools.notebooks --check
	$(BIN)/python -m tools.exercises --check
	$(BIN)/zizmor --offline --quiet .github
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-actions .github/actions/*/action.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml

types: .venv/all ## mypy --strict
	$(BIN)/mypy

data: .venv/all ## look for Fashion-MNIST, and fetch it
	@$(BIN)/python -m course_lib.data \
		|| { $(call DEBIAN,dataset-fashion-mnist); $(BIN)/python -m course_lib.data; }

# What a Debian or Ubuntu has as a package: the data, where no source answered, and Chromium.
APT := apt-get install --yes --quiet
DEBIAN = if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; \
	then apt-get update --quiet && $(APT) $(1); \
	else echo "On Debian or Ubuntu: sudo $(APT) $(1)"; exit 1; fi

# As many files at a time as there are cores, eight at most, with one thread each; one more
# of tests, which often wait for other processes.
CORES := $(shell getconf _NPROCESSORS_ONLN | awk '{print ($$1 < 8) ? $$1 : 8}')
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
# What unit tests do without: nbval alone takes longer to import than most of them take to run.
LIGHT := -p no:nbval -p no:hypothesispytest -p no:anyio -p no:slipcover -p no:logging

unit: .venv/all data ## all tests, with coverage
	$(PYTEST) $(LIGHT) -p tests.marks --numprocesses $$(($(CORES) + 1)) --dist worksteal --cov

# make try NAME=resnet: the tests, the examples, the types and the text of one topic.
TOPIC = $(wildcard tests/test_$(NAME).py tests/test_$(NAME)_*.py course_lib/$(NAME).py course_lib/$(NAME))
TEXT = $(basename $(notdir $(wildcard book/$(NAME).md)))
COMPLETE = $(if $(TEXT),'tests/test_chapters.py::test_a_chapter_is_complete[$(TEXT)]')
try: .venv/all ## NAME=resnet: what is about one topic, in seconds
	@test -n "$(NAME)" -a -n "$(TOPIC)" \
		|| { echo "make try NAME=TOPIC, such as resnet; there is no topic '$(NAME)'"; exit 1; }
	@$(BIN)/ruff check $(TOPIC) && $(BIN)/ruff format --check $(TOPIC)
	@$(BIN)/mypy $(filter course_lib/%,$(TOPIC)) & types=$$!; \
		$(PYTEST) $(LIGHT) --quiet $(TOPIC) $(COMPLETE) \
		$(if $(TEXT),&& $(BIN)/python -m tools.notebooks --check $(TEXT)) && wait $$types

# make new NAME=squeezenet PAPER=1602.07360 QUESTION="how small can it be?" and so on.
new: .venv/all ## NAME=squeezenet: begin the chapter of a network; CONTRIBUTING.md
	@$(BIN)/python -m tools.new_chapter $(NAME) --class "$(CLASS)" --paper "$(PAPER)" \
		--title "$(TITLE)" --authors "$(AUTHORS)" --question "$(QUESTION)"

# What a graphics card must not do: round to TF32, and add in any order (tests/kernel.py).
CARD := NVIDIA_TF32_OVERRIDE=0 CUBLAS_WORKSPACE_CONFIG=:4096:8 PYTHONSTARTUP=$(CURDIR)/tests/kernel.py
NBVAL_OPTIONS := --nbval --nbval-current-env --nbval-cell-timeout 900 -p tests.notebooks.plugin

# The longest first, by book/results/notebooks.csv; make times rewrites it.
nbval: .venv/all data ## run all notebooks again, and compare
	$(CARD) $(PYTEST) --numprocesses $(CORES) --dist loadfile --no-loadscope-reorder \
		$(NBVAL_OPTIONS) $(NBVAL) book/*.ipynb book/solutions

times: ## nbval, and write down how long each notebook takes
	$(MAKE) nbval NBVAL="--times book/results/notebooks.csv"

notebooks: .venv/all data ## execute the texts whose code changed; NAMES=lenet: this one
	$(BIN)/python -m tools.notebooks $(NAMES)

exercises: .venv/all data ## the same for exercises; NAMES=lenet
	$(BIN)/python -m tools.exercises $(NAMES)

.venv/teach .venv/proof: .venv/%: .venv/all
	$(UV) --constraint requirements.lock --editable ".[$*]"
	@touch $@

proof: .venv/all .venv/teach .venv/proof data ## what no test can show in minutes; NAMES=faults: a part
	$(BIN)/python -m proofs $(NAMES)

.venv/browser: tests/browser/requirements.txt | .venv/book
	$(UV) --requirement $<
	@touch $@

browser: .venv/browser slides ## open every page and slide of the book in Chromium
	@command -v "$${CHROMIUM:-chromium-headless-shell}" > /dev/null \
		|| ( $(call DEBIAN,chromium-headless-shell) ) || command -v chromium > /dev/null \
		|| ( $(call DEBIAN,chromium) )
	$(BIN)/python tests/browser/suite.py

serve: book ## show the book on a local port
	$(BIN)/python -m http.server --directory _build/html

# About 25 minutes, on a machine that does nothing else. For the figures of an older laptop:
# make bench LIMIT="ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2"
BENCHMARKS := imports pipeline xray peak compiled fullscale training time_to_accuracy
bench: .venv/all data ## the benchmarks, in 25 minutes on an idle machine
	for name in $(BENCHMARKS); do $(LIMIT) $(BIN)/python -m benchmarks.$$name || exit 1; done

# On a graphics card: make gpu PARTS="step --limit 300".
gpu: .venv/all data ## on a graphics card: notebooks, steps, training, what is missing
	$(BIN)/python -m tools.gpu --out _build/gpu $(PARTS)

links: .venv/book ## follow every link of the book
	$(BIN)/jupyter-book build --builder linkcheck .

audit: $(BIN)/uv ## known vulnerabilities of what the lock names
	$(BIN)/uv tool run pip-audit@2.10.1 --requirement requirements.lock --disable-pip --require-hashes --strict

lock: $(BIN)/uv ## renew requirements.lock
	$(UV:install=compile) --upgrade --universal --generate-hashes --python-version 3.11 \
		--custom-compile-command "make lock" requirements.txt --output-file requirements.lock

clean: ## remove what was built
	rm -rf .venv _build dist *.egg-info .*_cache .hypothesis .coverage
