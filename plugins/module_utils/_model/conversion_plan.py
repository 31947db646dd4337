# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A conversion of SafeTensors to UQFF: whether it can be done, and the command that does it. Nothing is touched here.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError

NO_SOURCE = Fault(
    "models.convert_source",
    "The store {store} has no directory of SafeTensors named {source!r}.",
    "Fetch it first, or give -e models_convert= one of the directories that the playbook lists without arguments.",
)
UNKNOWN_TYPE = Fault(
    "models.convert_type",
    "{type!r} is not a type that the engine quantizes to.",
    "Give -e models_quantization= one that is, such as q4k or q8_0.",
)
NAME_TAKEN = Fault(
    "models.convert_name",
    "The store {store} has {holder} under the name {target}, which the result would get.",
    "Give the result another name by -e models_name=; another model can also be removed with -e models_state=absent.",
)
NO_ENGINE = Fault(
    "models.no_engine",
    "The container {engine} can't convert models: {why}.",
    "Run the playbook site with an image that has the engine's own command.",
)
RUNNING = Fault(
    "models.convert_running",
    "The container {container} converts something else to that name ({purpose}).",
    "Wait for it, or remove it with 'docker rm --force {container}'.",
)
NO_SPACE = Fault(
    "models.convert_space",
    "{path} has {free:.1f} GB free, but a conversion of {source} may need {need:.1f} GB.",
    "Make room.",
)

# Says what a container converts, so that the next run knows whether it is the one to wait for.
LABEL = "io.mistralrs.stack.convert"
# The result is smaller than the source, but for tensors that the engine keeps as they are.
_SIZE_FACTOR = 1.1
_DIRECTORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_TYPE = re.compile(r"[a-z0-9_]+")


class Conversion(NamedTuple):
    """The directory C(source) of the C(store), to be converted to the engine's C(type) as the model C(target)."""

    store: str
    source: str
    target: str
    type: str

    @property
    def result(self) -> str:
        """The directory that the engine writes to; the store itself takes only what is whole."""
        return os.path.join(os.path.dirname(self.store), "convert", f"{self.source}.{self.target}")

    @property
    def container(self) -> str:
        """The name of the container that converts."""
        return "mistral-convert-" + re.sub(r"[^A-Za-z0-9_.-]", "-", self.target)

    @property
    def purpose(self) -> str:
        """The value of the container's C(LABEL)."""
        return f"{self.source} {self.type} {self.store}"


class Engine(NamedTuple):
    """The engine's container, as far as the one that converts is like it.

    C(image) is the image's name, C(image_id) its digest, C(user) as Docker has it (C('') is root), C(memory) its limit
    in bytes (C(0) is none), C(devices) the options by which C(docker run) gives it the same GPUs.
    """

    image: str
    image_id: str
    user: str
    memory: int
    devices: tuple[str, ...]


class Found(NamedTuple):
    """What there is on the host, sizes in bytes.

    C(source_size) is None if the store has no such directory of SafeTensors. C(recorded) is the source in the store's
    record of the result, C('') if it says none, and None if the store has nothing under that name. C(purpose) is the
    label of the container that converts, C('') if it has none, and None if there is no such container.
    """

    source_size: int | None
    free: int
    recorded: str | None
    engine: Engine | None
    purpose: str | None


def _devices(host_config: Mapping[str, Any]) -> tuple[str, ...]:
    """The options of C(docker run) for the devices of a container, by CDI or by the legacy runtime."""
    options: list[str] = []
    for request in host_config.get("DeviceRequests") or []:
        ids = request.get("DeviceIDs") or []
        if request.get("Driver") == "cdi":
            for device in ids:
                options += ["--device", device]
        else:
            options += ["--gpus", f'"device={",".join(ids)}"' if ids else "all"]
    for device in host_config.get("Devices") or []:
        # Docker before 28 lists CDI devices here, by their names such as nvidia.com/gpu=0.
        if "=" in device["PathOnHost"]:
            options += ["--device", device["PathOnHost"]]
    return tuple(options)


def engine_of(inspected: Mapping[str, Any]) -> Engine:
    """The engine's container from what C(docker container inspect) says of it."""
    config, host_config = inspected["Config"], inspected["HostConfig"]
    return Engine(
        image=config["Image"],
        image_id=inspected["Image"],
        user=config.get("User") or "",
        memory=host_config.get("Memory") or 0,
        devices=_devices(host_config),
    )


def check_names(conversion: Conversion) -> None:
    """Refuse names that can't be meant, before they become paths.

    Raises C(models.convert_source), C(models.convert_type) or C(models.convert_name).
    """
    store, source, target, kind = conversion
    if not _DIRECTORY.fullmatch(source):
        raise StackError(NO_SOURCE, store=store, source=source)
    if not _TYPE.fullmatch(kind):
        raise StackError(UNKNOWN_TYPE, type=kind)
    if source == target:
        raise StackError(NAME_TAKEN, store=store, holder="the source itself", target=target)


def is_converted(conversion: Conversion, found: Found) -> bool:
    """Whether the store has the result already. Raises C(models.convert_name) if it has another model of that name."""
    if found.recorded is None:
        return False
    if found.recorded != f"file://{conversion.result}":
        raise StackError(NAME_TAKEN, store=conversion.store, holder="another model", target=conversion.target)
    return True


def usable_engine(conversion: Conversion, found: Found, engine_name: str) -> Engine:
    """The engine, if what is on the host can be converted by it.

    Raises C(models.convert_source), C(models.no_engine), C(models.convert_running) or C(models.convert_space).
    """
    store, source = conversion.store, conversion.source
    if found.source_size is None:
        raise StackError(NO_SOURCE, store=store, source=source)
    if found.engine is None:
        raise StackError(NO_ENGINE, engine=engine_name, why="this host has no container of that name")
    if "evaluation" in found.engine.image:
        raise StackError(NO_ENGINE, engine=engine_name, why=f"its image {found.engine.image} is the evaluation engine")
    if found.purpose is not None:
        if found.purpose != conversion.purpose:
            raise StackError(RUNNING, container=conversion.container, purpose=found.purpose or "unknown")
    elif found.free < found.source_size * _SIZE_FACTOR:
        need = found.source_size * _SIZE_FACTOR
        raise StackError(NO_SPACE, path=os.path.dirname(store), free=found.free / 1e9, source=source, need=need / 1e9)
    return found.engine


def command(conversion: Conversion, engine: Engine, docker: str) -> list[str]:
    """The command line that starts the conversion.

    Its container is as strict as the engine's own, has the same devices, and is the first to go when memory runs out.
    """
    return [
        *(docker, "run", "--detach", "--name", conversion.container),
        *("--label", f"{LABEL}={conversion.purpose}"),
        *("--pull", "never", "--network", "none", "--init"),
        *("--read-only", "--tmpfs", "/tmp:mode=1777,noexec,nosuid,nodev"),
        *("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--oom-score-adj", "500"),
        *("--user", engine.user or "0", "--memory", str(engine.memory)),
        *("--log-driver", "json-file", "--log-opt", "max-size=10m"),
        *("--env", "HOME=/tmp", "--env", "HF_HUB_OFFLINE=1", "--env", "NO_COLOR=1"),
        *engine.devices,
        *("--volume", f"{conversion.store}/{conversion.source}:/source:ro"),
        *("--volume", f"{conversion.result}:/result"),
        engine.image_id,
        *("quantize", "-m", "/source", "--isq", conversion.type, "-o", f"/result/{conversion.type}.uqff"),
        *(() if engine.devices else ("--cpu",)),
    ]
