#!/bin/sh
# Runs a command as a part of `make test`: its output comes whole when it has ended, so that several can run side by
# side, and its name goes into the file FAILURES if it fails. Usage: tests/tools/job.sh FAILURES NAME COMMAND...
set -eu
cd "$(dirname "$0")/../.."
failures=$1
name=$2
shift 2
log=.cache/logs/$name.log
mkdir -p .cache/logs
echo "=== $name: begun, its log is $log"
start=$(date +%s)
result=passed
"$@" >"$log" 2>&1 </dev/null || result=FAILED
cat "$log"
echo "=== $name: $result in $(($(date +%s) - start)) s"
[ "$result" = passed ] || echo "$name" >>"$failures"
