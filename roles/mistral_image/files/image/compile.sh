#!/usr/bin/env bash
# Compiles the engine in /build/source into /out. The caches of cargo and /build/target outlast the build.
set -euo pipefail
cd /build/source
export CARGO_TARGET_DIR=/build/target CARGO_NET_GIT_FETCH_WITH_CLI=true CARGO_TERM_COLOR=never
if [ -e /run/secrets/gitconfig ]; then
    export GIT_CONFIG_GLOBAL=/run/secrets/gitconfig
fi
if [ -e /run/secrets/cargo-config ]; then
    mkdir -p "${CARGO_HOME:-/root/.cargo}"
    ln -sf /run/secrets/cargo-config "${CARGO_HOME:-/root/.cargo}/config.toml"
fi
if [ -e /run/secrets/cargo-credentials ]; then
    ln -sf /run/secrets/cargo-credentials "${CARGO_HOME:-/root/.cargo}/credentials.toml"
fi
export GIT_TERMINAL_PROMPT=0
export "$THREADS_VARIABLE=$THREADS"
# An empty one is no value to the build scripts of the CUDA crates.
for name in CUDA_COMPUTE_CAP CUDA_NVCC_FLAGS; do
    if [ -z "${!name}" ]; then
        unset "$name"
    fi
done

# Cargo takes what it compiled from other source for fresh, if that is older: so what is in the cache of the engine's own
# crates is forgotten when the source is another one. What comes from elsewhere is known by its version.
source_id=$(find . -path ./.git -prune -o -type f -print0 | sort --zero-terminated | xargs --null sha256sum | sha256sum)
if [ "$(cat /build/target/source 2>/dev/null)" != "$source_id" ]; then
    awk '/^\[\[package\]\]/ { name = "" } /^name = / { name = $3 } /^source = / { name = "" }
         /^$/ { if (name) print name; name = "" } END { if (name) print name }' Cargo.lock | tr -d '"' |
        while read -r crate; do
            rm -rf "/build/target/release/.fingerprint/$crate"-*
        done
    echo "$source_id" >/build/target/source
fi

selection=(--locked --package "$PACKAGE" --features "$FEATURES")
if [ "$DEFAULT_FEATURES" = false ]; then
    selection+=(--no-default-features)
fi

echo "mistral-build: stage fetch"
for attempt in 1 2 3 4 5; do
    if cargo fetch --locked; then
        break
    elif [ "$attempt" = 5 ]; then
        echo "mistral-build: error crates_unreachable"
        exit 1
    fi
    sleep "$attempt"
done
echo "mistral-build: crates $(cargo tree --offline --prefix none --edges normal,build "${selection[@]}" | cut -d ' ' -f 1,2 | sort -u | wc -l)"
echo "mistral-build: stage compile"
cargo build --release --offline --bin "$BINARY" --jobs "$JOBS" "${selection[@]}"

echo "mistral-build: stage install"
install -D --mode 0755 "/build/target/release/$BINARY" "/out/usr/local/bin/$BINARY"
install -D --mode 0644 Cargo.lock /out/usr/share/mistralrs/Cargo.lock
if [ -f LICENSE ]; then
    install -D --mode 0644 LICENSE /out/usr/share/mistralrs/LICENSE
fi
if [ -d chat_templates ]; then
    cp -r --preserve=mode chat_templates /out/chat_templates
fi
