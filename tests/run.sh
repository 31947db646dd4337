#!/bin/sh
# What `make test` runs, in the order of cost; `--all` adds the slow extras. Ends with one line of figures.
set -eu
cd "$(dirname "$0")/.."
all=${1:-}
begin=$(date +%s)

part() {
    label=$1
    shift
    echo "=== $label"
    start=$(date +%s)
    "$@"
    echo "=== $label: passed in $(($(date +%s) - start)) s"
}

part "lint" tests/lint.sh
part "unit tests" python -m pytest tests/unit
part "sanity" tests/sanity.sh
part "scenario default" molecule test --scenario-name default
if [ "$all" = --all ]; then
    part "scenario debian12" molecule test --scenario-name debian12
    part "built collection" tests/built_collection.sh
    part "demo" tests/demo/check.sh
fi
echo "All parts passed in $(($(date +%s) - begin)) s."
