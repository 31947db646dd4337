#!/bin/sh
# Keeps the image that the role built outside of the checkout, so that only the first run on a machine compiles it. The
# role names an image by a hash of all that it is made of: one that is loaded here and would be built otherwise, is built.
#   cache.sh load HOST               gives the kept image to the Docker of the host
#   cache.sh save HOST REFERENCE     keeps the image, unless it is kept
set -eu
here=$(cd "$(dirname "$0")" && pwd)
verb=$1
host=$2
cache=$(python3 "$here/ingredients.py" cache)

on_host() {
    python3 "$here/../../tests/testbed/bed.py" exec "$host" "$@"
}

case $verb in
load)
    # The newest is that of the last run.
    kept=$(find "$cache" -name '*.tar.gz' -printf '%T@ %p\n' 2>/dev/null | sort -n | tail -n 1 | cut -d ' ' -f 2-)
    if [ -n "$kept" ]; then
        on_host docker load --quiet <"$kept"
    else
        echo "nothing is kept"
    fi
    ;;
save)
    target=$cache/$(echo "$3" | tr / _).tar.gz
    if [ -f "$target" ]; then
        touch "$target"
        exit 0
    fi
    mkdir -p "$cache"
    on_host sh -c "docker save '$3' | gzip -1" >"$target.new.$$"
    gzip --test "$target.new.$$"
    mv "$target.new.$$" "$target"
    find "$cache" -name '*.tar.gz' ! -path "$target" -mtime +7 -delete
    find "$cache" -name '*.new.*' -mmin +60 -delete
    ;;
esac
