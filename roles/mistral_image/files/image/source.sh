#!/usr/bin/env bash
# Puts the engine's source into /build/source, by SOURCE_KIND: from git at SOURCE_COMMIT (and SOURCE_TAG, which must point
# there), or from an archive or a crate, which is one, with SOURCE_SHA256.
set -euo pipefail
echo "mistral-build: stage source"
die() {
    echo "mistral-build: error $*"
    exit 1
}
if [ -e /run/secrets/gitconfig ]; then
    export GIT_CONFIG_GLOBAL=/run/secrets/gitconfig
fi
export GIT_TERMINAL_PROMPT=0
mkdir -p /build/source
cd /build/source

if [ "$SOURCE_KIND" != git ]; then
    curl --fail --silent --show-error --location --retry 5 --output /build/archive "$SOURCE_ARCHIVE" ||
        die "${SOURCE_KIND}_unreachable $SOURCE_ARCHIVE"
    echo "$SOURCE_SHA256 /build/archive" | sha256sum --check --status ||
        die "${SOURCE_KIND}_differs $(sha256sum </build/archive | cut -d ' ' -f 1)"
    tar --extract --file /build/archive --strip-components 1
    rm /build/archive
else
    git init --quiet .
    git remote add origin "$SOURCE_GIT"
    git ls-remote --exit-code origin HEAD >/dev/null || die "git_unreachable $SOURCE_GIT"
    if [ -n "$SOURCE_TAG" ]; then
        git fetch --quiet --depth 1 origin "refs/tags/$SOURCE_TAG:refs/tags/$SOURCE_TAG" || die "tag_missing $SOURCE_TAG"
        wanted=$(git rev-parse "refs/tags/$SOURCE_TAG^{commit}")
    else
        # Not every server hands out any commit, and none knows abbreviated ones; then all of its history is looked through.
        git fetch --quiet --depth 1 origin "$SOURCE_COMMIT" 2>/dev/null ||
            git fetch --quiet --tags origin '+refs/heads/*:refs/remotes/origin/*' || die "git_unreachable $SOURCE_GIT"
        wanted=$(git rev-parse --verify --quiet "$SOURCE_COMMIT^{commit}") || die "commit_missing $SOURCE_COMMIT"
    fi
    case $wanted in
    "$SOURCE_COMMIT"*) ;;
    *) die "commit_differs $SOURCE_TAG $wanted $SOURCE_COMMIT" ;;
    esac
    # What git knows stays: the engine's build asks it for the commit.
    git -c advice.detachedHead=false checkout --quiet "$wanted"
fi
if [ ! -f Cargo.toml ] || [ ! -f Cargo.lock ]; then
    die "source_incomplete"
fi
# Cargo compares times. The same source must not look newer each time it is fetched; see compile.sh.
find . -exec touch --no-dereference --date @1 {} +
