#!/bin/sh
# Fuzz the two header parsers, ten minutes in all: no crash, no hang, no growth. FUZZ_SECONDS shortens it.
set -eu
cd "$(dirname "$0")/../.."
seconds=${FUZZ_SECONDS:-600}
python -m pip install --quiet --disable-pip-version-check --target .cache/fuzz --upgrade -r requirements/fuzz.txt
for parser in gguf safetensors; do
    mkdir -p ".cache/fuzz-corpus/$parser"
    PYTHONPATH=.cache/fuzz python -m tests.fuzz.headers "$parser" ".cache/fuzz-corpus/$parser" \
        -dict="tests/fuzz/$parser.dict" \
        -max_total_time=$((seconds / 2)) -timeout=10 -rss_limit_mb=512 -max_len=65536 -verbosity=0 -print_final_stats=1
done
