# fanlight's commands for people and machines; `make` alone lists them. All of them use .venv, which the first one
# to run sets up and later ones leave alone until pyproject.toml or constraints.txt changes.

# The first Python on the PATH that is new enough; to choose another: make test PYTHON=/path/to/python
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
VENV := .venv
PY := $(VENV)/bin/python
FANLIGHT := $(VENV)/bin/fanlight
READY := $(VENV)/.ready

# More words for pytest, as in: make test ARGS="-k mirror -x"
ARGS ?=

# uv does not read pip's settings, so where pip finds packages, and whom it trusts, is handed on.
FIND_LINKS := $(foreach link,$(PIP_FIND_LINKS),--find-links "$(link)")
TRUST := $(if $(PIP_CERT),SSL_CERT_FILE="$(PIP_CERT)")

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test slow bench notebook lint format audit clean

help:
	@echo 'make demo     make synthetic faces, train a small network on them, judge it, write a report (10 minutes)'
	@echo 'make test     run the tests; more words for pytest: make test ARGS="-k mirror -x"'
	@echo 'make slow     run the tests that take longer than a few seconds each'
	@echo 'make bench    time everything on one core beside the limits of the machine (15 minutes): benchmarks/README.md'
	@echo 'make notebook run examples/experiments.ipynb anew, which changes the outputs in it (3 minutes)'
	@echo 'make lint     check style and types'
	@echo "make format   put the code into the project's style"
	@echo 'make audit    ask PyPI for known advisories about the packages in constraints.txt (needs the network)'
	@echo 'make setup    only set up .venv (the others do it by themselves)'
	@echo 'make clean    remove what demo, builds and caches left; .venv and runs/ stay'

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { \
	  echo 'fanlight needs Python 3.11 or newer, and the PATH has none as python3, python3.13, python3.12 or' >&2; \
	  echo 'python3.11. Install one, or name it: make setup PYTHON=/path/to/python3.11' >&2; exit 1; }
	@echo 'Setting up $(VENV): a minute or so, most of it for PyTorch'
	@$(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || "$(PYTHON)" -m venv --clear $(VENV)
	@{ $(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt uv \
	    && $(TRUST) $(PY) -m uv pip install --python $(PY) $(FIND_LINKS) -c constraints.txt -b constraints.txt \
	      -e '.[dev]'; } \
	  || { echo 'uv could not do it; trying plain pip, which takes longer'; \
	    $(PY) -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'; }
	@touch $@

demo: $(READY)
	@rm -rf demo/faces demo/run demo/report demo/predictions
	$(FANLIGHT) data synth --out demo/faces -n 3000 --seed 0
	$(FANLIGHT) train recipes/demo.toml --out demo/run
	$(FANLIGHT) eval demo/run/checkpoints/best.ckpt --index demo/faces/index.tsv --partition synthetic/test \
	  --report demo/report
	$(FANLIGHT) predict --model demo/run/checkpoints/best.ckpt --boxes demo/faces/index.tsv --out demo/predictions $$(awk -F'\t' \
	  '$$1 == "synthetic" && $$2 == "test" && n++ < 6 { print "demo/faces/" $$4 }' demo/faces/index.tsv)
	@echo
	@echo 'Faces the network had not seen, with the landmarks it predicts: demo/predictions'
	@echo 'The report, to open in a browser:' demo/report/*.html

test: $(READY)
	$(PY) -m pytest $(ARGS)

slow: $(READY)
	$(PY) -m pytest -m 'slow and not gpu' $(ARGS)

bench: $(READY)
	$(PY) -m benchmarks $(ARGS)

notebook: $(READY)
	$(PY) -c 'import nbclient, nbformat; path = "examples/experiments.ipynb"; notebook = nbformat.read(path, 4); \
	  where = {"metadata": {"path": "examples"}}; \
	  nbclient.NotebookClient(notebook, record_timing=False, resources=where).execute(); \
	  nbformat.write(notebook, path)'

lint: $(READY)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

format: $(READY)
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

audit: $(READY)
	@$(TRUST) $(VENV)/bin/uvx pip-audit@2.10.1 -r constraints.txt --no-deps --disable-pip --strict --progress-spinner off || { \
	  echo 'make audit: not clean. Either a table above names the advisories, or PyPI could not be asked about all packages' >&2; \
	  echo '(no network, or a mirror, which has no advisories): then nothing is known; run it where PyPI itself answers.' >&2; \
	  exit 1; }

clean:
	rm -rf demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name .venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
