#!/bin/sh
# Leaves apt in working order after a driver could not be installed: with the former one, or with none.
# Arguments: the package with the kernel modules; the former packages as name=version; --; the packages that came new.
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
kernel_package=$1
shift
former=
while [ "$1" != -- ]; do
  former="$former $1"
  shift
done
shift

apt() {
  apt-get --yes --quiet -o DPkg::Lock::Timeout=600 --allow-downgrades --allow-change-held-packages "$@" </dev/null
}
known() {
  for name in "$@"; do
    case $(dpkg-query --show --showformat '${db:Status-Status}' "$name" 2>/dev/null) in
      '' | not-installed | config-files) ;;
      *) echo "$name" ;;
    esac
  done
}

new=$(known "$@")
if [ -n "$former" ]; then
  # shellcheck disable=SC2086,SC2046 # Package names have no spaces in them.
  if apt --no-install-recommends install $former $(for name in $new; do echo "$name-"; done); then
    # Two transactions have changed them, and apt lets go of what it changes.
    for package in $former; do echo "${package%%=*} hold"; done | dpkg --set-selections
    exit
  fi
  # The former one can't be built either; without its module apt at least works.
fi
# shellcheck disable=SC2086,SC2046
apt purge $(known "$kernel_package") $new || exit 1
[ -z "$former" ]
