# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Hugging Face hub: what it says of a repository's files, with sizes and digests, and what its refusals mean.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping
from typing import Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.answer import Answer
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.http_client import HTTP_ANSWER, HTTP_STATUS, Client
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.model_source import Remote, Source
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.url import redact
from ansible_collections.mistralrs.stack.plugins.module_utils._model.naming import check_path

GATED = Fault(
    "model.gated",
    "Model {name}: {repository} is gated.",
    "Accept its licence at {page} and give a token with read access ('mistral_models_token').",
)
UNAUTHORIZED = Fault(
    "model.unauthorized",
    "Model {name}: {repository} is not found, private or gated; the hub does not say which (HTTP {status}).",
    "Correct its name, or give a token with read access ('mistral_models_token').",
)
TOKEN_INVALID = Fault(
    "model.token_invalid",
    "Model {name}: {host} rejects the token.",
    "Make a new token with read access, or leave it out for public repositories.",
)
DISABLED = Fault(
    "model.disabled",
    "Model {name}: the hub has disabled {repository}.",
    "Use another repository.",
)
REPOSITORY_NOT_FOUND = Fault(
    "model.repository_not_found",
    "Model {name}: there is no repository {repository} at {host}.",
    "Correct 'source'.",
)
REVISION_NOT_FOUND = Fault(
    "model.revision_not_found",
    "Model {name}: {repository} has no revision {revision!r}.",
    "Correct 'revision'; it is a branch, a tag or a commit.",
)
ENTRY_NOT_FOUND = Fault(
    "model.entry_not_found",
    "Model {name}: {file} is not in {repository} at {revision}.",
    "Use one of the files that are there: {there}.",
)
COMMIT = re.compile(r"[0-9a-f]{40}\Z")
_SHA256 = re.compile(r"(?:sha256:)?([0-9a-f]{64})\Z")
_SHA1 = re.compile(r"[0-9a-f]{40}\Z")
_NEXT = re.compile(r'<([^>]+)>\s*;\s*rel="?next"?')
_MAX_PAGES = 100


class HubSettings(NamedTuple):
    """Where hubs are: the Hugging Face C(endpoint), directories of local Ollama stores, the fleet's mirror."""

    endpoint: str = "https://huggingface.co"
    ollama_models: tuple[str, ...] = ()
    mirror_url: str = ""


class Hub:
    """One repository of a hub."""

    def __init__(self, client: Client, source: Source, name: str, settings: HubSettings) -> None:
        self.client = client
        self.name = name
        self.endpoint = settings.endpoint.rstrip("/")
        self.repository = source.repository
        self.revision = source.revision
        self.api = f"{self.endpoint}/api/models/{source.repository}"

    def fault(self, fault: Fault, **fields: Any) -> StackError:
        """A fault about the repository."""
        return StackError(fault, name=self.name, repository=self.repository, **fields)

    def check(self, answer: Answer, file: str = "") -> None:
        """Say what a hub's refusal means (huggingface_hub, utils/_http.py)."""
        status = answer.status
        if status == 200:
            return
        code = answer.headers.get("X-Error-Code") or ""
        message = (answer.headers.get("X-Error-Message") or "").strip()
        host = urllib.parse.urlsplit(self.endpoint).netloc
        if status == 401 and message.startswith("Invalid credentials in Authorization"):
            raise self.fault(TOKEN_INVALID, host=host)
        if code == "GatedRepo":
            raise self.fault(GATED, page=f"{self.endpoint}/{self.repository}")
        if status == 403 and message.startswith("Access to this resource is disabled"):
            raise self.fault(DISABLED)
        if code == "RevisionNotFound":
            raise self.fault(REVISION_NOT_FOUND, revision=self.revision)
        if code == "RepoNotFound" and self.client.settings.token:
            raise self.fault(REPOSITORY_NOT_FOUND, host=host)
        if code == "EntryNotFound":
            raise self.fault(ENTRY_NOT_FOUND, file=file, revision=self.revision, there="see its page")
        if status in (401, 403) or code == "RepoNotFound":
            raise self.fault(UNAUTHORIZED, status=status)
        if status == 404:
            raise self.fault(REPOSITORY_NOT_FOUND, host=host)
        raise StackError(HTTP_STATUS, name=self.name, source=redact(answer.url), status=status)

    def check_access(self, remote: Remote) -> None:
        """Refuse a file that may not be read: a hub lists the files of gated repositories to everybody."""
        answer, _body = self.client.text("HEAD", remote.url, follow="none")
        if answer.status == 401 or answer.headers.get("X-Error-Code") == "GatedRepo":
            self.check(answer, remote.name)

    def pin(self) -> str:
        """The commit that the revision stands for."""
        if COMMIT.match(self.revision):
            return self.revision
        return self.commit_in(*self.revision_info())

    def revision_info(self) -> tuple[Answer, Any]:
        """What the hub says of the revision, unchecked: C(commit_in) reads it."""
        return self.client.json("GET", f"{self.api}/revision/{urllib.parse.quote(self.revision, safe='')}")

    def commit_in(self, answer: Answer, data: Any) -> str:
        """The commit in an answer of C(revision_info)."""
        self.check(answer)
        commit = data.get("sha") if isinstance(data, dict) else None
        if not isinstance(commit, str) or not COMMIT.match(commit):
            raise self.client.fault(HTTP_ANSWER, answer.url, why="it names no commit; is the endpoint a hub?")
        return commit

    def remote(self, entry: Mapping[str, Any], commit: str) -> Remote:
        """A file out of a listing."""
        path = entry["path"]
        check_path(path)
        lfs = entry.get("lfs") if isinstance(entry.get("lfs"), dict) else {}
        sha256 = _SHA256.match(str((lfs or {}).get("oid") or (lfs or {}).get("sha256") or ""))
        size = (lfs or {}).get("size", entry.get("size"))
        oid = str(entry.get("oid") or "")
        quoted = urllib.parse.quote(path)
        return Remote(
            name=path,
            url=f"{self.endpoint}/{self.repository}/resolve/{commit}/{quoted}",
            size=size if isinstance(size, int) and size >= 0 else None,
            sha256=sha256[1] if sha256 else "",
            git_sha1=oid if not sha256 and _SHA1.match(oid) else "",
            commit=commit,
        )

    def listing(self, commit: str) -> list[Remote]:
        """All files at a commit."""
        url = f"{self.api}/tree/{commit}?recursive=true"
        found: list[Remote] = []
        for _page in range(_MAX_PAGES):
            answer, data = self.client.json("GET", url)
            self.check(answer)
            if not isinstance(data, list):
                raise self.client.fault(HTTP_ANSWER, url, why="it is not a list of files")
            for entry in data:
                if isinstance(entry, dict) and entry.get("type") == "file" and isinstance(entry.get("path"), str):
                    found.append(self.remote(entry, commit))
            following = _NEXT.search(answer.headers.get("Link") or "")
            if not following:
                return found
            url = self.client.redirected(url, following[1])
        raise self.client.fault(HTTP_ANSWER, url, why="its list of files has no end")

    def head(self, path: str) -> Remote:
        """A file of a hub that has no API, by the headers of its address."""
        url = (
            f"{self.endpoint}/{self.repository}/resolve/{urllib.parse.quote(self.revision, safe='')}/"
            f"{urllib.parse.quote(path)}"
        )
        answer, _body = self.client.text("HEAD", url, follow="relative")
        if answer.status not in (200, 301, 302, 303, 307, 308):
            self.check(answer, path)
        commit = (answer.headers.get("X-Repo-Commit") or "").lower()
        if not COMMIT.match(commit):
            raise self.client.fault(HTTP_ANSWER, url, why="it names no commit; a login page may be in between")
        etag = (answer.headers.get("X-Linked-Etag") or answer.headers.get("ETag") or "").strip()
        digest = etag[2:] if etag.startswith("W/") else etag
        sha256 = _SHA256.match(digest.strip('"'))
        size = answer.headers.get("X-Linked-Size") or ""
        if not size and answer.status == 200:
            size = answer.headers.get("Content-Length") or ""
        return Remote(
            name=path,
            url=url.replace(f"/resolve/{urllib.parse.quote(self.revision, safe='')}/", f"/resolve/{commit}/", 1),
            size=int(size) if size.isascii() and size.isdigit() else None,
            sha256=sha256[1] if sha256 else "",
            git_sha1=digest.strip('"') if _SHA1.match(digest.strip('"')) else "",
            commit=commit,
        )


def search(client: Client, settings: HubSettings, query: str, limit: int) -> list[dict[str, Any]]:
    """Repositories of a hub that hold GGUF files, most downloaded first."""
    question = urllib.parse.urlencode(
        {"search": query, "filter": "gguf", "sort": "downloads", "direction": "-1", "limit": str(limit), "full": "true"}
    )
    url = f"{settings.endpoint.rstrip('/')}/api/models?{question}"
    answer, data = client.json("GET", url)
    if answer.status != 200:
        raise StackError(HTTP_STATUS, name=query, source=redact(url), status=answer.status)
    return [entry for entry in data if isinstance(entry, dict)] if isinstance(data, list) else []
