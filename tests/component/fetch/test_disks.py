# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What disks, other files and kills do to a download. After each the oracle of C(tests/fakes/hub/place.py) holds."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch import (
    guards,
    http_client,
    huggingface,
    resumable_transfer,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.model_source import parse_source
from ansible_collections.mistralrs.stack.plugins.module_utils._files import local
from ansible_collections.mistralrs.stack.plugins.module_utils._formats import gguf_model
from ansible_collections.mistralrs.stack.plugins.module_utils._store import (
    apply,
    companion_files,
    contents,
    disk_space,
    publish,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._store.access_options import Access
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import Report, Wanted, no_report

from tests.fakes.hub.place import LABEL, REPOSITORY, Place, make_model

HUB = Path(__file__).resolve().parents[2] / "fakes" / "hub" / "hub.py"


@pytest.fixture
def disk(place: Place) -> Iterator[Callable[..., None]]:
    """Put the store on a small disk of its own."""

    def mount(options: str) -> None:
        place.store.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", place.store], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip("mounting is not allowed here")

    yield mount
    if os.path.ismount(place.store):
        subprocess.run(["umount", "--lazy", place.store], check=True)


def test_35_no_space_is_seen_before_the_first_byte(place: Place, disk: Callable[..., None]) -> None:
    disk("size=32m")
    message = place.fails("no_space")
    assert re.search(r"has 33\.\d MB free, but 68\.\d MB are needed", message)
    assert place.hub.cdn.log == []


def test_35_the_disk_is_full_in_the_middle(
    place: Place, disk: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    disk("size=600k")
    for module in (disk_space, guards):
        monkeypatch.setattr(module, "reserve", lambda _status: -(1 << 30))
    place.fails("no_space")
    assert len(place.bodies()) == 1
    place.check(there=False)
    # What has arrived is kept; there is room now.
    subprocess.run(["mount", "-o", "remount,size=64m", place.store], check=True)
    for module in (disk_space, guards):
        monkeypatch.setattr(module, "reserve", lambda _status: 0)
    place.hub.cdn.log.clear()
    place.fetch()
    assert place.bodies()[0].startswith("bytes=")
    assert place.leftovers() == []


ENDLESS = "/endless.gguf"


def endless(place: Place, etag: str = "") -> str:
    """A body of 500 MB that begins like a model and whose length nobody tells."""
    path = place.root / "endless"
    path.write_bytes(place.content)
    os.truncate(path, 500 << 20)
    place.plain.files[ENDLESS] = path
    place.plain.headers[ENDLESS] = {"ETag": etag, "Last-Modified": ""}
    place.plain.fault(ENDLESS, chunked=True, times=-1, method="HEAD")
    place.plain.fault(ENDLESS, chunked=True, times=-1)
    return f"{place.plain.url}{ENDLESS}"


@pytest.mark.parametrize("etag", ["", '"one"'])
def test_a_body_without_end_leaves_room_on_the_disk(place: Place, disk: Callable[..., None], etag: str) -> None:
    disk("size=96m")
    message = place.fails("disk_reserved", endless(place, etag))
    assert "the last 67.1 MB on the disk" in message
    assert "if the model is not that large, its source is at fault" in message
    # What can't go on is of no use, and what can is kept.
    assert place.part.exists() == bool(etag)
    taken = place.part.stat().st_size if etag else 0
    assert disk_space.free_bytes(str(place.store)) >= 64 << 20
    assert taken <= 32 << 20
    # Of 500 MB; what the kernel holds on the way counts as sent.
    assert place.plain.sent < 128 << 20


def test_it_leaves_more_on_a_larger_disk(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two parts of a hundred, but not more than a gigabyte."""
    sizes = {1 << 30: 64 << 20, 10 << 30: (10 << 30) // 50, 1 << 40: 1 << 30}
    for size, spare in sizes.items():
        status = os.statvfs_result((4096, 4096, size // 4096, 0, 0, 0, 0, 0, 0, 255))
        assert local.reserve(status) == spare


def test_a_disk_that_others_fill_meanwhile(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also over several connections; what has arrived goes on when there is room again."""
    place.settings["limits"] = http_client.Limits(segment=1 << 16, space_interval=1 << 17)
    reserve, looks = local.reserve, []

    def filled(status: os.statvfs_result) -> int:
        looks.append(1)
        return reserve(status) if len(looks) < 3 else 1 << 62

    for connections in (1, 2):
        with monkeypatch.context() as patch:
            for module in (disk_space, guards):
                patch.setattr(module, "reserve", filled)
            looks.clear()
            place.fails("disk_reserved", connections=connections)
    assert place.part.exists()
    place.hub.cdn.log.clear()
    place.fetch()
    assert place.bodies()[0].startswith("bytes=")
    place.check(there=True)
    assert place.leftovers() == []


@pytest.mark.parametrize("what", [{"cut_after": 500_000}, {"stall_after": 500_000}])
def test_a_part_that_can_not_go_on_is_removed(place: Place, what: dict[str, int]) -> None:
    """Nothing tells whether the server will still have the same content."""
    place.plain.headers["/model.gguf"] = {"ETag": "", "Last-Modified": ""}
    place.plain.fault("/model.gguf", times=-1, **what)
    place.fails("stalled" if "stall_after" in what else "interrupted", f"{place.plain.url}/model.gguf", retries=0)
    assert place.leftovers() == []


@pytest.mark.parametrize("several", [False, True])
def test_a_file_of_this_host_that_grows_without_end(
    place: Place, several: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody still copies it there; each piece that is read is followed by another one."""
    folder = place.root / "growing"
    folder.mkdir()
    path = folder / "m.gguf"
    path.write_bytes(place.content)
    write_all, written = local.write_all, []

    def followed(descriptor: int, data: Any) -> None:
        written.append(len(data))
        with path.open("ab") as file:
            file.write(bytes(1 << 20))
        if sum(written) > 50 << 20:
            pytest.fail("it has no end")
        write_all(descriptor, data)

    monkeypatch.setattr(local, "_reflink", lambda *_arguments: False)
    monkeypatch.setattr(local, "write_all", followed)
    place.fails("interrupted", folder.as_uri() if several else path.as_uri())
    assert sum(written) <= len(place.content) + 1
    assert [each for each in place.leftovers() if ".part" in each or ".copy" in each] == []


def test_35_no_inodes_left(place: Place, disk: Callable[..., None]) -> None:
    disk("size=200m,nr_inodes=4")
    place.fails("no_space")


def test_35_a_disk_that_can_not_be_written(place: Place, disk: Callable[..., None]) -> None:
    disk("size=200m,ro")
    assert "Read-only" in place.fails("store_unusable")


def test_35_a_store_of_somebody_else(place: Place) -> None:
    """Who may not write there is told so; root may everywhere, so that it is somebody else here."""
    if os.geteuid():
        pytest.skip("only root can become somebody else")
    place.store.mkdir(mode=0o755)
    for folder in (place.root, *place.root.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o055)
    os.seteuid(65534)
    try:
        assert "Permission denied" in place.fails("store_unusable")
    finally:
        os.seteuid(0)
    assert list(place.store.iterdir()) == []


def test_35_an_error_while_writing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    write_all, calls = resumable_transfer.write_all, []

    def failing(descriptor: int, data: Any) -> None:
        calls.append(len(data))
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        write_all(descriptor, data)

    monkeypatch.setattr(resumable_transfer, "write_all", failing)
    assert "Input/output error" in place.fails("store_unusable", limits=http_client.Limits(buffer=1 << 18))
    place.hub.cdn.log.clear()
    place.fetch()
    assert place.bodies() == ["bytes=262144-"]


def other(kind: str, path: Path, target: Path) -> None:
    """Put something that is not a plain file of the store under a name of the store."""
    path.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("somebody else's")
    if kind == "link":
        path.symlink_to(target)
    elif kind == "hard link":
        os.link(target, path)
    elif kind == "directory":
        path.mkdir()
    else:
        os.mkfifo(path)


@pytest.mark.parametrize("kind", ["link", "hard link", "directory", "fifo"])
@pytest.mark.parametrize("what", ["final", "part", "record"])
def test_36_other_files_in_the_way(place: Place, kind: str, what: str) -> None:
    target = place.root / "other"
    path = {
        "final": place.final,
        "part": place.part,
        "record": place.part.with_name(place.part.name + ".json"),
    }[what]
    other(kind, path, target)
    if what == "record":
        # It says nothing of the part, and is replaced as a whole.
        if kind == "directory":
            place.fails("store_unusable")
        else:
            place.fetch()
            place.check(there=True)
    else:
        with pytest.raises(Exception, match=str(path)) as caught:
            place.fetch()
        assert getattr(caught.value, "id", "") in ("model.destination_unsafe", "model.part_unsafe")
        assert place.hub.cdn.log == [] or what == "part"
        path.rmdir() if kind == "directory" else path.unlink()
    assert target.read_text() == "somebody else's"


# Kills


class Origin:
    """A server in a process of its own, so that this one has no threads when it forks."""

    def __init__(self, root: Path, gguf: Any) -> None:
        self.root = root
        self.store = root / "models"
        self.wanted = Wanted(str(self.store), "m", LABEL, f"m-{LABEL}.gguf", "", "")
        self.content = make_model(gguf, 1 << 20)
        served = root / "served"
        served.mkdir()
        (served / "model.gguf").write_bytes(self.content)
        self.process = subprocess.Popen(
            [sys.executable, HUB, served, "--log", root / "log"], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.source = parse_source("m", self.process.stdout.readline().strip() + "/model.gguf")

    def fetch(self, rate_limit: int = 0, report: Report = no_report) -> bool:
        """Have the model in the store; whether that changed anything."""
        settings = http_client.Settings(timeout=5, retries=0, rate_limit=rate_limit)
        access = Access(settings, huggingface.HubSettings())
        return apply.present(self.wanted, self.source, access, check=False, report=report).changed

    def fork(self, rate_limit: int = 0, before: Callable[[], None] = lambda: None) -> int:
        """Fetch in another process."""
        process = os.fork()
        if not process:
            try:
                before()
                self.fetch(rate_limit)
                os._exit(0)
            finally:
                os._exit(1)
        return process

    def check(self) -> None:
        """The final file is absent or right."""
        final = self.store / self.wanted.file
        assert not final.exists() or final.read_bytes() == self.content

    def requests(self) -> list[str]:
        """Method and path of each request."""
        return [line.strip() for line in (self.root / "log").read_text().splitlines()]

    def files(self) -> set[str]:
        return {str(path.relative_to(self.store)) for path in self.store.rglob("*") if path.is_file()}


@pytest.fixture
def origin(tmp_path: Path, gguf: Any) -> Iterator[Origin]:
    made = Origin(tmp_path, gguf)
    yield made
    made.process.terminate()
    made.process.wait()
    if made.process.stdout:
        made.process.stdout.close()


def test_38_a_lock_that_does_not_lock(origin: Origin) -> None:
    """On some network file systems everybody gets every lock; then the name in the lock's file counts."""

    def unlocked() -> None:
        fcntl.flock = lambda *_arguments: None

    processes = [origin.fork(rate_limit=2 << 20, before=unlocked) for _index in range(4)]
    assert [os.waitpid(process, 0)[1] for process in processes] == [0] * 4
    assert (origin.store / origin.wanted.file).read_bytes() == origin.content
    assert origin.files() == {origin.wanted.file, f".store/{origin.wanted.file}.json"}
    # One of them fetched, the others waited for it.
    assert origin.requests().count("GET /model.gguf") == 1


def test_38_who_waits_says_for_whom(origin: Origin) -> None:
    holder = origin.fork(rate_limit=1 << 20)
    lock = origin.store / ".store" / f"{origin.wanted.file}.lock"
    until = time.monotonic() + 10
    while not (lock.exists() and lock.read_text()):
        assert time.monotonic() < until
        time.sleep(0.01)
    said = []

    def report(name: str, done: int, total: int | None = None, phase: str = "", waiting_for: str = "") -> None:
        said.append((name, phase, waiting_for))

    assert not origin.fetch(report=report)
    assert os.waitpid(holder, 0)[1] == 0
    assert len(set(said)) == 1
    name, phase, waiting_for = said[0]
    assert (name, phase) == ("m", "waiting")
    assert re.fullmatch(rf"process {holder} of this host, since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC", waiting_for)
    assert origin.requests().count("GET /model.gguf") == 1


def killed_at(module: Any, name: str, call: int, after: bool) -> None:
    """Have this process killed at a call of a function."""
    function, calls = getattr(module, name), []

    def killer(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        result = function(*arguments, **options) if after or len(calls) < call else None
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(module, name, killer)


@pytest.mark.parametrize(
    ("module", "name", "call", "after"),
    [
        (os, "mkdir", 1, True),
        (os, "ftruncate", 1, True),
        (os, "replace", 1, False),
        (os, "replace", 1, True),
        (resumable_transfer, "write_all", 1, False),
        (resumable_transfer, "write_all", 1, True),
        (os, "fsync", 1, False),
        (gguf_model, "inspect", 1, True),
        (os, "rename", 1, False),
        (os, "rename", 1, True),
        (publish, "sync_directory", 1, True),
        (companion_files, "stage", 1, True),
        (companion_files, "publish", 1, False),
        (companion_files, "publish", 1, True),
        (os, "rename", 2, False),
        (os, "rename", 2, True),
        (apply, "clean", 2, False),
        (os, "unlink", 1, False),
    ],
)
def test_39_killed_at_a_point(origin: Origin, module: Any, name: str, call: int, after: bool) -> None:
    process = origin.fork(before=lambda: killed_at(module, name, call, after))
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
    origin.check()
    origin.fetch()
    assert (origin.store / origin.wanted.file).read_bytes() == origin.content
    assert origin.files() == {origin.wanted.file, f".store/{origin.wanted.file}.json"}
    assert not origin.fetch()


def test_39_two_hundred_kills(origin: Origin) -> None:
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    print(f"seed {seed}")
    kills, sizes = 0, set()
    part = origin.store / ".store" / "incoming" / f"{origin.wanted.file}.part"
    while kills < 200:
        process = origin.fork(rate_limit=8 << 20)
        time.sleep(chance.uniform(0, 0.15))
        os.kill(process, signal.SIGKILL)
        kills += os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
        origin.check()
        if part.exists():
            sizes.add(part.stat().st_size)
        if (origin.store / origin.wanted.file).exists() and chance.random() < 0.5:
            contents.absent(origin.wanted, check=False)
    # The kills came in many different moments.
    assert len(sizes) > 3
    origin.fetch()
    assert (origin.store / origin.wanted.file).read_bytes() == origin.content
    assert origin.files() == {origin.wanted.file, f".store/{origin.wanted.file}.json"}


def test_37_names_that_would_leave_the_store(place: Place) -> None:
    """A hub's file never decides where something is written."""
    place.hub.add(REPOSITORY, {"a/b/../../../../tmp/x-Q4_K_M.gguf": place.content})
    place.fails("unsafe_name")


def test_35_a_disk_quota(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    write_all, calls = resumable_transfer.write_all, []

    def limited(descriptor: int, data: Any) -> None:
        calls.append(len(data))
        if len(calls) == 2:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
        write_all(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr(resumable_transfer, "write_all", limited)
        assert "the disk quota for" in place.fails("quota_exceeded", limits=http_client.Limits(buffer=1 << 18))
    place.check(there=False)
    # What has arrived is kept; the quota was raised.
    place.hub.cdn.log.clear()
    place.fetch()
    assert place.bodies() == ["bytes=262144-"]
    assert place.leftovers() == []
