"""What begins in the engine's container reaches nothing: the host, a neighbour, a metadata service, a name server.

Each try is made from another container as well, which has a way out: there it succeeds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import openai
import pytest

from tests.tools.scenario import Playbook

HostCommand = Callable[..., str]
PORT = 18997
METADATA = "169.254.169.254"
ELSEWHERE = "192.0.2.53"
REACH = """
import socket, sys
from concurrent.futures import ThreadPoolExecutor

def reached(target):
    address, port = target.split(":")
    try:
        socket.create_connection((address, int(port)), timeout=3).close()
        return True
    except OSError:
        return False

targets = sys.argv[1:]
with ThreadPoolExecutor(len(targets)) as pool:
    print(*[target for target, open in zip(targets, pool.map(reached, targets)) if open])
"""
ASK = """
import socket, sys
try:
    print(socket.gethostbyaddr(sys.argv[1])[0])
except socket.herror:
    print("nothing")
"""


def inspected(on_host: HostCommand, container: str, what: str) -> str:
    return on_host("docker", "inspect", "--format", what, container).strip()


def reached(on_host: HostCommand, container: str, targets: list[str]) -> set[str]:
    """Which of the targets answer in the container's network, asked with the host's programs."""
    pid = inspected(on_host, container, "{{.State.Pid}}")
    return set(on_host("nsenter", "--target", pid, "--net", "python3", "-c", REACH, *targets).split())


@pytest.fixture
def neighbour(on_host: HostCommand) -> Iterator[str]:
    """A container with the usual network, in which something listens."""
    name = "egress-neighbour"
    image = inspected(on_host, "mistral-engine", "{{.Image}}")
    options = ["--detach", "--rm", "--name", name, "--network", "bridge", "--entrypoint", "python3"]
    on_host("docker", "run", *options, image, "-m", "http.server", str(PORT))
    yield name
    on_host("docker", "rm", "--force", name)


@pytest.fixture
def targets(on_host: HostCommand, neighbour: str) -> Iterator[list[str]]:
    """All that listens: the host at each of its addresses, that of a cloud's metadata among them, and the neighbour."""
    unit = "egress-listener"
    on_host("systemd-run", "--collect", "--unit", unit, "python3", "-m", "http.server", str(PORT))
    for address in (METADATA, ELSEWHERE):
        on_host("ip", "address", "add", f"{address}/32", "dev", "lo")
    own = [line.split()[3].partition("/")[0] for line in on_host("ip", "-4", "-o", "address").splitlines()]
    addresses = [address for address in own if not address.startswith("127.")]
    addresses.append(inspected(on_host, neighbour, "{{.NetworkSettings.Networks.bridge.IPAddress}}"))
    on_host("sh", "-c", f"until ss -Hltn | grep -q :{PORT}; do sleep 0.2; done")
    # The host's own at the engine's bridge, at Docker's, at its network card and at lo, and the neighbour's.
    assert len(addresses) >= 6, addresses
    yield [f"{address}:{PORT}" for address in addresses]
    on_host("systemctl", "stop", unit)
    for address in (METADATA, ELSEWHERE):
        on_host("ip", "address", "del", f"{address}/32", "dev", "lo")


def test_the_engine_reaches_nothing_and_answers(
    client: openai.OpenAI, model: str, on_host: HostCommand, neighbour: str, targets: list[str]
) -> None:
    assert reached(on_host, neighbour, targets) == set(targets)
    assert reached(on_host, "mistral-engine", targets) == set()
    pid = inspected(on_host, "mistral-engine", "{{.State.Pid}}")
    # No IPv6 either, for which there is no rule.
    interfaces = {line.split()[-1] for line in on_host("cat", f"/proc/{pid}/net/if_inet6").splitlines()}
    assert interfaces <= {"lo"}
    assert client.completions.create(model=model, prompt="Hello", max_tokens=1).choices


def test_docker_resolves_no_names_for_the_engine(on_host: HostCommand) -> None:
    """Docker's own name server asks from the host, which the rule does not concern."""
    # The name server of the test bed knows the host.
    address = on_host("sh", "-c", "ip -o route get 198.51.100.1 | sed 's/.* src //; s/ .*//'").strip()
    image = inspected(on_host, "mistral-engine", "{{.Image}}")
    network = inspected(on_host, "mistral-engine", "{{.HostConfig.NetworkMode}}")
    python = ["--entrypoint", "python3", image, "-c", ASK, address]
    assert on_host("docker", "run", "--rm", "--network", network, *python).strip() != "nothing"
    assert on_host("docker", "exec", "mistral-engine", "python3", "-c", ASK, address).strip() == "nothing"


def test_an_engine_of_an_earlier_release_and_a_flushed_firewall(
    client: openai.OpenAI, model: str, on_host: HostCommand, neighbour: str, targets: list[str]
) -> None:
    compose = on_host("cat", "/etc/mistral/compose.yml")
    former = compose.partition("\nnetworks:\n")[0]
    for line in ("    networks: [engine]\n", "    dns: [127.0.0.1]\n"):
        assert line in former
        former = former.replace(line, "")
    on_host("sh", "-c", 'printf "%s\n" "$1" >/etc/mistral/compose.yml', "sh", former)
    on_host("docker", "compose", "--file", "/etc/mistral/compose.yml", "up", "--detach")
    on_host("docker", "network", "rm", "mistral-engine")
    on_host("systemctl", "disable", "--now", "mistral-egress")
    on_host("rm", "/etc/systemd/system/mistral-egress.service")
    on_host("systemctl", "daemon-reload")
    on_host("iptables", "--table", "mangle", "--flush", "PREROUTING")
    assert reached(on_host, "mistral-engine", targets) >= {f"{METADATA}:{PORT}", f"{ELSEWHERE}:{PORT}"}

    Playbook("mistralrs.stack.serve").works()
    assert reached(on_host, "mistral-engine", targets) == set()
    assert "mistral_default" not in on_host("docker", "network", "ls", "--format", "{{.Name}}").split()
    assert on_host("systemctl", "is-enabled", "mistral-egress").strip() == "enabled"

    on_host("iptables", "--table", "mangle", "--flush", "PREROUTING")
    assert reached(on_host, "mistral-engine", targets) != set()
    Playbook("mistralrs.stack.serve").works()
    assert reached(on_host, "mistral-engine", targets) == set()
    assert client.completions.create(model=model, prompt="Hello", max_tokens=1).choices


# Debian's own rules and its stop flush the whole ruleset, Docker's rules among it; here only the table with ours.
FIREWALL = """[Service]
ExecStart=
ExecStart=/usr/sbin/nft flush table ip mangle
ExecReload=
ExecReload=/usr/sbin/nft flush table ip mangle
ExecStop=
ExecStop=/usr/sbin/nft flush table ip mangle
"""


@pytest.fixture
def firewall(on_host: HostCommand) -> Iterator[str]:
    on_host("sh", "-c", "command -v nft || apt-get install --yes --no-install-recommends nftables")
    folder = "/run/systemd/system/nftables.service.d"
    on_host("sh", "-c", f'mkdir -p {folder} && printf "%s" "$1" >{folder}/test.conf', "sh", FIREWALL)
    # It runs already when the role sets the rule.
    on_host("sh", "-c", "systemctl daemon-reload && systemctl start nftables && systemctl restart mistral-egress")
    yield "nftables"
    on_host("systemctl", "stop", "nftables")
    on_host("sh", "-c", f"rm -r {folder} && systemctl daemon-reload && systemctl start mistral-egress")


def test_the_rule_comes_back_after_the_firewall(on_host: HostCommand, firewall: str, targets: list[str]) -> None:
    assert "drop" in on_host("nft", "list", "table", "ip", "mangle")
    for verb in ("reload", "restart", "stop", "start"):
        on_host("systemctl", verb, firewall)
        # systemctl waits for the firewall only.
        time.sleep(3)
        assert bool(reached(on_host, "mistral-engine", targets)) is (verb == "stop"), verb
