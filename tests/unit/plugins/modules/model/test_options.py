# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that can't be meant, and what stays secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.modules import model as subject

from tests.unit.plugins.modules.model.model_server import FILE, Run, Server


def test_no_credentials_are_sent_and_queries_stay_secret(run: Run, server: Server, store: Path) -> None:
    outcome = run("/relative")
    assert outcome["model"]["source"] == server.url("/relative")
    for _method, _path, headers in server.requests:
        assert not {"authorization", "cookie"} & {name.lower() for name in headers}
    assert "secret" not in (store / ".store" / f"{FILE}.json").read_text()


@pytest.mark.parametrize("source", ["/good?token=hidden", "https://user:hidden@h/x.gguf", "https://h/x?hidden\t"])
def test_secrets_of_the_source_are_neither_logged_nor_returned(
    source: str, run: Run, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[Any] = []
    monkeypatch.setattr(subject.AnsibleModule, "log", lambda *arguments, **options: logged.append((arguments, options)))
    given = server.url(source) if source.startswith("/") else source
    # Controllers always say whether the task has no_log.
    outcome = run(source=given, _ansible_no_log=False, _ansible_inject_invocation=True)
    assert logged
    assert "hidden" not in repr(logged)
    assert "hidden" not in repr(outcome)
    shown = outcome["invocation"]["module_args"]["source"]
    assert shown.rstrip("?.") == given.partition("?")[0].replace("user:hidden@", "")


def test_a_source_without_secrets_is_shown(run: Run, server: Server) -> None:
    outcome = run("/good", _ansible_inject_invocation=True)
    assert outcome["invocation"]["module_args"]["source"] == outcome["model"]["source"] == server.url("/good")


def test_arguments(run: Run) -> None:
    assert run("/good", name="../x")["error_id"] == "model.unsafe_name"
    assert run("/good", name="x", quantization="a/b")["error_id"] == "model.unsafe_name"
    assert run("/good", sha256="1234")["error_id"] == "model.invalid_sha256"
    assert run("/good", revision="main")["error_id"] == "model.revision_unsupported"
    assert run()["error_id"] == "model.source_unsupported"
    assert run("/good", path="relative/store")["error_id"] == "model.store_unusable"
    assert run("/good", name=None)["error_id"] == "model.name_missing"


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (None, "model.token_unreadable"),
        (b"", "model.token_unreadable"),
        (b"\xff\xfe", "model.token_unreadable"),
        (b"hf_hidden\n# hidden as well\n", "model.token_malformed"),
        (b"hf_hidden\xe2\x80\xa6", "model.token_malformed"),
    ],
)
def test_a_token_that_is_none(
    content: bytes | None, error: str, run: Run, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused before anybody is asked, and not shown."""
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    failed = run("/good", token_file=str(file))
    assert failed["error_id"] == error
    assert str(file) in failed["msg"]
    assert "hidden" not in repr(failed)
    if error == "model.token_malformed" and content:
        assert run("/good", token=content.decode())["error_id"] == error
        monkeypatch.setenv("HF_TOKEN", content.decode())
        said = run("/good")["msg"]
        assert "in HF_TOKEN" in said
        assert "hidden" not in said
    assert not store.exists()


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": 0},
        {"retries": -1},
        {"connections": 0},
        {"connections": 17},
        {"rate_limit": -1},
        {"fit": {"gpu_memory": [0]}},
        {"fit": {"batch_size": 0}},
        {"fit": {"context_length": -1}},
        {"endpoint": "huggingface.co"},
        {"endpoint": "http://mirror.example.com"},
        {"endpoint": "https://user:secret@mirror.example.com"},
        {"mirror_url": "http://mirror.example.com"},
        {"mirror_url": "https://user:secret@mirror.example.com"},
    ],
)
def test_values_that_can_not_be_meant(options: dict[str, Any], run: Run, store: Path) -> None:
    (option,) = options
    failed = run("/good", check=True, **options)
    assert failed["error_id"] == "model.option_invalid"
    assert next(iter(options["fit"])) in failed["msg"] if option == "fit" else option in failed["msg"]
    assert "secret" not in failed["msg"]
    assert not store.exists()
