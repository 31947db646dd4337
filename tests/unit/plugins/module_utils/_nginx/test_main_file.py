"""How nginx.conf gets room for connections."""

from __future__ import annotations

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._nginx.main_file import with_room

# As the package of Debian 12 and 13 has it.
DEBIAN = """user www-data;
worker_processes auto;
pid /run/nginx.pid;
include /etc/nginx/modules-enabled/*.conf;

events {
\tworker_connections 768;
\t# multi_accept on;
}

http {
}
"""


def test_debians_file_gets_both_limits() -> None:
    found = with_room(DEBIAN, 8192, "nginx.conf")
    assert found == DEBIAN.replace("768", "8192").replace("\nevents", "\nworker_rlimit_nofile 8704;\nevents")
    assert with_room(found, 8192, "nginx.conf") == found


def test_larger_numbers_stay() -> None:
    text = DEBIAN.replace("768", "20000").replace("\npid", "\nworker_rlimit_nofile 50000;\npid")
    assert with_room(text, 8192, "nginx.conf") == text


def test_files_follow_the_larger_number_of_connections() -> None:
    found = with_room(DEBIAN.replace("768", "20000"), 8192, "nginx.conf")
    assert "worker_connections 20000;" in found
    assert "worker_rlimit_nofile 20512;" in found


def test_a_smaller_limit_of_files_is_raised() -> None:
    found = with_room(DEBIAN.replace("\npid", "\nworker_rlimit_nofile 1024;\npid"), 8192, "nginx.conf")
    assert found.count("worker_rlimit_nofile") == 1
    assert "worker_rlimit_nofile 8704;" in found


@pytest.mark.parametrize("block", ["events {}", "events{ use epoll; }", "events {\n# worker_connections 9;\n}"])
def test_a_block_without_the_number_gets_it(block: str) -> None:
    found = with_room(f"{block}\nhttp {{}}\n", 100, "nginx.conf")
    assert found.startswith("worker_rlimit_nofile 612;\nevents")
    assert "\n\tworker_connections 100;" in found


def test_comments_are_not_read() -> None:
    text = f"# events {{ worker_connections 9; }}\n# worker_rlimit_nofile 9;\n{DEBIAN}"
    found = with_room(text, 100, "nginx.conf")
    assert found.startswith("# events { worker_connections 9; }\n# worker_rlimit_nofile 9;\nuser")
    assert "worker_connections 768;" in found
    assert "\nworker_rlimit_nofile 1280;\nevents" in found


@pytest.mark.parametrize("text", ["", "http {}", "# events { }", "my_events { }"])
def test_without_the_block_nothing_is_guessed(text: str) -> None:
    with pytest.raises(StackError, match="gateway.events_not_found"):
        with_room(text, 100, "/etc/nginx/nginx.conf")
