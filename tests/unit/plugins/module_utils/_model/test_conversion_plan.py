"""Whether a conversion can be done, and by which command; what Docker says is given as it says it."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._model.conversion_plan import (
    Conversion,
    Found,
    check_names,
    command,
    engine_of,
    is_converted,
    usable_engine,
)

CONVERSION = Conversion("/srv/mistral/models", "qwen3-4b", "qwen3-4b-uqff-q4k", "q4k")


def inspected(**host_config: Any) -> dict[str, Any]:
    """What C(docker container inspect) says of an engine's container, as far as it counts."""
    config = {"Image": "mistralrs:0.9.2", "User": "990:990"}
    return {"Image": "sha256:abc", "Config": config, "HostConfig": {"Memory": 64 << 20, **host_config}}


ENGINE = engine_of(inspected())
FOUND = Found(source_size=8 << 30, free=100 << 30, recorded=None, engine=ENGINE, purpose=None)
COMMAND = """\
docker run --detach --name mistral-convert-qwen3-4b-uqff-q4k
--label 'io.mistralrs.stack.convert=qwen3-4b q4k /srv/mistral/models'
--pull never --network none --init --read-only --tmpfs /tmp:mode=1777,noexec,nosuid,nodev
--cap-drop ALL --security-opt no-new-privileges --oom-score-adj 500 --user 990:990 --memory 67108864
--log-driver json-file --log-opt max-size=10m --env HOME=/tmp --env HF_HUB_OFFLINE=1 --env NO_COLOR=1
--volume /srv/mistral/models/qwen3-4b:/source:ro
--volume /srv/mistral/convert/qwen3-4b.qwen3-4b-uqff-q4k:/result sha256:abc
quantize -m /source --isq q4k -o /result/q4k.uqff --cpu"""


def checked(conversion: Conversion, found: Found) -> bool:
    """Whether it has to be converted, in the order of the module."""
    check_names(conversion)
    return not is_converted(conversion, found) and bool(usable_engine(conversion, found, "mistral-engine"))


def refused(conversion: Conversion = CONVERSION, **found: Any) -> StackError:
    with pytest.raises(StackError) as caught:
        checked(conversion, FOUND._replace(**found))
    return caught.value


def test_the_command() -> None:
    """Every word of it: a container that is as strict as this is what people rely on."""
    assert checked(CONVERSION, FOUND)
    assert shlex.join(command(CONVERSION, ENGINE, "docker")) == COMMAND.replace("\n", " ")


def test_an_engine_without_user_and_limit() -> None:
    bare = inspected(Memory=0)
    bare["Config"]["User"] = ""
    words = " ".join(command(CONVERSION, engine_of(bare), "docker"))
    assert "--user 0 --memory 0 " in words


@pytest.mark.parametrize(
    ("host_config", "options"),
    [
        ({}, []),
        ({"DeviceRequests": None, "Devices": None}, []),
        (
            {"DeviceRequests": [{"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=0", "nvidia.com/gpu=1"]}]},
            ["--device", "nvidia.com/gpu=0", "--device", "nvidia.com/gpu=1"],
        ),
        ({"DeviceRequests": [{"Driver": "nvidia", "DeviceIDs": ["0", "2"]}]}, ["--gpus", '"device=0,2"']),
        ({"DeviceRequests": [{"Driver": "", "Count": -1, "DeviceIDs": None}]}, ["--gpus", "all"]),
        ({"Devices": [{"PathOnHost": "nvidia.com/gpu=all"}]}, ["--device", "nvidia.com/gpu=all"]),
        ({"Devices": [{"PathOnHost": "/dev/fuse"}]}, []),
    ],
)
def test_it_gets_the_gpus_of_the_engine(host_config: dict[str, Any], options: list[str]) -> None:
    engine = engine_of(inspected(**host_config))
    assert list(engine.devices) == options
    words = command(CONVERSION, engine, "docker")
    at = words.index("--volume") - len(options)
    assert words[at : at + len(options)] == options
    assert (words[-1] == "--cpu") == (not options)


@pytest.mark.parametrize("source", ["", ".store", "../models", "a/b", "a b", "qwen\n"])
def test_a_source_that_is_not_a_name(source: str) -> None:
    assert refused(CONVERSION._replace(source=source)).id == "models.convert_source"


@pytest.mark.parametrize("kind", ["", "Q4K", "q4k;reboot", "q4k\n", "q4-k"])
def test_a_type_that_is_none(kind: str) -> None:
    assert refused(CONVERSION._replace(type=kind)).id == "models.convert_type"


def test_a_result_with_the_name_of_the_source() -> None:
    error = refused(CONVERSION._replace(target="qwen3-4b"))
    assert error.id == "models.convert_name"
    assert "/srv/mistral/models has the source itself under the name qwen3-4b" in str(error)


def test_what_the_store_has_already_is_not_converted_again() -> None:
    ours = "file:///srv/mistral/convert/qwen3-4b.qwen3-4b-uqff-q4k"
    assert is_converted(CONVERSION, FOUND._replace(recorded=ours, engine=None, source_size=None))
    assert not is_converted(CONVERSION, FOUND)


@pytest.mark.parametrize("recorded", ["", "hf://org/model", "file:///srv/mistral/convert/other.qwen3-4b-uqff-q4k"])
def test_another_model_of_that_name(recorded: str) -> None:
    error = refused(recorded=recorded)
    assert error.id == "models.convert_name"
    assert "has another model under the name qwen3-4b-uqff-q4k" in str(error)


def test_no_such_directory() -> None:
    error = refused(source_size=None)
    assert error.id == "models.convert_source"
    assert "The store /srv/mistral/models has no directory of SafeTensors named 'qwen3-4b'." in str(error)


def test_no_engine_and_one_that_can_not() -> None:
    assert "this host has no container of that name" in str(refused(engine=None))
    error = refused(engine=ENGINE._replace(image="mistral-stack/evaluation:1"))
    assert error.id == "models.no_engine"
    assert "mistral-stack/evaluation:1" in str(error)


def test_a_conversion_that_runs_is_waited_for_if_it_is_the_same() -> None:
    # It has taken its space already.
    assert usable_engine(CONVERSION, FOUND._replace(purpose=CONVERSION.purpose, free=0), "mistral-engine") == ENGINE
    for purpose, shown in (("other q4k /srv", "other q4k /srv"), ("", "unknown")):
        error = refused(purpose=purpose)
        assert error.id == "models.convert_running"
        assert f"converts something else to that name ({shown})" in str(error)
        assert "'docker rm --force mistral-convert-qwen3-4b-uqff-q4k'" in str(error)


def test_the_space_that_it_may_need() -> None:
    error = refused(source_size=10_000_000_000, free=10_999_999_999)
    assert error.id == "models.convert_space"
    assert "/srv/mistral has 11.0 GB free, but a conversion of qwen3-4b may need 11.0 GB." in str(error)
    assert usable_engine(CONVERSION, FOUND._replace(source_size=10_000_000_000, free=11_000_000_001), "e") == ENGINE


def test_a_name_that_docker_does_not_take() -> None:
    assert CONVERSION._replace(target="a@b+c").container == "mistral-convert-a-b-c"
