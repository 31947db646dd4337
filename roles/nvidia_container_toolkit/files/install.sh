#!/bin/sh
# Installs the packages in one version, whatever version there was, and holds them there.
# Arguments: the file of package sources, the version, names of packages.
set -e
source=$1
version=$2
shift 2
export DEBIAN_FRONTEND=noninteractive LC_ALL=C

# Only this repository, so that another one which is broken does not matter.
apt-get update --quiet -o DPkg::Lock::Timeout=600 --error-on=any -o Dir::Etc::sourcelist="$source" -o Dir::Etc::sourceparts=- -o APT::Get::List-Cleanup=0
wanted=
for package; do wanted="$wanted $package=$version-*"; done
set -f
# shellcheck disable=SC2086 # one word for each package
apt-get install --quiet --yes --no-install-recommends --allow-downgrades --allow-change-held-packages \
  -o DPkg::Lock::Timeout=600 -o Dpkg::Options::=--force-confold $wanted
apt-mark hold "$@"
