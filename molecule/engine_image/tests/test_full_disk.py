"""Disks that are really full: Docker's own, and that of the build's log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

On = Callable[..., str]
# A second Docker, whose images are on a small file system of its own.
SMALL = r"""
mkdir -p /srv/small
mount -t tmpfs -o size=1400m small /srv/small
ip link add small0 type bridge
ip address add 172.30.0.1/24 dev small0
ip link set small0 up
systemd-run --quiet --unit small-docker dockerd --data-root /srv/small/docker --exec-root /run/small-docker \
    --pidfile /run/small-docker.pid --host unix:///run/small-docker.sock --bridge small0 --iptables=false \
    --containerd /run/containerd/containerd.sock --containerd-namespace small \
    --containerd-plugins-namespace small-plugins
export DOCKER_HOST=unix:///run/small-docker.sock
for attempt in $(seq 40); do
    ! docker version >/dev/null 2>&1 || break
    sleep 0.5
done
/srv/fakes/cuda_images/bases.sh import /srv/cache >&2
"""
REMOVE = r"""
systemctl stop small-docker
umount -l /srv/small
ip link delete small0
"""


@pytest.fixture
def small(on_host: On) -> Iterator[dict[str, Any]]:
    """Variables with which the image is built by the Docker that has little room."""
    try:
        on_host("sh", "-ec", SMALL)
        yield {
            "docker_environment": {"DOCKER_HOST": "unix:///run/small-docker.sock"},
            "mistral_image_git_url": "http://172.30.0.1:8418/mistral.rs.git",
            "mistral_image_minimum_free_gb": 0,
        }
    finally:
        on_host("sh", "-c", REMOVE)


def test_dockers_disk_runs_full(small: dict[str, Any], role: Any, on_host: On) -> None:
    variables = {**role.fresh(), **small}
    # While it compiles, and when the layer with what was compiled is made.
    for left in (300_000, 3_000_000):
        fill = f"fallocate -l $(($(stat -f -c '%a * %S' /srv/small) - {left})) /srv/small/ballast"
        on_host("sh", "-ec", fill)
        role.refused(variables, "image.build_disk_full", "o space left on device")
        on_host("rm", "/srv/small/ballast")
    played = role.play(variables)
    assert played.code == 0, played.text[-3000:]


@pytest.mark.parametrize("size", ["8k", "24k"])
def test_the_logs_disk_is_full(size: str, role: Any, on_host: On) -> None:
    variables = role.fresh()
    on_host("mount", "-t", "tmpfs", "-o", f"size={size}", "builds", "/var/lib/mistral/builds")
    try:
        role.refused(variables, "image.build_files_unwritable", "/var/lib/mistral", "o space left on device")
    finally:
        on_host("sh", "-c", "systemctl stop 'mistral-image-build-*'; umount /var/lib/mistral/builds")
