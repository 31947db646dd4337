"""What the variables may be."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import PAGE
from ansible_collections.mistralrs.stack.plugins.plugin_utils._values import KINDS, expected, problems

RIGHT: dict[str, list[Any]] = {
    "listener": ["127.0.0.1:9100", "0.0.0.0:1", "[::1]:9100", ":9100", "localhost:65535", "node-1.example.org:80"],
    "target": ["10.0.0.1:9100", "[fd00::5]:9100", "gpu_1:9100"],
    "url": ["http://127.0.0.1:8081/stub_status", "https://u:p@mirror.example.org/x%20y?a=b", "https://[fd00::1]:8/x"],
    "path": ["/", "/var/lib/my models", "/a..b"],
    "duration": ["15s", "30d", "1h30m", "500ms", "1y2w3d"],
    "size": ["5GB", "512MB", "10B", "100TB"],
    "version": ["26.1.5", "23", 23, 23.0],
    "name": ["stable", "bookworm", "5.x_y-z"],
    "image": ["debian:12", "localhost:5000/a/b@sha256:" + "0" * 64],
    "sha256": ["aA" * 32],
    "fingerprint": ["A" * 40, "AAAA " * 10],
    "log_filter": ["info", "info,mistralrs_core=debug", "off", "a::b[span]=trace,warn", "tower-http=3"],
    "partition": ["3g.40gb", "1g.10gb+me", "9", 9],
    "text": ["x", " a b "],
    "secret": ["hf_abc"],
    "int 1 65535": [1, "443", 65535],
    "float 0 100": [0, 2.5, "2.5"],
    "optional url": ["", None, "https://a"],
    "list target": [[], ["a:1", "[::1]:2"]],
    "dict": [{}, {"a": 1}],
    "partitions": [[], [{"gpu": "0", "profiles": ["3g.40gb", 9]}]],
}
WRONG: dict[str, list[Any]] = {
    "listener": [
        "127.0.0.1",
        "256.1.1.1:9100",
        "127.0.0.1:70000",
        "::1:9100",
        "[::g]:1",
        "a b:1",
        ":0",
        "a:1 --x",
        "-a:1",
    ],
    "target": [":9100", "10.0.0.1:", "http://a:1", "1.2.3:80", "a:1\n"],
    "url": [
        "",
        "ftp://a",
        "http://",
        "https://a b",
        "https://a/\n",
        "https://a;b",
        "http://a:99999/",
        "http://[::1",
        "a.org",
    ],
    "path": ["", "data", "./data", "~/x", "/a/../b", "/a/..", "${HOME}/x", "/a\nb", '/a"b'],
    "duration": ["", "15", "0s", "5m1h", "-1s", "1.5h", "s", "15s\n", 15],
    "size": ["", "5", "0GB", "5 GB", "-1GB", "5gb", "1.5GB", "5GB\n"],
    "version": ["", "latest", "1..2", "v1", True],
    "name": ["", "../x", "a b", "a/b", "-a"],
    "image": ["", "Debian 12", "debian:12; rm", "--privileged"],
    "sha256": ["", "a" * 63, "g" * 64],
    "fingerprint": ["", "A" * 39, "A" * 41],
    "log_filter": ["", "a b", "info,", "info\nX=1", "=debug"],
    "partition": ["", "3g.40gb; reboot", "$(x)", "all"],
    "text": ["", " ", "a\nb", ["a"], {"a": 1}],
    "secret": ["", "a b", "a\n"],
    "int 1 65535": [0, 65536, "70000", -5, "-5", "abc", "", None, True, 1.5, [1]],
    "float 0 100": [-1, "x", 101, False, "inf", "nan"],
    "optional url": ["x"],
    "list target": ["a:1", None, ["a:1", "b"], {"a": 1}],
    "dict": ["", [], "a=b", None],
    "partitions": ["0", [{"gpu": 0}], [{"gpu": -1, "profiles": ["9"]}], [{"gpu": 0, "profiles": ["9; reboot"]}], [1]],
}


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in RIGHT.items() for value in values])
def test_right(kind: str, value: Any) -> None:
    assert expected(value, kind) == ""


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in WRONG.items() for value in values])
def test_wrong(kind: str, value: Any) -> None:
    assert expected(value, kind)


def test_every_kind_is_tried() -> None:
    assert set(KINDS) <= set(RIGHT) & set(WRONG)


def test_the_line_says_what_is_wrong_and_no_secret() -> None:
    values = {"port": 70000, "targets": ["a:1", "b"], "token": "hf secret", "mirror": "https://u:secret@a b"}
    kinds = {"port": "int 1 65535", "targets": "list target", "token": "optional secret", "mirror": "url"}
    lines = problems(values, kinds)
    assert lines[0] == (
        "'port' is 70000, but must be a whole number from 1 to 65535. Correct it in the inventory. "
        f"See {PAGE}#variable.invalid [variable.invalid]"
    )
    assert lines[1].startswith("'targets' is ['b'], but must be a list, each entry a host with a port, such as")
    assert len(lines) == len(kinds)
    assert "secret@" not in "".join(lines)
    assert "hf" not in lines[2]
