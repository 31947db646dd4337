#!/bin/sh
# Makes a host of the test bed look as if it had an NVIDIA GPU whose driver is loaded, as far as nvidia-ctk and CDI are
# concerned (device files that are those of /dev/null), with settings of others in daemon.json, and serves the stand-in repository.
set -eu
for node in nvidia0 nvidia1 nvidiactl; do
  [ -c /dev/$node ] || mknod -m 666 /dev/$node c 1 3
done
mkdir -p /usr/lib/stand-in-gpu /etc/docker
for version in 535.216.03 550.163.01; do echo "stand-in for libcuda $version" >/usr/lib/stand-in-gpu/libcuda.so.$version; done
cat >/etc/stand-in-gpu <<END
driver 550.163.01
gpu GPU-11111111-2222-3333-4444-555555555555 /dev/nvidia0
END
install -m 755 /srv/toolkit/nvidia-smi /usr/bin/nvidia-smi
cat >/etc/docker/daemon.json <<END
{
    "labels": ["rack=7"],
    "max-concurrent-downloads": 2,
    "features": {"buildkit": true}
}
END
systemctl is-active --quiet stand-in-repository || systemd-run --unit stand-in-repository --working-directory /srv/toolkit \
  python3 -m http.server --bind 127.0.0.1 8099
