#!/bin/sh
# The bases of the engine's image: Debian, and the same with a Rust toolchain. Runs on the scenario's host.
#   bases.sh FOLDER TOOLCHAIN    TOOLCHAIN is the version of FOLDER/rust-VERSION.tar, or `distribution`:
#                                then both are Debian unstable, whose cargo is new enough for the engine
set -eu
folder=$1
toolchain=$2

make_base() {
    mmdebstrap --variant=minbase --format=tar --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' "$@"
}

for name in runtime devel; do
    docker image inspect "test/debian:$name-$toolchain" >/dev/null 2>&1 && continue
    set -- --include=ca-certificates
    suite=trixie
    if [ "$toolchain" = distribution ]; then
        suite=sid
        [ "$name" = runtime ] || set -- --include=ca-certificates,cargo,rustc
    elif [ "$name" = devel ]; then
        set -- "$@" "--customize-hook=tar-in $folder/rust-$toolchain.tar /usr/local"
    fi
    make_base "$@" "$suite" - | docker import - "test/debian:$name-$toolchain" >/dev/null
done
