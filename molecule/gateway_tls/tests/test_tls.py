"""A gateway with the certificate of an authority: pebble, which is Let's Encrypt's own server for tests."""

from __future__ import annotations

import http.client
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.tools.scenario import bed

HostCommand = Callable[..., str]
NAME = "gw.test.example"


@pytest.fixture(scope="module")
def trust(on_host: HostCommand) -> ssl.SSLContext:
    """Clients know the authority, and nothing of this gateway."""
    return ssl.create_default_context(cadata=on_host("cat", "/srv/authority/root.pem"))


@pytest.fixture
def client(url: str, trust: ssl.SSLContext, key: str) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {key}", "Host": NAME}
    with httpx.Client(base_url=url, verify=trust, timeout=60, headers=headers, trust_env=False) as found:
        yield found


def named(name: str = NAME) -> dict[str, str]:
    return {"sni_hostname": name}


def connect(url: str, trust: ssl.SSLContext, name: str) -> ssl.SSLSocket:
    address = urlsplit(url)
    connection = socket.create_connection((address.hostname, address.port or 443), timeout=20)
    return trust.wrap_socket(connection, server_hostname=name)


def serial(url: str, trust: ssl.SSLContext) -> object:
    with connect(url, trust, NAME) as secured:
        return (secured.getpeercert() or {})["serialNumber"]


@pytest.mark.parametrize("name", [NAME, "api.test.example"])
def test_the_authoritys_certificate_is_shown_for_each_name(url: str, trust: ssl.SSLContext, name: str) -> None:
    with connect(url, trust, name) as secured:
        names = dict(secured.getpeercert() or {})["subjectAltName"]
    assert sorted(names) == [("DNS", "api.test.example"), ("DNS", NAME)]


def test_clients_are_served(client: httpx.Client) -> None:
    answer = client.get("/v1/models", extensions=named())
    assert answer.status_code == 200
    assert answer.headers["Strict-Transport-Security"] == "max-age=63072000"
    assert answer.headers["Alt-Svc"].startswith('h3=":443"')


def test_other_names_get_no_handshake(url: str, trust: ssl.SSLContext) -> None:
    with pytest.raises(ssl.SSLError):
        connect(url, trust, "evil.example")
    trust_all = ssl.create_default_context()
    trust_all.check_hostname, trust_all.verify_mode = False, ssl.CERT_NONE
    address = urlsplit(url)
    with (
        socket.create_connection((address.hostname, address.port or 443), timeout=20) as connection,
        pytest.raises(ssl.SSLError, match="(?i)unrecognized.name"),
    ):
        trust_all.wrap_socket(connection)


def test_a_host_that_differs_from_the_handshake(client: httpx.Client) -> None:
    answer = client.get("/v1/models", headers={"Host": "evil.example"}, extensions=named())
    assert answer.status_code == 421


def test_http3_is_listened_for(on_host: HostCommand) -> None:
    listening = [line.split()[3] for line in on_host("ss", "-Hlun").splitlines()]
    assert "0.0.0.0:443" in listening


def test_nothing_but_the_authoritys_question_is_answered_in_the_clear(on_host: HostCommand) -> None:
    ask = (
        "import http.client as h, sys; c = h.HTTPConnection('127.0.0.1', 80); "
        "c.request('GET', sys.argv[1], headers={'Host': sys.argv[2]}); a = c.getresponse(); "
        "print(a.status, a.read().decode())"
    )
    status, _blank, body = on_host("python3", "-c", ask, "/v1/models", NAME).partition(" ")
    assert int(status) == http.client.FORBIDDEN
    assert '"https_required"' in body
    assert on_host("python3", "-c", ask, "/.well-known/acme-challenge/x", NAME).startswith("404")


def test_a_renewal_cuts_no_stream(client: httpx.Client, url: str, trust: ssl.SSLContext) -> None:
    before = serial(url, trust)
    body = {"prompt": "slow", "stream": True}
    command = bed("exec", "certbot", "renew", "--force-renewal", "--no-random-sleep-on-renew")
    with client.stream("POST", "/v1/completions", json=body, extensions=named()) as answer:
        lines = answer.iter_lines()
        next(lines)
        renewal = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert list(lines)[-2] == "data: [DONE]"
        said, _nothing = renewal.communicate(timeout=120)
    assert renewal.returncode == 0, said
    for _attempt in range(50):
        if serial(url, trust) != before:
            return
    pytest.fail("Nginx goes on with the certificate that was renewed")


def test_the_timer_renews_it(on_host: HostCommand) -> None:
    assert on_host("systemctl", "is-active", "certbot.timer").strip() == "active"
    assert on_host("systemctl", "is-enabled", "certbot.timer").strip() == "enabled"
    assert "renew_hook = systemctl reload nginx" in on_host("cat", "/etc/letsencrypt/renewal/mistral-gateway.conf")


def test_the_private_key_is_roots(on_host: HostCommand) -> None:
    assert (
        on_host("stat", "-L", "-c", "%a %U", "/etc/letsencrypt/live/mistral-gateway/privkey.pem").strip() == "600 root"
    )


def test_the_accounts_key_is_left_nowhere(on_host: HostCommand) -> None:
    # The authority takes no account without it, so there it was.
    assert on_host("sh", "-c", "ls /etc/letsencrypt/accounts/localhost:14000/dir").strip()
    key = (Path(__file__).parents[1] / "account-key").read_text().strip()
    search = f"grep -rls {key} /etc /run /var /root /tmp || true"
    # One that is planted is found, so that nothing found means something.
    assert on_host("sh", "-c", f"echo {key} >/run/planted; {search}; rm /run/planted").split() == ["/run/planted"]
    assert key not in on_host("journalctl", "--no-pager", "--output", "cat", timeout=300)
