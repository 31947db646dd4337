#!/bin/sh
# Renews the initial RAM disks that are older than the file given, or than its removal; prints "renewed" if there were any.
set -e
file=$1
mark=$file
[ -e "$file" ] || mark=$(dirname "$file")
stale=$(find /boot -maxdepth 1 \( -name 'initrd.img-*' -o -name 'initramfs-*.img' \) ! -newer "$mark" 2>/dev/null | head -n 1)
[ -n "$stale" ] || exit 0
if command -v update-initramfs >/dev/null; then
  update-initramfs -u -k all >&2
elif command -v dracut >/dev/null; then
  dracut --regenerate-all --force >&2
else
  exit 0
fi
echo renewed
