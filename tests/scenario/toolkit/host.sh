#!/bin/sh
# Makes a host of the test bed look as if it had an NVIDIA GPU whose driver is loaded: the recording of an L40S gives the PCI bus,
# the driver's version and libraries and what nvidia-smi says; the device files for CDI are those of /dev/null. daemon.json
# has settings of others. Then it serves the stand-in repositories, and GitHub's registry with a stand-in image of the engine.
set -eu
recording=l40s__595.80
driver=595.80
uuid=GPU-00000000-0000-0000-0000-000000000000

for node in nvidia0 nvidia1 nvidiactl; do
  [ -c /dev/$node ] || mknod -m 666 /dev/$node c 1 3
done
mkdir -p /usr/lib/stand-in-gpu /etc/docker
for version in 535.216.03 $driver; do echo "stand-in for libcuda $version" >/usr/lib/stand-in-gpu/libcuda.so.$version; done
printf 'driver %s\ngpu %s /dev/nvidia0\n' "$driver" "$uuid" >/etc/stand-in-gpu

python3 /srv/nvidia/recording.py $recording /run/recorded
cp -a /run/recorded/usr/. /usr/
for folder in /sys/bus/pci/devices /proc/driver; do
  mountpoint -q $folder || mount --bind /run/recorded$folder $folder
done
echo $recording >/etc/nvidia-smi-stand-in
install -m 755 /srv/toolkit/nvidia-smi /usr/bin/nvidia-smi

cat >/etc/docker/daemon.json <<END
{
    "labels": ["rack=7"],
    "max-concurrent-downloads": 2,
    "features": {"buildkit": true}
}
END

systemctl is-active --quiet stand-in-repository || systemd-run --quiet --unit stand-in-repository \
  --working-directory /srv/toolkit python3 -m http.server --bind 127.0.0.1 8099
# Not on the loopback: Docker trusts registries there without a certificate.
grep -q ' ghcr.io' /etc/hosts || echo "$(hostname -I | cut -d ' ' -f 1) ghcr.io" >>/etc/hosts
systemctl is-active --quiet stand-in-registry || systemd-run --quiet --unit stand-in-registry \
  python3 /srv/scenario/registry.py /srv/toolkit/registry.crt /srv/toolkit/registry.key
