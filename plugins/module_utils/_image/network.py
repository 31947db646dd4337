# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an image's build needs from the network, looked at from the builder before it starts.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

The refs of a git repository are asked for by HTTP as git itself does it (gitprotocol-http(5), version 0), since git
need not be installed on the builder. Other transports are left to the build, which has git.
"""

from __future__ import annotations

import base64
import os
import re
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch import proxy as _proxy
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.answer import read_body
from ansible_collections.mistralrs.stack.plugins.module_utils._image.build_log import (
    COMMIT_DIFFERS,
    COMMIT_MISSING,
    GIT_UNREACHABLE,
    TAG_MISSING,
)

CRATE_INDEX_UNREACHABLE = Fault(
    "image.crate_index_unreachable",
    "The builder {host} can't reach the index of crates at {url}: {why}.",
    "Check its network and proxy, or set mistral_image_cargo_registry_url to a mirror of crates.io.",
)
DOWNLOAD_UNREACHABLE = Fault(
    "image.download_unreachable",
    "The builder {host} can't fetch the {what} from {url}: {why}.",
    "Check its network and proxy, or set the address to a mirror's.",
)

_TIMEOUT = 20
_LARGEST = 32 << 20
_WHOLE_COMMIT = re.compile(r"[0-9a-f]{40}\Z")


class Network:
    """Requests by HTTP, with the build's proxies and authorities."""

    def __init__(self, environment: Mapping[str, str], authorities: str) -> None:
        self._context = ssl.create_default_context()
        if authorities.strip():
            self._context.load_verify_locations(cadata=authorities.encode("ascii", "ignore").decode("ascii"))
        self._proxies = _proxy.settings(os.environ, {name: value for name, value in environment.items() if value})

    def get(
        self, url: str, headers: Mapping[str, str] | None = None, most: int = _LARGEST, body: bytes | None = None
    ) -> bytes:
        """The body of an answer, at most so many bytes of it; with a C(body) that is posted.

        Raises OSError with the reason in words.
        """
        request = urllib.request.Request(url, data=body, headers=dict(headers or {}))
        parts = urllib.parse.urlsplit(url)
        try:
            proxy = _proxy.choose(parts, self._proxies)
        except ValueError as error:
            raise OSError(f"the proxy {error.args[-1]} can't be used: {error.args[0]}") from None
        way = f" (through the proxy {proxy.shown})" if proxy else ""
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({parts.scheme: proxy.url} if proxy else {}),
            urllib.request.HTTPSHandler(context=self._context),
        )
        try:
            with opener.open(request, timeout=_TIMEOUT) as answer:
                return read_body(answer, most)
        except urllib.error.HTTPError as error:
            who = f"the proxy {proxy.shown}" if proxy and error.code == 407 else "the server"
            raise OSError(f"{who} answers {error.code} {error.reason}") from None
        except urllib.error.URLError as error:
            raise OSError(f"{getattr(error.reason, 'strerror', None) or error.reason}{way}") from None
        except ValueError as error:
            raise OSError(str(error)) from None


def parse_refs(answer: bytes) -> dict[str, str]:
    """The refs that a server tells, name to commit; tags that are objects also as C(refs/tags/NAME^{}).

    Reads both the smart protocol's answer (pkt-lines) and the plain file of a server without git.
    """
    lines = []
    if answer[4:].startswith(b"# service="):
        place = 0
        while place + 4 <= len(answer):
            try:
                size = int(answer[place : place + 4], 16)
            except ValueError:
                break
            lines.append(answer[place + 4 : place + size] if size > 4 else b"")
            place += max(size, 4)
    else:
        lines = answer.splitlines()
    refs = {}
    for line in lines:
        commit, _space, name = (
            line.partition(b"\0")[0].strip().decode("utf-8", "replace").replace("\t", " ").partition(" ")
        )
        if len(commit) >= 40 and name:
            refs[name] = commit
    return refs


def _packet(line: str) -> bytes:
    """A line of git's protocol (pkt-line)."""
    return f"{len(line) + 4:04x}{line}".encode()


def _check_commit(network: Network, url: str, commit: str, answer: bytes, headers: Mapping[str, str]) -> None:
    """That a commit to which no tag need point is in the repository, where the server is one that tells.

    GitHub and GitLab hand out any commit that a branch leads to (C(allow-reachable-sha1-in-want)). It is asked for as a
    fetch of depth 1 does it; the beginning of the answer tells, and no more is read.
    """
    capabilities = answer.partition(b"\0")[2].partition(b"\n")[0].split()
    tells = b"allow-reachable-sha1-in-want" in capabilities or b"allow-any-sha1-in-want" in capabilities
    if not tells or not _WHOLE_COMMIT.match(commit):
        return
    body = _packet(f"want {commit} no-progress\n") + _packet("deepen 1\n") + b"0000" + _packet("done\n")
    more = {
        **headers,
        "Content-Type": "application/x-git-upload-pack-request",
        "Accept": "application/x-git-upload-pack-result",
    }
    try:
        begin = network.get(f"{url.rstrip('/')}/git-upload-pack", more, most=512, body=body)
    except OSError as error:
        raise StackError(GIT_UNREACHABLE, line=f"{url}: {error}") from None
    if b"ERR " in begin and b"not our ref" in begin:
        raise StackError(COMMIT_MISSING, line=f"{commit} at {url}")


def check_git(network: Network, url: str, tag: str, commit: str, credentials: str = "") -> str:
    """That the repository can be reached and its tag points to the commit; the commit in full if the tag tells it.

    Without a tag, that the commit is there. C(credentials) are addresses with users and passwords, one a line, as git
    keeps them. Raises StackError C(image.git_unreachable), C(image.tag_missing), C(image.commit_differs) and
    C(image.commit_missing).
    """
    if not url.startswith(("http://", "https://")):
        return ""
    headers = {"User-Agent": "git/2.40.0"}
    for line in credentials.split():
        parts = urllib.parse.urlsplit(line)
        if url.startswith(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/"):
            both = urllib.parse.unquote(parts.netloc.rpartition("@")[0])
            headers["Authorization"] = "Basic " + base64.b64encode(both.encode()).decode()
    try:
        answer = network.get(f"{url.rstrip('/')}/info/refs?service=git-upload-pack", headers)
    except OSError as error:
        raise StackError(GIT_UNREACHABLE, line=f"{url}: {error}") from None
    refs = parse_refs(answer)
    if not refs:
        raise StackError(GIT_UNREACHABLE, line=f"{url} is not a git repository")
    if not tag:
        if commit not in refs.values():
            _check_commit(network, url, commit, answer, headers)
        return ""
    found = refs.get(f"refs/tags/{tag}^{{}}") or refs.get(f"refs/tags/{tag}", "")
    if not found:
        raise StackError(TAG_MISSING, line=f"{tag} at {url}")
    if not found.startswith(commit):
        raise StackError(COMMIT_DIFFERS, tag=tag, found=found, wanted=commit)
    return found


def check_reach(network: Network, host: str, wanted: Mapping[str, Any]) -> None:
    """That what the build downloads can be reached (what it is: address).

    Raises StackError C(image.crate_index_unreachable) and C(image.download_unreachable).
    """
    for what, url in wanted.items():
        address = str(url)
        if not address.startswith(("http://", "https://")):
            continue
        try:
            # Some servers and signed addresses refuse HEAD.
            network.get(address, {"Range": "bytes=0-0"}, most=1)
        except OSError as error:
            fault = CRATE_INDEX_UNREACHABLE if what == "crate index" else DOWNLOAD_UNREACHABLE
            raise StackError(fault, host=host, what=what, url=address, why=error) from None
