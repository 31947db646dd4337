"""Keys are fetched from a real server, compared, and written only if they are the expected ones."""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.mistralrs.stack.plugins.module_utils._trust.openpgp import fingerprints
from ansible_collections.mistralrs.stack.plugins.modules import repository_key

KEYS = Path(__file__).resolve().parents[1] / "openpgp_keys"
RSA = fingerprints((KEYS / "rsa-with-subkey.asc").read_bytes())[0]
EDWARDS = fingerprints((KEYS / "ed25519.asc").read_bytes())[0]

Run = Callable[..., dict[str, Any]]


class Handler(SimpleHTTPRequestHandler):
    served: list[str] = []

    def log_message(self, *words: Any) -> None:
        self.served.append(self.path)


@pytest.fixture
def server() -> Iterator[str]:
    Handler.served.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(KEYS))) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_address[1]}"
        http.shutdown()


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(check: bool = False, **options: Any) -> dict[str, Any]:
        arguments = {
            "path": str(tmp_path / "keyrings" / "key.asc"),
            "_ansible_check_mode": check,
            "_ansible_diff": True,
            "_ansible_remote_tmp": str(tmp_path),
            **options,
        }
        with patch_module_args(arguments), pytest.raises(SystemExit):
            repository_key.main()
        return dict(json.loads(capsys.readouterr().out))

    return call


def test_new_key_and_second_run(tmp_path: Path, server: str, run: Run) -> None:
    path = tmp_path / "keyrings" / "key.asc"
    spaced = " ".join(RSA[at : at + 4] for at in range(0, 40, 4)).lower()
    options = {"url": f"{server}/rsa-with-subkey.asc", "fingerprints": [spaced]}
    preview = run(check=True, **options)
    assert (preview["changed"], preview["fetched"], path.exists()) == (True, True, False)
    first = run(**options)
    assert first["changed"]
    assert first["diff"]["after"] == f"{RSA}\n"
    assert path.read_bytes() == (KEYS / "rsa-with-subkey.asc").read_bytes()
    assert path.stat().st_mode & 0o7777 == 0o644
    Handler.served.clear()
    second = run(**options)
    assert (second["changed"], second["fetched"], second["fingerprints"]) == (False, False, [RSA])
    assert Handler.served == [], "a key that is there is not fetched again"


def test_another_key_is_not_written(tmp_path: Path, server: str, run: Run) -> None:
    result = run(url=f"{server}/ed25519.asc", fingerprints=[RSA])
    assert result["error_id"] == "repository.key_mismatch"
    assert RSA in result["msg"]
    assert EDWARDS in result["msg"]
    assert not (tmp_path / "keyrings").exists()


def test_a_key_that_was_added_is_not_written(tmp_path: Path, run: Run) -> None:
    both = tmp_path / "both.asc"
    both.write_bytes((KEYS / "rsa-with-subkey.asc").read_bytes() + (KEYS / "ed25519.asc").read_bytes())
    assert run(url=f"file://{both}", fingerprints=[RSA])["error_id"] == "repository.key_mismatch"
    assert not (tmp_path / "keyrings").exists()
    assert run(url=f"file://{both}", fingerprints=[RSA, EDWARDS])["changed"]


def test_a_key_is_replaced(tmp_path: Path, server: str, run: Run) -> None:
    assert run(url=f"{server}/ed25519.asc", fingerprints=[EDWARDS])["changed"]
    assert run(url=f"{server}/rsa-with-subkey.asc", fingerprints=[RSA, EDWARDS])["changed"] is False
    replaced = run(url=f"{server}/rsa-with-subkey.asc", fingerprints=[RSA])
    assert replaced["diff"]["before"] == f"{EDWARDS}\n"
    assert fingerprints((tmp_path / "keyrings" / "key.asc").read_bytes()) == [RSA]


@pytest.mark.parametrize("wrong", [[], ["F796ECB0"], ["x" * 40], [RSA + "0"]])
def test_what_is_no_fingerprint(server: str, run: Run, wrong: list[str]) -> None:
    result = run(url=f"{server}/ed25519.asc", fingerprints=wrong)
    assert result["error_id"] == "repository.bad_fingerprint"
    assert Handler.served == []


def test_what_is_no_key(tmp_path: Path, server: str, run: Run) -> None:
    page = tmp_path / "page.html"
    page.write_text("<html>Please log in</html>")
    assert run(url=f"file://{page}", fingerprints=[RSA])["error_id"] == "openpgp.key_invalid"
    page.write_bytes(b"\x99" * 1_000_001)
    assert run(url=f"file://{page}", fingerprints=[RSA])["error_id"] == "repository.key_too_large"
    assert run(url=f"{server}/none.asc", fingerprints=[RSA])["error_id"] == "repository.key_unreachable"
    assert run(url="http://127.0.0.1:1/key", fingerprints=[RSA])["error_id"] == "repository.key_unreachable"


def test_where_it_cannot_be_written(tmp_path: Path, server: str, run: Run) -> None:
    (tmp_path / "file").write_text("")
    result = run(url=f"{server}/ed25519.asc", fingerprints=[EDWARDS], path=str(tmp_path / "file" / "key.asc"))
    assert result["error_id"] == "repository.key_not_written"
