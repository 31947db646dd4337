"""More engines on the scenario's host, from the image that the role built, each with models of its own.

The folder .cache/engine of this checkout is /srv/engine on the host.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._engine.plan import engine_plan

from tests.tools.scenario import ROOT, run_on_host

PLACE = ROOT / ".cache" / "engine"
SHARED = Path("/srv/engine")
NAME = "test-engine"
PORT = 18931
PATIENCE = 300
ASK = """
import sys, urllib.error, urllib.request
request = urllib.request.Request(sys.argv[1], sys.argv[2].encode() or None, {"Content-Type": "application/json"})
try:
    answer = urllib.request.urlopen(request, timeout=300)
except urllib.error.HTTPError as error:
    answer = error
print(answer.status)
print(answer.read().decode())
"""
AWAIT = f"""
for i in $(seq {PATIENCE}); do
    docker exec {NAME} /usr/local/bin/healthcheck 2>/dev/null && exit 0
    [ "$(docker inspect --format '{{{{.State.Running}}}}' {NAME})" = true ] || break
    sleep 1
done
docker logs --tail 50 {NAME} >&2
exit 1
"""


def on_host(*command: str) -> str:
    """Run a command on the host; its output."""
    return run_on_host(*command, timeout=PATIENCE + 60)


@contextmanager
def shared_folder() -> Iterator[Path]:
    """A folder that the host sees below SHARED, under the same name."""
    folder = Path(tempfile.mkdtemp(prefix="test-", dir=PLACE))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def seen(path: Path) -> Path:
    """The path of a shared file on the host, and in the container."""
    return SHARED / path.relative_to(PLACE)


@contextmanager
def running(folder: Path, models: list[dict[str, Any]]) -> Iterator[str]:
    """An engine with the plan that the role makes for these models; where it answers."""
    config = {"server": {"port": PORT}, "models": {"context_length": 2048}, "inference": {"batch_size": 2}}
    plan = engine_plan(config, "0.8.1", [], models)
    serve = folder / "serve"
    for name, target in plan["links"].items():
        (serve / name).parent.mkdir(parents=True, exist_ok=True)
        (serve / name).symlink_to(target)
    (folder / "engine.toml").write_text(plan["toml"])
    image = on_host("docker", "inspect", "--format", "{{.Image}}", "mistral-engine").strip()
    options = ["--detach", "--name", NAME, "--init", "--publish", f"127.0.0.1:{PORT}:{PORT}"]
    options += ["--workdir", plan["working_directory"], "--volume", f"{seen(serve)}:{plan['working_directory']}:ro"]
    options += ["--volume", f"{seen(folder / 'engine.toml')}:/etc/mistral/engine.toml:ro"]
    options += ["--volume", f"{SHARED}:{SHARED}:ro", "--env", f"MISTRAL_PORT={PORT}"]
    options += [f"--env={name}={value}" for name, value in plan["environment"].items()]
    try:
        on_host("docker", "run", *options, image, *plan["argv"])
        on_host("sh", "-c", AWAIT)
        yield f"http://127.0.0.1:{PORT}"
    finally:
        on_host("docker", "rm", "--force", NAME)
        if serve.exists():
            shutil.rmtree(serve)


def ask(url: str, body: Any = None) -> tuple[int, Any]:
    """Status and document that the engine answers on its host."""
    said = on_host("python3", "-c", ASK, url, "" if body is None else json.dumps(body))
    status, _, text = said.partition("\n")
    return int(status), json.loads(text)
