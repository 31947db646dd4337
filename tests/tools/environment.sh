#!/bin/sh
# Prepares the private environment in .cache/: a virtual environment with the locked requirements and a
# collections path in which this checkout is mistralrs.stack. Usage: tests/tools/environment.sh demo|test
# Costs nothing when it is up to date.
set -eu

set_name=${1:?usage: tests/tools/environment.sh demo|test}
cd "$(dirname "$0")/../.."
cache=$PWD/.cache
venv=$cache/venv

die() {
    echo "error: $*" >&2
    exit 2
}

# Prints the interpreter below any virtual environment: the one of an earlier run is not to be its own base.
probe='import os, sys, venv, ensurepip
if sys.version_info < (3, 11):
    sys.exit(1)
print(os.path.realpath(sys._base_executable))'

# The newest interpreter that really runs: names on PATH can be shims that do not.
find_python() {
    for version in 3.14 3.13 3.12 3.11; do
        for candidate in "python$version" "$HOME/.pyenv/versions/$version"*/bin/python3; do
            "$candidate" -c "$probe" 2>/dev/null && return
        done
    done
    python3 -c "$probe" 2>/dev/null && return
    if python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        die "$(command -v python3) has no venv module: install it (Debian, Ubuntu: apt-get install python3-venv) and repeat. [controller.no_venv]"
    fi
    found=$(python3 --version 2>/dev/null || echo "no python3")
    die "the controller needs Python 3.11 or newer, found $found: install a newer one (for example the packages python3.12 python3.12-venv) and repeat. [controller.python_too_old]"
}

link_collection() {
    parent=$cache/collections/ansible_collections/mistralrs
    if [ "$(readlink "$parent/stack" 2>/dev/null)" != "$PWD" ]; then
        mkdir -p "$parent"
        ln -sfn "$PWD" "$parent/stack"
    fi
}

link_collection
python=$(find_python)
tag=$("$python" -c 'import sys; print("py311" if sys.version_info < (3, 12) else "py312")')
lock=requirements/$set_name-$tag.txt
stamp=$venv/installed-$set_name
key="$python $(cksum <"$lock")"

if [ "$(cat "$stamp" 2>/dev/null)" = "$key" ]; then
    exit 0
fi
if [ "$(cat "$venv/interpreter" 2>/dev/null)" != "$python" ]; then
    rm -rf "$venv"
    "$python" -m venv "$venv"
    echo "$python" >"$venv/interpreter"
fi
echo "Installing the locked requirements $lock for $python into .cache/venv (1 to 3 minutes) ..."
start=$(date +%s)
# Byte code is made when first imported: compiling all of `ansible` here costs a minute and is mostly unused.
"$venv/bin/pip" --quiet --disable-pip-version-check install --no-compile --require-hashes -r "$lock" ||
    die "pip could not install $lock: see its message above; behind a proxy that re-signs TLS set PIP_CERT to your CA bundle, and PIP_INDEX_URL for a mirror. [controller.requirements]"
echo "$key" >"$stamp"
echo "Installed in $(($(date +%s) - start)) s."
