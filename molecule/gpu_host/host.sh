#!/bin/sh
# Makes a host of the test bed look as if it had two NVIDIA GPUs whose driver is loaded. The recording of two RTX A5000 gives the PCI
# bus, the driver's version and what nvidia-smi says; the driver's libraries and device files are what nvidia-ctk looks for, and NVML
# (tests/fakes/gpu/driver) answers it. daemon.json has settings of others. Then it serves the stand-in repositories, and GitHub's
# registry with a stand-in image of the engine.
set -eu
recording=a5000-two__590.44.01
driver=590.44.01
libraries=/usr/lib/$(uname -m)-linux-gnu

# Major 195 and these minor numbers are NVIDIA's (the kernel's devices.txt); nvidia-uvm's and nvidia-caps' are given at run time.
node() {
  [ -c "/dev/$1" ] || mknod -m "$4" "/dev/$1" c "$2" "$3"
}
node nvidia0 195 0 666
node nvidia1 195 1 666
node nvidiactl 195 255 666
node nvidia-uvm 511 0 666
node nvidia-uvm-tools 511 1 666

python3 /srv/fakes/gpu/recording.py $recording /run/recorded
# A line for each GPU instance and each compute instance, numbered as NVIDIA's MIG user guide does (Device Nodes and Capabilities);
# nvidia-container-toolkit v1.20.0 reads them in internal/nvcaps/nvcaps.go.
mkdir -p /run/recorded/proc/driver/nvidia-caps /dev/nvidia-caps
printf '%s\n' 'config 1' 'monitor 2' 'gpu0/gi1/access 12' 'gpu0/gi1/ci0/access 13' 'gpu0/gi2/access 21' 'gpu0/gi2/ci0/access 22' \
  >/run/recorded/proc/driver/nvidia-caps/mig-minors
for minor in 12 13 21 22; do node nvidia-caps/nvidia-cap$minor 510 $minor 444; done

cp -a /run/recorded/usr/. /usr/
for library in libnvidia-ml.so libcuda.so; do install -m 755 /srv/toolkit/driver/$library.$driver "$libraries/"; done
install -m 755 /srv/toolkit/driver/nvidia-smi /usr/bin/nvidia-smi
ldconfig
for folder in /sys/bus/pci/devices /proc/driver; do
  mountpoint -q $folder || mount --bind /run/recorded$folder $folder
done
echo $recording >/etc/nvidia-smi-stand-in
# The toolkit's service asks the list of the kernel's modules whether there is a driver.
mkdir -p "/lib/modules/$(uname -r)"
echo 'updates/dkms/nvidia.ko:' >"/lib/modules/$(uname -r)/modules.dep"

mkdir -p /etc/docker
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
  python3 /srv/fakes/registry/registry.py /srv/toolkit/registry.crt /srv/toolkit/registry.key
