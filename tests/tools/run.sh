#!/bin/sh
# What `make test` runs; `--all` adds the slow extras. Ends with one line of figures, or with the names of what failed.
set -eu
cd "$(dirname "$0")/../.."
all=${1:-}
begin=$(date +%s)
skipped=
# Plain lines: nobody watches a log in colour.
export NO_COLOR=1 PY_COLORS=0
failures=.cache/failures
rm -f "$failures"

job() {
    tests/tools/job.sh "$failures" "$@"
}

# Jobs wait for hosts, services and packages for a good part of their time, so one more than there are cores runs side by
# side; more than six would only compete for the memory.
pool() {
    cores=$(nproc)
    xargs -L 1 -P "$((cores < 5 ? cores + 1 : 6))" tests/tools/job.sh "$failures"
}

# The few lines of a log that say what failed, without the frame and the line breaks that Ansible puts around a test's output.
what_failed() {
    sed -E 's/\x1b\[[0-9;]*m//g; s/^[ │]+//' "$1" |
        sed -E '/^FAILED *$/ { N; s/\n/ / }' |
        grep -aE '^(FAILED|ERROR|error:|E  |fatal:)' | grep -av 'Use -v to\|return code\|Molecule executed' | cut -c 1-160 | tail -n 10
}

finish() {
    if [ -s "$failures" ]; then
        # Whoever sees only the end of the output sees what to look at.
        while read -r part; do
            echo "--- $part"
            what_failed ".cache/logs/$part.log"
        done <"$failures"
        echo "FAILED after $(($(date +%s) - begin)) s: $(tr '\n' ' ' <"$failures")"
        exit 1
    fi
}

# Alone, since some of them look at the clock.
job unit-tests python -m pytest -n auto --dist worksteal --durations 15
finish

# Without a registry or a compiler the real server can't be had; CI has both.
engine=real_engine
reason=$(python molecule/real_engine/ingredients.py available) || {
    engine=
    skipped="scenario real_engine (the real mistral.rs server): $reason"
    if [ "${CI:-}" = true ]; then
        echo "error: the scenario real_engine must run here, but $reason."
        exit 1
    fi
    echo "=== SKIPPED: $skipped"
}
# The real server takes a while to compile on a machine's first run; with --all, two of the others run alone, and slowly.
slow="nvidia_driver engine_image"
[ "$all" != --all ] || slow=
{
    # The longest first.
    for name in full_stack $engine $slow gpu_host; do
        echo "scenario-$name tests/tools/scenario.sh $name"
    done
    echo lint tests/tools/lint.sh
    echo sanity tests/tools/sanity.sh
    echo gateway-role python -m pytest tests/component/real_servers/test_gateway.py
    echo real-servers python -m pytest tests/component/real_servers --deselect tests/component/real_servers/test_gateway.py
    echo gateway-requests python -m pytest tests/component/gateway
    echo evaluation-server python -m pytest tests/component/evaluation_server
    echo scenario-gateway tests/tools/scenario.sh gateway
    echo scenario-gateway_tls tests/tools/scenario.sh gateway_tls
    echo built-collection tests/tools/built_collection.sh
} | pool
finish

if [ "$all" = --all ]; then
    # Drivers are built up to nine times on two releases.
    job scenario-engine_image env SLOW=1 molecule test --scenario-name engine_image
    job scenario-cuda_build molecule test --scenario-name cuda_build
    job scenario-nvidia_driver_matrix env SLOW=1 molecule test --scenario-name nvidia_driver_matrix
    job demo tests/demo/check.sh
    job gateway-load env REQUESTS=100000 python -m pytest tests/component/gateway/test_load.py
    job gateway-changes env CHANGES=24 python -m pytest tests/component/real_servers/test_random_changes.py
    job gateway-streams env STREAMS=2000 python -m pytest tests/component/gateway/test_many_streams.py
    job fuzzing tests/fuzz/run.sh
    finish
fi
echo "All parts passed in $(($(date +%s) - begin)) s.${skipped:+ Skipped: $skipped.}"
