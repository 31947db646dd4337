"""An id and its values in, the line that the user sees out."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.mistralrs.stack.plugins.filter.fault import FilterModule

fault = FilterModule().filters()["fault"]


def test_the_line_has_the_sentence_the_remedy_the_address_and_the_id() -> None:
    assert fault("server.port_in_use", host="gpu1", port=11434, others="nginx") == (
        "Port 11434 of gpu1 is in use by nginx. Stop it, or set 'mistral_server_port' to a free port. "
        "See https://github.com/mistralrs-stack/mistralrs.stack/tree/main/docs/errors.md#server.port_in_use "
        "[server.port_in_use]"
    )


def test_what_a_host_says_stays_one_line() -> None:
    assert "\n" not in fault("server.egress_open", host="gpu1", reason="a\nb", unit="x")


def test_an_error_that_is_not_known_or_lacks_a_value_is_a_bug() -> None:
    with pytest.raises(AnsibleFilterError, match="there is no error 'server.none'"):
        fault("server.none")
    with pytest.raises(AnsibleFilterError, match="server.port_in_use needs the value 'others'"):
        fault("server.port_in_use", host="gpu1", port=1)
