#!/bin/sh
# Imitates NVIDIA's CUDA images (devel and runtime): Debian with the same paths and a stand-in for nvcc.
#   bases.sh make CACHE      makes their archives, unless they are in the folder CACHE
#   bases.sh import CACHE    gives them to Docker
set -eu
here=$(cd "$(dirname "$0")" && pwd)
verb=$1
key=$(cat "$0" "$here/nvcc" | sha256sum | cut -c 1-16)

base() {
    name=$1
    archive=$2/$1-$key.tar
    shift 2
    case $verb in
    make)
        [ -f "$archive" ] || {
            mmdebstrap --variant=minbase --format=tar --dpkgopt='path-exclude=/usr/share/man/*' \
                --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' "$@" trixie "$archive.new"
            mv "$archive.new" "$archive"
        }
        ;;
    import) docker image inspect "stand-in/cuda:$name" >/dev/null 2>&1 || docker import "$archive" "stand-in/cuda:$name" ;;
    esac
}

base runtime "$2" --include=ca-certificates,libgomp1,openssl
# The same packages as the role wants; what is there is not fetched.
base devel "$2" --include=build-essential,ca-certificates,cargo,curl,git,libssl-dev,pkg-config,rustc \
    --customize-hook='mkdir -p "$1/usr/local/cuda/bin"' --customize-hook="copy-in $here/nvcc /usr/local/cuda/bin"
