# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in the store already, or was put there by hand, compared with what its source has."""

from __future__ import annotations

import hashlib
import os
import pickle
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.reporter import Reporter
from ansible_collections.mistralrs.stack.plugins.module_utils._store import entry
from ansible_collections.mistralrs.stack.plugins.module_utils._store.apply import apply
from ansible_collections.mistralrs.stack.plugins.module_utils._store.plan import prepare
from ansible_collections.mistralrs.stack.plugins.module_utils._store.work import PresentWork, Request

from tests.fakes.hub.hub import COMMIT, Hub
from tests.fakes.hub.place import REMOTE, REPOSITORY, Place


def test_what_the_hub_has_is_here_already(place: Place) -> None:
    """Another source of the same content costs no download."""
    file = place.root / "x.gguf"
    file.write_bytes(place.content)
    place.fetch(file.as_uri())
    assert not place.fetch().changed
    assert place.bodies() == []
    assert place.fetch().facts["source"] == place.source


def put_by_hand(place: Place, content: bytes) -> None:
    place.store.mkdir()
    place.final.write_bytes(content)
    place.final.chmod(0o664)
    if os.geteuid() == 0:
        os.chown(place.final, 12345, 12345)


@pytest.mark.parametrize("check", [True, False])
def test_a_file_put_there_by_hand_is_what_its_source_has(place: Place, check: bool) -> None:
    put_by_hand(place, place.content)
    outcome = place.fetch(check=check)
    assert (outcome.changed, outcome.facts["revision"]) == (True, COMMIT)
    assert place.hub.cdn.log == []
    if not check:
        status = place.final.stat()
        assert (status.st_uid, status.st_mode & 0o777) == (os.geteuid(), 0o644)
        assert not place.fetch().changed


@pytest.mark.parametrize("check", [True, False])
def test_a_file_put_there_by_hand_that_its_source_does_not_have(place: Place, check: bool) -> None:
    """Nobody knows which of the two is meant: neither is lost."""
    place.old = place.content[:-100] + bytes(100)
    put_by_hand(place, place.old)
    digest = hashlib.sha256(place.old).hexdigest()
    assert digest in place.fails("not_of_source", check=check)
    assert place.final.read_bytes() == place.old
    # Both ways out that the message names.
    assert place.fetch(sha256=digest, check=check).facts["sha256"] == digest
    place.final.unlink()
    assert place.fetch(sha256="", check=check).facts["sha256"] == hashlib.sha256(place.content).hexdigest()


@pytest.mark.parametrize(
    ("options", "revision"), [({"gated": True}, COMMIT), ({"private": True}, "")], ids=["gated", "private"]
)
def test_a_file_put_there_by_hand_because_the_host_may_not_read_its_source(
    place: Place, options: dict[str, Any], revision: str
) -> None:
    """Somebody with a licence copied it here. What is gated is compared all the same, its lists are public."""
    place.hub.add(REPOSITORY, {REMOTE: place.content}, **options)
    put_by_hand(place, place.content)
    assert place.fetch(token="").facts["revision"] == revision


def test_a_file_put_there_by_hand_is_not_read_again_by_the_job(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module read it to see whether there is something to do; the job is another process."""
    place.store.mkdir()
    place.final.write_bytes(place.content)
    wanted, source, access = place.request()
    work = PresentWork(Request(str(place.store), [wanted]), [source], access)
    assert work.quick() is None
    handed_over = pickle.dumps(work)
    monkeypatch.setattr(entry, "_HASHED", {})
    monkeypatch.setattr(entry, "hash_file", lambda *_arguments: pytest.fail("it was read again"))
    assert pickle.loads(handed_over).work(Reporter(lambda _progress: None))["changed"]


@pytest.mark.parametrize("offline", [True, False])
def test_a_file_put_there_by_hand_where_no_hub_answers(
    place: Place, offline: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_by_hand(place, place.content)
    if not offline:
        monkeypatch.setattr(Hub, "url", "http://127.0.0.1:9")
    assert place.fetch(offline=offline, retries=0).changed
    assert place.hub.origin.log == []


def test_a_file_put_there_by_hand_that_is_altered_after_it_was_compared(place: Place) -> None:
    """Its owner alters it and puts the time back: it is compared again once nobody else can alter it."""
    put_by_hand(place, place.content)
    wanted, source, access = place.request()
    prepared = prepare(wanted, source, access)
    status = place.final.stat()
    place.old = place.content[:-100] + bytes(100)
    place.final.write_bytes(place.old)
    os.utime(place.final, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(StackError) as caught:
        apply(prepared, access)
    assert caught.value.id == "model.not_of_source"
    assert not (place.store / ".store" / f"{place.final.name}.json").exists()
