"""Every message with which a role or a playbook ends a run is in the registry and in docs/errors.md."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import PAGE
from ansible_collections.mistralrs.stack.plugins.plugin_utils._faults.registry import FAULTS

ROOT = Path(__file__).resolve().parents[3]
ENTRIES = set(re.findall(r'<a id="([^"]+)">', (ROOT / "docs" / "errors.md").read_text()))
ENDS = {"ansible.builtin.assert": "fail_msg", "ansible.builtin.fail": "msg"}
CALL = re.compile(r"\{\{\s*'(?P<id>[a-z_.0-9]+)'\s*\|\s*mistralrs\.stack\.fault\((?P<values>.*)\)\s*\}\}", re.DOTALL)
# What a filter or a module has made of faults: a list of lines or one line, the host's name before it.
MADE_BY_PLUGINS = re.compile(
    r"(\{\{ inventory_hostname \}\}: )?\{\{ "
    r"(__\w+_problems \| join\(' '\)"
    r"|__\w+\.errors \| join\('[ \n]'\)"
    r"|__\w+_errors \| join\(' '\)"
    r"|__\w+\.problem"
    r"|__(mistral_gateway_problem|nvidia_driver_in_the_way|preflight_lock)"
    r"|.* \| mistralrs\.stack\.toolkit_problem\(.*\)"
    r") \}\}",
    re.DOTALL,
)


def ends(value: Any) -> Iterator[tuple[str, str]]:
    """The name of each task that ends a run with a message, and the message."""
    if isinstance(value, list):
        for one in value:
            yield from ends(one)
    elif isinstance(value, dict):
        for action, key in ENDS.items():
            if action in value:
                yield str(value["name"]), str(value[action].get(key, ""))
        for one in value.values():
            yield from ends(one)


def messages() -> list[Any]:
    files = sorted([*ROOT.glob("roles/*/tasks/**/*.yml"), *ROOT.glob("playbooks/**/*.yml")])
    return [
        pytest.param(text.strip(), id=f"{path.relative_to(ROOT)}: {name}")
        for path in files
        for name, text in ends(yaml.safe_load(path.read_text()))
    ]


MESSAGES = messages()


def test_there_are_messages() -> None:
    assert len(MESSAGES) > 90


@pytest.mark.parametrize("text", MESSAGES)
def test_the_message_is_one_of_the_registry(text: str) -> None:
    call = CALL.fullmatch(text)
    if call is None:
        assert MADE_BY_PLUGINS.fullmatch(text), text
        return
    fault = FAULTS[call["id"]]
    needed = {
        name
        for part in (fault.sentence, fault.remedy)
        for _text, name, _form, _conversion in string.Formatter().parse(part)
        if name
    }
    assert set(re.findall(r"(?:^|[\s(])(\w+)=(?!=)", call["values"])) - {"where", "attribute"} == needed


def test_no_other_text_has_an_id_of_its_own() -> None:
    """A sentence that is written into a task would have neither an entry nor a test."""
    own = re.compile(r"[.)] \[[a-z_]+\.[a-z0-9_]+\]|^ *\[[a-z_]+\.[a-z0-9_]+\]$", re.MULTILINE)
    files = [*ROOT.glob("roles/*/tasks/**/*.yml"), *ROOT.glob("roles/*/vars/*.yml"), *ROOT.glob("playbooks/**/*.yml")]
    assert {
        str(path.relative_to(ROOT)): own.findall(path.read_text()) for path in files if own.search(path.read_text())
    } == {}


@pytest.mark.parametrize("error_id", FAULTS)
def test_every_error_of_the_registry_says_what_to_do_and_has_an_entry(error_id: str) -> None:
    fault = FAULTS[error_id]
    assert error_id in ENTRIES
    for part in (fault.sentence, fault.remedy):
        # More than what the host says of itself.
        assert len(re.sub(r"\{\w+\}", "", part).split()) > 3, part
        assert part.endswith((".", "}")), part


@pytest.mark.parametrize("error_id", FAULTS)
def test_every_error_of_the_registry_is_reported_by_a_role(error_id: str) -> None:
    if error_id.endswith(".unsupported_distribution"):
        # By the filter distribution.
        return
    used = [text.values[0] for text in MESSAGES]
    assert any(f"'{error_id}' | mistralrs.stack.fault(" in text for text in used)


def test_the_address_of_the_page_is_below_the_documentations() -> None:
    documentation = yaml.safe_load((ROOT / "galaxy.yml").read_text())["documentation"]
    assert f"{documentation}/errors.md" == PAGE
