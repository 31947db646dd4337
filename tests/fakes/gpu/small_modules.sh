#!/bin/sh
# Stand-in for the sources of NVIDIA's kernel modules, which take ten minutes of a processor to compile: five modules that
# do nothing, under the names of dkms.conf in Debian's nvidia-kernel-dkms 550.163.01. Usage: small_modules.sh KERNEL VERSION
set -eu
mkdir small
cd small
for name in nvidia nvidia-modeset nvidia-drm nvidia-uvm nvidia-peermem; do
    echo "obj-m += $name.o" >>Kbuild
    cat >"$name.c" <<END
#include <linux/module.h>
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("stand-in for $name");
MODULE_VERSION("$2");
END
done
make -C "/lib/modules/$1/build" M="$PWD" modules
cp ./*.ko ..
