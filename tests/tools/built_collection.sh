#!/bin/sh
# The collection as users get it: built, installed into an empty path, and complete from there.
# With an inventory and files of variables as arguments, its site playbook runs against them and must change nothing.
set -eu
cd "$(dirname "$0")/../.."
root=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# This checkout must not pass for the installed collection.
export ANSIBLE_COLLECTIONS_PATH="$work/collections"
ansible-galaxy collection build --output-path "$work" . >/dev/null
# Its dependencies come with the `ansible` package of this environment.
ansible-galaxy collection install --no-deps --collections-path "$work/collections" "$work"/mistralrs-stack-*.tar.gz >/dev/null
installed=$work/collections/ansible_collections/mistralrs/stack
for path in .cache .ci .config Makefile molecule requirements tests; do
    if [ -e "$installed/$path" ]; then
        echo "error: the built collection contains $path: add it to build_ignore in galaxy.yml."
        exit 1
    fi
done

cd "$work"
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
if [ $# -gt 0 ]; then
    inventory=$1
    shift
    for file; do
        set -- "$@" --extra-vars "@$file"
        shift
    done
    ansible-playbook --inventory "$inventory" "$@" --extra-vars "stack_root=$root" mistralrs.stack.site >output 2>&1 ||
        { cat output; exit 1; }
    ! grep -q 'changed=[1-9]' output || { cat output; exit 1; }
    echo "The installed collection's site playbook changed nothing on the host of the checkout's."
fi
echo "The built collection is complete."
