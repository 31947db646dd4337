#!/bin/sh
# What `make test` runs, in the order of cost; `--all` adds the slow extras. Ends with one line of figures.
set -eu
cd "$(dirname "$0")/../.."
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
    printf '%s\n' "$@" | xargs -n 1 -P 2 tests/tools/scenario.sh
}

part "lint and sanity" beside tests/tools/lint.sh tests/tools/sanity.sh
part "unit tests" python -m pytest -n auto --dist worksteal
part "built collection" tests/tools/built_collection.sh
part "real servers and engine" beside "python -m pytest tests/component/real_servers" "python -m pytest tests/component/evaluation_server"
# The real server takes some minutes to compile on a machine's first run, and comes first; without a registry it can't be had.
engine=real_engine
reason=$(python molecule/real_engine/ingredients.py available) || {
    if [ "${CI:-}" = true ]; then
        echo "error: the scenario real_engine must run here, but $reason."
        exit 1
    fi
    engine=
    skipped="scenario real_engine (the real mistral.rs server): $reason"
    echo "=== SKIPPED: $skipped"
}
if [ "$all" != --all ]; then
    # shellcheck disable=SC2086
    part "scenarios" scenarios $engine nvidia_driver full_stack gpu_host engine_image gateway
else
    # shellcheck disable=SC2086
    part "scenarios" scenarios $engine full_stack gpu_host gateway
    # With the slow witnesses, one after the other: drivers are built up to nine times on two releases.
    part "scenario engine_image" env SLOW=1 molecule test --scenario-name engine_image
    part "scenario cuda_build" molecule test --scenario-name cuda_build
    part "scenario nvidia_driver_matrix" env SLOW=1 molecule test --scenario-name nvidia_driver_matrix
    part "demo" tests/demo/check.sh
    part "fuzzing" tests/fuzz/run.sh
fi
echo "All parts passed in $(($(date +%s) - begin)) s.${skipped:+ Skipped: $skipped.}"
