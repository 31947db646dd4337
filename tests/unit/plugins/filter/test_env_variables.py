"""The filter is glue."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.mistralrs.stack.plugins.filter.env_variables import FilterModule

VARIABLES = FilterModule().filters()["env_variables"]


def test_variables() -> None:
    assert VARIABLES("RUST_LOG=info\nMISTRAL_PORT=1\n") == {"mistral_server_rust_log": "info", "mistral_server_port": 1}


def test_refuses() -> None:
    with pytest.raises(AnsibleFilterError, match=r"/x/\.env, line 2: X is unknown.*\[env\.unknown_key\]"):
        VARIABLES("\nX=1", "/x/.env")
