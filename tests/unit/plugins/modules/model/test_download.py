# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module fetches from a server, and what it says of a server that is wrong."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.hub import certificate as certificates
from tests.unit.plugins.modules.model.model_server import COMPLETE, FILE, PART, Run, Server, files


@pytest.mark.parametrize("path", ["/good", "/relative", "/get-only", "/chunked", "/until-close"])
def test_download(path: str, run: Run, server: Server, store: Path) -> None:
    predicted = run(path, check=True)
    assert predicted["changed"]
    assert predicted["model"]["verified_by"] == "none"
    assert not store.exists()
    first = run(path)
    assert first["changed"]
    assert (store / FILE).read_bytes() == server.content
    assert files(store) == COMPLETE
    assert first["model"]["sha256"] == hashlib.sha256(server.content).hexdigest()
    assert first["diff"]["before"] == {}
    assert first["diff"]["after"]["size"] == len(server.content)
    asked = len(server.requests)
    again = run(path)
    assert not again["changed"]
    assert again["model"]["verified_by"] == "sidecar"
    assert again["diff"] == []
    assert len(server.requests) == asked
    assert not run(path, check=True)["changed"]


def test_metadata_alone_in_check_mode(run: Run, server: Server) -> None:
    assert run("/good", check=True)["model"]["size"] == len(server.content)
    assert [method for method, _path, _headers in server.requests] == ["HEAD"]


@pytest.mark.parametrize(
    ("path", "error", "early"),
    [
        ("/missing", "model.http_status", True),
        ("/html", "model.not_a_model", True),
        ("/text", "model.not_gguf", False),
        ("/pointer", "model.not_gguf", False),
        ("/short", "model.interrupted", False),
        ("/chunked-cut", "model.interrupted", False),
        ("/huge", "model.no_space", True),
        ("/gzip", "model.http_answer", True),
        ("/loop", "model.redirect_refused", True),
        ("/to-http", "model.redirect_refused", True),
        ("/to-file", "model.redirect_refused", True),
        ("/to-nowhere", "model.redirect_refused", True),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    path: str, error: str, early: bool, run: Run, server: Server, store: Path
) -> None:
    """What the metadata shows is said in check mode already; the old file always stays."""
    if early:
        assert run(path, check=True)["error_id"] == error
    failed = run(path)
    assert failed["failed"]
    assert failed["error_id"] == error
    assert failed["msg"].endswith(f"[{error}]")
    assert "\n" not in failed["msg"]
    assert "secret" not in failed["msg"]
    assert files(store) <= PART
    assert run("/good")["changed"]
    assert files(store) == COMPLETE
    assert run(path)["error_id"] == error
    assert (store / FILE).read_bytes() == server.content
    assert COMPLETE <= files(store) <= COMPLETE | PART
    assert not run("/good")["changed"]
    assert files(store) == COMPLETE


def test_wrong_checksum(run: Run, server: Server, store: Path) -> None:
    failed = run("/good", sha256="0" * 64)
    assert failed["error_id"] == "model.checksum_mismatch"
    assert hashlib.sha256(server.content).hexdigest() in failed["msg"]
    assert files(store) == set()


@pytest.mark.parametrize("known", [True, False])
def test_stalled_server(known: bool, run: Run, server: Server, store: Path) -> None:
    """Without a sha256, and a server that says nothing of its content, the part is of no use later."""
    digest = hashlib.sha256(server.content).hexdigest() if known else ""
    failed = run("/stalls", timeout=1, sha256=digest)
    assert failed["error_id"] == "model.stalled"
    assert f"at byte {len(server.content) // 2}" in failed["msg"]
    assert files(store) == (PART if known else set())


def test_untrusted_certificate(run: Run, store: Path, tmp_path: Path, certificate: Path) -> None:
    assert run("/good", ca_certificates="")["error_id"] == "model.source_untrusted"
    assert run("/good", ca_certificates="nonsense")["error_id"] == "model.ca_unreadable"
    assert run("/good", ca_path=str(tmp_path / "missing.pem"))["error_id"] == "model.ca_unreadable"
    assert not (store / FILE).exists()
    assert run("/good", ca_certificates="", ca_path=str(certificate))["changed"]


@pytest.mark.parametrize(("days", "hint"), [(-0.02, "expired"), (1.0, "not yet valid")])
def test_a_certificate_of_another_time(days: float, hint: str, run: Run, store: Path, tmp_path: Path) -> None:
    """As when the clock of the host or of the server is wrong."""
    path = tmp_path / "other.pem"
    certificates.make(path, days=days, begins=days - 0.5)
    with Server(b"", path) as other:
        thread = threading.Thread(target=other.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        failed = run(source=other.url("/good"), ca_certificates=other.ca)
        other.shutdown()
        thread.join()
    assert failed["error_id"] == "model.source_untrusted"
    assert hint in failed["msg"]
    assert "check the host's clock" in failed["msg"]


def test_comments_beside_certificates(run: Run, server: Server) -> None:
    commented = f"\ufeff# Autorit\xe9 de test\n{server.ca}# \u2026\n"
    assert run("/good", ca_certificates=commented)["changed"]
    for text in ("# Autorit\xe9", "\xe9", server.ca[: server.ca.index("-----END CERT")]):
        failed = run("/again", ca_certificates=text)
        assert failed["error_id"] == "model.ca_unreadable"
        assert "\n" not in failed["msg"]


def test_unreachable(run: Run, server: Server) -> None:
    assert run(source="https://127.0.0.1:1/x.gguf")["error_id"] == "model.source_unreachable"


def test_a_header_that_says_too_much_is_named_as_that(run: Run, store: Path, gguf: Any) -> None:
    """Its summary would be larger than what is read of a job's result."""
    source = store.parent / "hostile.gguf"
    source.write_bytes(many_types(gguf))
    failed = run(source=source.as_uri())
    assert failed["error_id"] == "model.gguf_malformed"
    assert "of more than 64 types" in failed["msg"]


@pytest.mark.parametrize("check", [True, False])
def test_the_same_from_a_server(check: bool, run: Run, server: Server, store: Path, gguf: Any) -> None:
    server.content = many_types(gguf)
    outcome = run("/good", check=check)
    assert outcome["changed"] if check else outcome["error_id"] == "model.gguf_malformed"
    assert files(store) == set()


def many_types(gguf: Any) -> bytes:
    return bytes(gguf.build(tensors={f"t{number}": ([1], 1000 + number, 0) for number in range(262_144)}))
