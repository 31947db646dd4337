#!/bin/sh
# The collection as users get it: built, installed into an empty path, and complete from there.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

ansible-galaxy collection build --output-path "$work" . >/dev/null
# Its dependencies come with the `ansible` package of this environment.
ansible-galaxy collection install --no-deps --collections-path "$work/collections" "$work"/mistralrs-stack-*.tar.gz >/dev/null
for path in tests molecule Makefile .cache requirements; do
    if [ -e "$work/collections/ansible_collections/mistralrs/stack/$path" ]; then
        echo "error: the built collection contains $path: add it to build_ignore in galaxy.yml."
        exit 1
    fi
done

cd "$work"
export ANSIBLE_COLLECTIONS_PATH="$work/collections"
ansible-doc --type module mistralrs.stack.model | grep -q sha256
ansible-doc --type role mistralrs.stack.mistral_server | grep -q mistral_server_memory_limit
printf 'all:\n  hosts:\n    bare:\n      ansible_connection: local\n' >inventory.yml
# An inventory without the groups is refused in one sentence, by the playbook of the installed collection.
if ansible-playbook --inventory inventory.yml mistralrs.stack.site >output 2>&1; then
    cat output
    echo "error: an inventory without groups was accepted."
    exit 1
fi
grep -q 'inventory.group_empty' output || {
    cat output
    exit 1
}
ansible-playbook --inventory inventory.yml --syntax-check mistralrs.stack.site >/dev/null
echo "The built collection is complete."
