"""What is looked at before a build, against a real git server."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._image.network import (
    Network,
    check_git,
    check_reach,
    parse_refs,
)

SERVER = Path(__file__).resolve().parents[4] / "fakes" / "engine_workspace"


def free_ports() -> tuple[int, int]:
    """Two ports that nothing listens on."""
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1]


PORT, GUARDED_PORT = free_ports()
# The folder with the repositories, once there is a server.
SERVED: list[Path] = []


@pytest.fixture(scope="module")
def commit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A git server at PORT, and one that wants a password at GUARDED_PORT; the commit of their tag."""
    folder = tmp_path_factory.mktemp("git")
    SERVED.append(folder)
    made = [str(SERVER / "repository.sh"), str(folder / "x.git")]
    tagged = subprocess.run(made, capture_output=True, text=True, check=True).stdout.strip()
    command = [sys.executable, str(SERVER / "git_server.py"), str(folder)]
    servers = [
        subprocess.Popen([*command, *arguments], stderr=subprocess.DEVNULL)
        for arguments in ([str(PORT)], [str(GUARDED_PORT), "user:pass"])
    ]
    for port in (PORT, GUARDED_PORT):
        for _attempt in range(300):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.1)
    for server in servers:
        assert server.poll() is None
    yield tagged
    for server in servers:
        server.terminate()
        server.wait()


@pytest.fixture
def network() -> Network:
    return Network({"no_proxy": "*"}, "")


URL = f"http://127.0.0.1:{PORT}/x.git"


def test_a_tag_where_it_should_be(network: Network, commit: str) -> None:
    # The tag is an object of its own; what counts is the commit that it points to.
    assert check_git(network, URL, "v0.9.2", commit) == commit
    assert check_git(network, URL, "v0.9.2", commit[:8]) == commit
    assert check_git(network, URL, "", commit) == ""
    assert check_git(network, "ssh://git@example.org/x.git", "v0.9.2", commit) == ""


@pytest.fixture(scope="module")
def untagged(commit: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A commit that no branch or tag names any more, though main leads to it, as 9e922623 in upstream's repository."""
    work = tmp_path_factory.mktemp("git-work") / "source"
    subprocess.run(["git", "clone", "--quiet", URL, str(work)], check=True)
    git = ["git", "-C", str(work), "-c", "user.name=test", "-c", "user.email=test@example.org"]
    commits = []
    for number in (1, 2):
        subprocess.run([*git, "commit", "--quiet", "--allow-empty", "--message", str(number)], check=True)
        done = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
        commits.append(done.stdout.strip())
    repository = SERVED[0] / "x.git"
    subprocess.run(["git", "-C", str(repository), "fetch", "--quiet", str(work), "main:next"], check=True)
    return commits[0]


def test_a_commit_that_no_tag_or_branch_names(network: Network, commit: str, untagged: str) -> None:
    refs = parse_refs(network.get(f"{URL}/info/refs?service=git-upload-pack"))
    assert untagged not in refs.values()
    assert check_git(network, URL, "", untagged) == ""
    # Abbreviated ones can't be asked for; the build finds out.
    assert check_git(network, URL, "", "0" * 12) == ""
    with pytest.raises(StackError) as caught:
        check_git(network, URL, "", "9" * 40)
    assert caught.value.id == "image.commit_missing"
    assert "9" * 40 in str(caught.value)


def test_a_server_that_hands_out_no_other_commits(network: Network, commit: str, untagged: str) -> None:
    """What it would say about a commit tells nothing: the build looks through all of its history then."""
    repository = SERVED[0] / "strict.git"
    subprocess.run(["git", "clone", "--quiet", "--bare", str(SERVED[0] / "x.git"), str(repository)], check=True)
    assert check_git(network, URL.replace("x.git", "strict.git"), "", "9" * 40) == ""


@pytest.mark.parametrize(
    ("url", "tag", "wanted", "error_id"),
    [
        (URL, "", "0" * 40, "image.commit_missing"),
        (URL, "v0.9.2", "0" * 40, "image.commit_differs"),
        (URL, "v9", "0" * 40, "image.tag_missing"),
        (f"http://127.0.0.1:{PORT}/none.git", "v0.9.2", "0", "image.git_unreachable"),
        ("http://127.0.0.1:9/x.git", "v0.9.2", "0", "image.git_unreachable"),
        (f"http://127.0.0.1:{GUARDED_PORT}/x.git", "v0.9.2", "0", "image.git_unreachable"),
    ],
    # The free ports differ from run to run.
    ids=["commit missing", "commit differs", "tag missing", "no repository", "no server", "password wanted"],
)
def test_what_is_wrong(url: str, tag: str, wanted: str, error_id: str, network: Network, commit: str) -> None:
    with pytest.raises(StackError) as caught:
        check_git(network, url, tag, wanted)
    assert caught.value.id == error_id


def test_a_password_goes_where_it_belongs(network: Network, commit: str) -> None:
    url = f"http://127.0.0.1:{GUARDED_PORT}/x.git"
    assert check_git(network, url, "v0.9.2", commit, f"http://user:pass@127.0.0.1:{GUARDED_PORT}\n") == commit
    with pytest.raises(StackError, match="401"):
        check_git(network, url, "v0.9.2", commit, "http://user:pass@example.org\n")


def test_plain_files_of_a_server_without_git() -> None:
    assert parse_refs(f"{'a' * 40}\trefs/heads/main\nnonsense\n".encode()) == {"refs/heads/main": "a" * 40}
    assert parse_refs(b"<html>") == {}
    assert parse_refs(b"001e# service=git-upload-pack\n0000zzzz") == {}


def test_reach(network: Network, commit: str) -> None:
    check_reach(network, "b1", {"x": "file:///anywhere"})
    # This server does not know HEAD.
    check_reach(network, "b1", {"x": f"http://127.0.0.1:{PORT}/x.git/info/refs?service=git-upload-pack"})
    with pytest.raises(StackError) as caught:
        check_reach(network, "b1", {"crate index": "http://127.0.0.1:9/"})
    assert caught.value.id == "image.crate_index_unreachable"
    with pytest.raises(StackError, match="the Rust toolchain from") as caught:
        check_reach(network, "b1", {"Rust toolchain": "http://127.0.0.1:9/"})
    assert caught.value.id == "image.download_unreachable"
