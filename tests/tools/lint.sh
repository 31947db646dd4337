#!/bin/sh
# Style, types, documentation and generated pages; prints what it does and stops at the first tool that complains.
set -eu
cd "$(dirname "$0")/../.."

step() {
    echo "== $*"
    "$@"
}

step ruff check --quiet .
step ruff format --check --quiet .
# Through the collections path, so that `ansible_collections.mistralrs.stack` names this checkout.
step mypy .cache/collections/ansible_collections/mistralrs/stack/plugins
step mypy --python-version 3.11 docs/generate.py tests/testbed tests/tools tests/demo tests/fakes/apt tests/fakes/gpu tests/fakes/hub
step yamllint --strict .
step ansible-lint --offline --strict -q
step antsibull-changelog lint
step python docs/generate.py --check
step tests/tools/documentation.sh
