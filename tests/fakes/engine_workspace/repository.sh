#!/bin/sh
# Makes the git repository $1 of the stand-in workspace, with the tag v0.9.2; says its commit.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r "$here/workspace" "$work/source"
cd "$work/source"
export GIT_AUTHOR_NAME=test GIT_AUTHOR_EMAIL=test@example.org GIT_AUTHOR_DATE='2026-01-01T00:00:00Z'
export GIT_COMMITTER_NAME=test GIT_COMMITTER_EMAIL=test@example.org GIT_COMMITTER_DATE='2026-01-01T00:00:00Z'
git init --quiet --initial-branch main
git add .
git commit --quiet --message 'Stand-in for mistral.rs'
git tag --annotate --message v0.9.2 v0.9.2
rm -rf "$1"
git clone --quiet --bare . "$1"
# As GitHub does it.
git -C "$1" config uploadpack.allowAnySHA1InWant true
git -C "$1" rev-parse main
