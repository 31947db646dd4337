#!/bin/sh
# Imitates NVIDIA's CUDA images (devel and runtime): Debian with the same paths and a stand-in for nvcc, as Docker images.
# bases.sh CACHE: archives are kept in the folder CACHE.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cache=$1

make() {
    name=$1
    shift
    archive=$cache/$name-$(cat "$0" "$here/nvcc" | sha256sum | cut -c 1-16).tar
    if [ ! -f "$archive" ]; then
        mmdebstrap --variant=minbase --format=tar --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
            --dpkgopt='path-exclude=/usr/share/locale/*' "$@" trixie "$archive.new"
        mv "$archive.new" "$archive"
    fi
    docker import "$archive" "stand-in/cuda:$name"
}

make runtime --include=ca-certificates,libgomp1,openssl
# The same packages as the role wants; what is there is not fetched.
make devel --include=build-essential,ca-certificates,cargo,curl,git,libssl-dev,pkg-config,rustc \
    --customize-hook='mkdir -p "$1/usr/local/cuda/bin"' --customize-hook="copy-in $here/nvcc /usr/local/cuda/bin"
