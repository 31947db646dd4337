# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.model_source import parse_sha256, parse_source


@pytest.mark.parametrize(
    ("source", "revision", "sha256", "error"),
    [
        ("", "", "", "model.source_unsupported"),
        ("hf://org", "", "", "model.source_invalid"),
        ("hf://org/../x", "", "", "model.source_invalid"),
        ("hf://org/repo/%2e%2e/x.gguf", "", "", "model.source_invalid"),
        ("hf://org/repo/a%2fb.gguf", "", "", "model.source_invalid"),
        ("hf://org/repo/x.gguf@a..b", "", "", "model.source_invalid"),
        ("hf://org/repo/x.gguf@v1", "v2", "", "model.source_invalid"),
        ("hf://-org/repo", "", "", "model.source_invalid"),
        ("ollama://library/x:1b", "2b", "", "model.source_invalid"),
        ("ollama://library/x:a/b", "", "", "model.source_invalid"),
        ("oci://ai/smollm2:latest", "", "", "model.source_invalid"),
        ("oci://r.example/x@sha256:12", "", "", "model.source_invalid"),
        ("mirror://x/y", "", "", "model.source_invalid"),
        ("/srv/x.gguf", "", "", "model.source_unsupported"),
        ("ftp://h/x.gguf", "", "", "model.source_unsupported"),
        ("file:///x", "main", "", "model.revision_unsupported"),
        ("https://h/x", "main", "", "model.revision_unsupported"),
        ("file://host/x", "", "", "model.source_invalid"),
        ("file://", "", "", "model.source_invalid"),
        ("file:///x%00y", "", "", "model.source_invalid"),
        ("https:///x", "", "", "model.source_invalid"),
        ("https://h:port/x", "", "", "model.source_invalid"),
        ("https://user:secret@h/x", "", "", "model.source_invalid"),
        ("https://h/a b", "", "", "model.source_invalid"),
        ("https://h/x\r\nHost: y", "", "", "model.source_invalid"),
        ("http://h/x", "", "", "model.source_insecure"),
        ("http://127.0.0.1.h/x", "", "", "model.source_insecure"),
        ("http://h/x", "", "0" * 64, ""),
        ("http://127.0.0.1/x", "", "", ""),
        ("http://[::1]:8080/x", "", "", ""),
        ("http://localhost/x", "", "", ""),
        ("file://localhost/x%20y", "", "", ""),
        ("https://h/x?token=secret", "", "", ""),
    ],
)
def test_sources(source: str, revision: str, sha256: str, error: str) -> None:
    if not error:
        assert "secret" not in parse_source("m", source, revision, sha256).shown
        return
    with pytest.raises(StackError) as caught:
        parse_source("m", source, revision, sha256)
    assert caught.value.id == error
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_sha256() -> None:
    assert parse_sha256("m", " SHA256:" + "A" * 64) == "a" * 64
    assert parse_sha256("m", "") == ""
    for value in ("abc", "g" * 64, "a" * 65):
        with pytest.raises(StackError) as caught:
            parse_sha256("m", value)
        assert caught.value.id == "model.invalid_sha256"


@pytest.mark.parametrize(
    ("source", "revision", "parsed"),
    [
        ("hf://org/repo/a/b.gguf", "", ("", "org/repo", "main", "a/b.gguf")),
        ("hf://org/repo@refs/pr/7", "", ("", "org/repo", "refs/pr/7", "")),
        ("hf://org/repo/x%20y.gguf", "v1", ("", "org/repo", "v1", "x y.gguf")),
        ("ollama://mistral", "", ("registry.ollama.ai", "library/mistral", "latest", "")),
        ("ollama://me/mistral:7b", "", ("registry.ollama.ai", "me/mistral", "7b", "")),
        ("ollama://hub.example:5000/me/x", "1b", ("hub.example:5000", "me/x", "1b", "")),
        ("oci://registry-1.docker.io/ai/smollm2", "", ("registry-1.docker.io", "ai/smollm2", "latest", "")),
        (f"oci://localhost/x@sha256:{'0' * 64}", "", ("localhost", "x", f"sha256:{'0' * 64}", "")),
    ],
)
def test_parts_of_sources(source: str, revision: str, parsed: tuple[str, ...]) -> None:
    found = parse_source("m", source, revision)
    assert (found.host, found.repository, found.revision, found.path) == parsed
