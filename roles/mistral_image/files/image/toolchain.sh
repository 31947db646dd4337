#!/usr/bin/env bash
# Installs the Rust toolchain RUST_VERSION with the rustup-init at RUSTUP_INIT, whose SHA-256 is RUSTUP_SHA256; for
# RUST_VERSION=distribution the base image has one.
set -euo pipefail
echo "mistral-build: stage toolchain"
die() {
    echo "mistral-build: error $*"
    exit 1
}
if [ "$RUST_VERSION" != distribution ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    curl --fail --silent --show-error --location --retry 5 --output "$work/rustup-init" "$RUSTUP_INIT" ||
        die "toolchain_unreachable $RUSTUP_INIT"
    echo "$RUSTUP_SHA256 $work/rustup-init" | sha256sum --check --status ||
        die "toolchain_differs $(sha256sum <"$work/rustup-init" | cut -d ' ' -f 1)"
    chmod 0755 "$work/rustup-init"
    if [ -n "${RUSTUP_SERVER:-}" ]; then
        export RUSTUP_DIST_SERVER=$RUSTUP_SERVER
    fi
    "$work/rustup-init" -y --quiet --no-modify-path --profile minimal --default-toolchain "$RUST_VERSION"
fi
cargo --version
rustc --version
