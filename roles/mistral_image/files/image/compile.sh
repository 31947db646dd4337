#!/usr/bin/env bash
# Compiles the engine in /build/source into /out. The caches of cargo and /build/target outlast the build.
set -euo pipefail
die() {
    echo "mistral-build: error $*"
    exit 1
}
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

# The first is the workspace's, or that of a crate by itself.
needed=$(sed -n 's/^rust-version = "\([0-9.]*\)"$/\1/p' Cargo.toml | head -n 1)
found=$(rustc --version | cut -d ' ' -f 2)
# In the order of versions the oldest comes first.
if [ -n "$needed" ] &&
    [ "$(printf '%s\n' "$needed" "${found%%-*}" | sort --version-sort | head -n 1)" != "$needed" ]; then
    die "rust_too_old $found $needed"
fi

# The build script of intel-mkl-src 0.8.1 looks here, and would otherwise fetch a library of 2020 without a checksum.
if [[ ,$FEATURES, == *,mkl,* ]]; then
    places=("$(pkg-config --variable=prefix mkl-static-lp64-iomp 2>/dev/null || true)" "${MKLROOT:-}" /opt/intel)
    library=""
    for place in "${places[@]}"; do
        if [ -d "$place" ]; then
            library+=$(find "$place" -name libmkl_core.a 2>/dev/null)
        fi
    done
    if [ -z "$library" ]; then
        die mkl_missing
    fi
fi

# Prints one hash of the source's files that find's conditions choose.
hash_of() {
    find . -path ./.git -prune -o -type f "$@" -print0 | sort --zero-terminated |
        xargs --null --no-run-if-empty sha256sum | sha256sum
}

# Cargo takes what it compiled from other source for fresh, if that is older: so what is in the cache of the engine's own
# crates is forgotten when the source is another one. What comes from elsewhere is known by its version.
# Their build scripts keep CUDA objects of their own beside that. Up to 0.7.0 these count as fresh if they are newer than
# the kernels (bindgen_cuda), and later if the kernel's file, but not what it includes, is the same (cudaforge 0.1.4). So
# they go, too, when anything is another that kernels are made of.
source_id=$(hash_of)
kernels_id=$(hash_of \( -name '*.cu' -o -name '*.cuh' -o -name '*.[ch]' -o -name '*.[ch]pp' -o -name '*.inl' -o \
    -name '*.cc' -o -name build.rs \))
if [ "$(cat /build/target/source 2>/dev/null)" != "$source_id" ]; then
    awk '/^\[\[package\]\]/ { name = "" } /^name = / { name = $3 } /^source = / { name = "" }
         /^$/ { if (name) print name; name = "" } END { if (name) print name }' Cargo.lock | tr -d '"' |
        while read -r crate; do
            rm -rf "/build/target/release/.fingerprint/$crate"-*
            if [ "$(cat /build/target/kernels 2>/dev/null)" != "$kernels_id" ]; then
                rm -rf "/build/target/release/build/$crate"-*
            fi
        done
    echo "$kernels_id" >/build/target/kernels
    echo "$source_id" >/build/target/source
fi

# A build script that was ended from outside may leave half a library of kernels, which is as new as a whole one. Cargo
# gives the output of one that came to its end the time at which it was called.
for run in /build/target/release/build/*/; do
    if [ -e "$run/invoked.timestamp" ] &&
        { [ ! -e "$run/output" ] || [ "$run/output" -ot "$run/invoked.timestamp" ]; }; then
        rm -f "$run"out/*.a "$run"out/*.ptx
    fi
done

selection=(--locked --package "$PACKAGE" --features "$FEATURES")
if [ "$DEFAULT_FEATURES" = false ]; then
    selection+=(--no-default-features)
fi
profile=()
read -ra settings <<<"$CARGO_PROFILE"
for setting in "${settings[@]}"; do
    profile+=(--config "$setting")
done

echo "mistral-build: stage fetch"
for attempt in 1 2 3 4 5; do
    if cargo fetch --locked; then
        break
    elif [ "$attempt" = 5 ]; then
        die crates_unreachable
    fi
    sleep "$attempt"
done

# Up to 0.7.0 a build script fetches Swagger UI with curl, past every mirror, unless it is handed over as a file. It is
# taken as the archive that it is, or out of the crate that carries the same archive.
if grep --quiet '^name = "utoipa-swagger-ui"$' Cargo.lock &&
    ! grep --quiet '^name = "utoipa-swagger-ui-vendored"$' Cargo.lock; then
    zip=/build/target/swagger-ui.zip
    if ! echo "$SWAGGER_UI_SHA256 $zip" | sha256sum --check --status 2>/dev/null; then
        curl --fail --silent --show-error --location --retry 5 --output "$zip.new" "${SWAGGER_UI_URL:-}" ||
            die "swagger_ui_unreachable ${SWAGGER_UI_URL:-}"
        # gzip would take a zip archive, too.
        if [ "$(head --bytes 2 "$zip.new")" = PK ]; then
            mv "$zip.new" "$zip"
        else
            tar --extract --gzip --file "$zip.new" --to-stdout --wildcards '*/res/*.zip' >"$zip" 2>/dev/null || true
            rm "$zip.new"
        fi
        echo "$SWAGGER_UI_SHA256 $zip" | sha256sum --check --status ||
            die "swagger_ui_differs $(sha256sum <"$zip" | cut -d ' ' -f 1)"
    fi
    export SWAGGER_UI_DOWNLOAD_URL=file://$zip
fi

echo "mistral-build: crates $(cargo tree --offline --prefix none --edges normal,build "${selection[@]}" | cut -d ' ' -f 1,2 | sort -u | wc -l)"
echo "mistral-build: stage compile"
cargo build --release --offline --bin "$BINARY" --jobs "$JOBS" "${profile[@]}" "${selection[@]}"

echo "mistral-build: stage install"
install -D --mode 0755 "/build/target/release/$BINARY" "/out/usr/local/bin/$BINARY"
install -D --mode 0644 Cargo.lock /out/usr/share/mistralrs/Cargo.lock
if [ -f LICENSE ]; then
    install -D --mode 0644 LICENSE /out/usr/share/mistralrs/LICENSE
fi
if [ -d chat_templates ]; then
    cp -r --preserve=mode chat_templates /out/chat_templates
fi
