#!/bin/sh
# ansible-doc prints a complete page for every module, filter and role of the collection.
set -eu
cd "$(dirname "$0")/../.."

show() {
    kind=$1 name=mistralrs.stack.$2
    page=$(ansible-doc --type "$kind" "$name" 2>&1) || {
        echo "$page"
        exit 1
    }
    # ansible-doc prints a warning and goes on where it finds nothing.
    case $page in
    *"$name not found"* | *"$name was not found"* | *"ERROR"* | "")
        echo "error: ansible-doc has no page for the $kind $name: $page"
        exit 1
        ;;
    esac
}

for file in plugins/modules/[a-z]*.py; do show module "$(basename "$file" .py)"; done
for file in plugins/filter/[a-z]*.py; do show filter "$(basename "$file" .py)"; done
for folder in roles/*/; do show role "$(basename "$folder")"; done
