#!/bin/sh
# Runs one scenario and shows its log when it has ended, so that several can run side by side. Usage: tests/tools/scenario.sh NAME
set -eu
cd "$(dirname "$0")/../.."
log=.cache/logs/scenario-$1.log
mkdir -p .cache/logs
echo "=== scenario $1: begun, its log is $log"
: >"$log"
start=$(date +%s)
result=passed
# What a scenario brings along is made on the controller, before its variables are read.
if [ -e "molecule/$1/ingredients.py" ]; then
    python "molecule/$1/ingredients.py" prepare >"$log"
fi
molecule test --scenario-name "$1" >>"$log" 2>&1 || result=FAILED
cat "$log"
echo "=== scenario $1: $result in $(($(date +%s) - start)) s"
[ "$result" = passed ]
