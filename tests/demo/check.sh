#!/bin/sh
# The demo as a stranger runs it: up, up again without a change, down without a trace.
set -eu
cd "$(dirname "$0")/../.."
output=$(mktemp)
trap 'rm -f "$output"' EXIT

run() {
    "$@" >"$output" 2>&1 || {
        cat "$output"
        exit 1
    }
}

DEMO_PORT=${DEMO_PORT:-18444}
export DEMO_PORT
run make demo
grep -q Paris "$output" || { cat "$output"; echo "error: the demo printed no sensible answer."; exit 1; }
start=$(date +%s)
run make demo
seconds=$(($(date +%s) - start))
grep -q 'nothing was changed (changed=0)' "$output" || { cat "$output"; echo "error: the second run changed something."; exit 1; }
[ "$seconds" -le 60 ] || { echo "error: the second run took $seconds s, more than 60 s."; exit 1; }
tests/tools/built_collection.sh "$PWD/.cache/demo/inventory.yml" "$PWD/tests/demo/vars.yml" "$PWD/.cache/demo/variables.json"
run make demo-down
status=$(python tests/testbed/bed.py status)
case $status in
*demo*) echo "error: the demo left something: $status"; exit 1 ;;
esac
echo "The demo works; the repeated run took $seconds s."
