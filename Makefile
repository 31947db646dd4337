# The one door: `make help` lists the targets. Everything they install goes to .cache/ in this folder.
.DEFAULT_GOAL := help
SHELL := /bin/sh
.DELETE_ON_ERROR:

BIN := .cache/venv/bin
# A user's own Ansible settings must not change what the targets do.
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
export ANSIBLE_HOME := $(CURDIR)/.cache/ansible
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/.cache/collections
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONPYCACHEPREFIX := $(CURDIR)/.cache/pycache
# Where byte code may not be written, each module of each task compiles the standard library anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help
help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | sort | while IFS='	' read -r target text; do printf '  make %-10s %s\n' "$$target" "$$text"; done

.PHONY: setup
setup: ## Prepare Ansible and the demo's model in .cache/ (the other targets do it themselves)
	@tests/tools/environment.sh demo

.PHONY: setup-test
setup-test:
	@tests/tools/environment.sh test

.PHONY: demo
demo: setup ## Provision a throw-away host end to end and ask it one chat completion over HTTPS
	@$(BIN)/python -m tests.demo.demo up

.PHONY: demo-down
demo-down: setup ## Take the demo's host away; nothing of it stays but the cache in .cache/
	@$(BIN)/python -m tests.demo.demo down

.PHONY: lint
lint: setup-test ## Style, types, documentation and generated pages
	@tests/tools/lint.sh

.PHONY: unit
unit: setup-test ## Unit tests
	@$(BIN)/python -m pytest -n auto --dist worksteal

.PHONY: test
test: setup-test ## All that CI runs: lint, unit tests, sanity, real engine and servers, scenarios on real hosts
	@tests/tools/run.sh

.PHONY: test-all
test-all: setup-test ## The same with the slow witnesses (drivers on two releases, nvcc, the newest BuildKit), the demo, fuzzing
	@tests/tools/run.sh --all

.PHONY: bench
bench: setup-test ## Measure downloads beside curl, openssl and get_url (takes minutes; not a part of the tests)
	@$(BIN)/python -m tests.perf.fetch

.PHONY: docs
docs: setup-test ## Write the generated pages: README of each role, docs/errors.md, changelog
	@$(BIN)/python docs/generate.py

.PHONY: lock
lock: ## Renew the locked requirements (needs uv)
	@for version in 3.11 3.12; do for set in demo test; do \
	  uv pip compile --quiet --upgrade --universal --generate-hashes --python-version $$version \
	    --custom-compile-command "make lock" --output-file requirements/$$set-py$$(echo $$version | tr -d .).txt requirements/$$set.in || exit 1; \
	done; done
