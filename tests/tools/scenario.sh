#!/bin/sh
# Runs one scenario with what it brings along. Usage: tests/tools/scenario.sh NAME
set -eu
cd "$(dirname "$0")/../.."
# Made on the controller, before the scenario's variables are read.
if [ -e "molecule/$1/ingredients.py" ]; then
    python "molecule/$1/ingredients.py" prepare
fi
exec molecule test --scenario-name "$1"
