#!/bin/sh
# What `make test` runs, in the order of cost; `--all` adds the slow extras. Ends with one line of figures.
set -eu
cd "$(dirname "$0")/.."
all=${1:-}
begin=$(date +%s)
skipped=
# Plain lines: nobody watches a log in colour.
export NO_COLOR=1 PY_COLORS=0

part() {
    label=$1
    shift
    echo "=== $label"
    start=$(date +%s)
    "$@"
    echo "=== $label: passed in $(($(date +%s) - start)) s"
}

# Runs two parts at once, each on one core: the first is watched, the second's lines follow when both have ended.
beside() {
    log=.cache/logs/beside.log
    mkdir -p .cache/logs
    sh -c "$2" >"$log" 2>&1 &
    other=$!
    result=0
    sh -c "$1" || result=$?
    wait "$other" || result=$?
    cat "$log"
    return "$result"
}

# A scenario waits for its host half of the time, so two run side by side, the longest first.
scenarios() {
    printf '%s\n' "$@" | xargs -n 1 -P 2 tests/scenario.sh
}

part "lint and sanity" beside tests/lint.sh tests/sanity.sh
part "unit tests" python -m pytest -n auto --dist worksteal tests/unit
part "gateway" python -m pytest tests/gateway
part "built collection" tests/built_collection.sh
part "real servers and engine" beside "python -m pytest tests/servers" "python -m pytest tests/engine"
# The real server takes some minutes to compile on a machine's first run, and comes first; without a registry it can't be had.
engine=engine
reason=$(python tests/scenario/engine/ingredients.py available) || {
    if [ "${CI:-}" = true ]; then
        echo "error: the scenario engine must run here, but $reason."
        exit 1
    fi
    engine=
    skipped="scenario engine (the real mistral.rs server): $reason"
    echo "=== SKIPPED: $skipped"
}
if [ "$all" != --all ]; then
    # shellcheck disable=SC2086
    part "scenarios" scenarios $engine driver default toolkit image gateway
else
    # shellcheck disable=SC2086
    part "scenarios" scenarios $engine default toolkit gateway
    # With the slow witnesses, one after the other: drivers are built up to nine times on two releases.
    part "scenario image" env SLOW=1 molecule test --scenario-name image
    part "scenario cuda" molecule test --scenario-name cuda
    part "scenario nvidia" env SLOW=1 molecule test --scenario-name nvidia
    part "demo" tests/demo/check.sh
    part "fuzzing" tests/fuzz/run.sh
fi
echo "All parts passed in $(($(date +%s) - begin)) s.${skipped:+ Skipped: $skipped.}"
