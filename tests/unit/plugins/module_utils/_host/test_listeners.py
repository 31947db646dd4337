"""Who has the address that a service is to have."""

from __future__ import annotations

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._host.listeners import command, others

OWN = "prometheus-node-exporter"
# iproute2 6.15 (Debian 13).
ROWS = {
    "own": '127.0.0.1:9100 0.0.0.0:* users:(("prometheus-node",pid=7,fd=3))',
    "same": '127.0.0.1:9100 0.0.0.0:* users:(("nginx",pid=42,fd=6),("nginx",pid=41,fd=6))',
    "every": '*:9100 *:* users:(("python3",pid=43,fd=3))',
    "every4": '0.0.0.0:9100 0.0.0.0:* users:(("python3",pid=44,fd=3))',
    "another": '192.0.2.1:9100 0.0.0.0:* users:(("ncat",pid=45,fd=3))',
    "unknown": "127.0.0.1:9100 0.0.0.0:*",
}


@pytest.mark.parametrize(
    ("address", "rows", "expected"),
    [
        ("127.0.0.1:9100", "own", []),
        ("127.0.0.1:9100", "same", ["nginx (process 42)"]),
        ("127.0.0.1:9100", "every every4", ["python3 (process 43)", "python3 (process 44)"]),
        ("127.0.0.1:9100", "another", []),
        ("127.0.0.1:9100", "unknown unknown", ["another program"]),
        (":9100", "own another", ["ncat (process 45)"]),
        ("0.0.0.0:9100", "another", ["ncat (process 45)"]),
        ("[::]:9100", "another", ["ncat (process 45)"]),
        ("localhost:9100", "another", ["ncat (process 45)"]),
        ("127.0.0.1:9100", "", []),
    ],
)
def test_who_else_listens(address: str, rows: str, expected: list[str]) -> None:
    shown = "".join(f"LISTEN 0      4096   {ROWS[row]} \n" for row in rows.split())
    assert others(shown, address, OWN) == expected


def test_what_is_asked() -> None:
    assert command("[::1]:9100") == ["ss", "-Hltnp", "sport = :9100"]
