#!/bin/sh
# Imitates, for the role's variable nvidia_driver_root, the /sys, /proc and /lib/modules of a host with an H100: its kernel
# runs or is foreign, its driver is loaded or not.
# Arguments: the folder to make; the driver that is loaded or -; installed or -; kernel release; then any of:
# nouveau secure_boot no_module
root=$1 loaded=$2 installed=$3 release=$4
shift 4
rm -rf "$root"
gpu=$root/sys/bus/pci/devices/0000:3b:00.0
mkdir -p "$gpu" "$root/proc/sys/kernel" "$root/sys/module" "$root/usr/lib/x86_64-linux-gnu"
echo 0x10de >"$gpu/vendor"
echo 0x030200 >"$gpu/class"
echo 0x2330 >"$gpu/device"
echo "$release" >"$root/proc/sys/kernel/osrelease"
modules=$root/lib/modules/$release
mkdir -p "$modules/kernel" "$modules/build" "$modules/updates/dkms"
: >"$modules/build/Makefile"
if [ "$loaded" != - ]; then
  mkdir -p "$root/proc/driver/nvidia"
  echo "NVRM version: NVIDIA UNIX x86_64 Kernel Module  $loaded  Wed May 22 00:00:00 UTC 2024" >"$root/proc/driver/nvidia/version"
fi
if [ "$installed" != - ]; then
  : >"$root/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.$installed"
  : >"$modules/updates/dkms/nvidia-current.ko"
fi
for what in "$@"; do
  case $what in
    nouveau) mkdir -p "$root/sys/module/nouveau" ;;
    secure_boot)
      mkdir -p "$root/sys/firmware/efi/efivars"
      printf '\006\000\000\000\001' >"$root/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
      ;;
    no_module) rm -f "$modules/updates/dkms"/* ;;
    no_headers) rm -rf "$modules/build" ;;
  esac
done
