#!/usr/bin/python

# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: server_ready
short_description: Wait until mistral.rs has loaded a model and answers
version_added: 0.1.0
author: The mistralrs.stack maintainers (@mistralrs-stack)
description:
  - Waits until the engine lists the model as loaded and answers a completion of one token.
  - Watches the engine's container meanwhile. When the engine dies or is restarted, fails at once, quotes the engine's
    own last lines and says what they mean and what to do.
  - An engine that is ready costs two requests. No prompt or answer is shown or logged.
extends_documentation_fragment:
  - mistralrs.stack.attributes
  - mistralrs.stack.attributes.action_group
attributes:
  check_mode:
    support: full
    details: Looks once and reports what it sees; does not fail.
  diff_mode:
    support: none
    details: Nothing is changed.
  idempotent:
    support: full
options:
  url:
    description: Where the engine is reached from the host, without a path.
    type: str
    default: http://127.0.0.1:11434
  model:
    description: The id of the model, as C(/v1/models) lists it.
    type: str
    required: true
  container:
    description: The name of the engine's container. An empty name means that no container is watched.
    type: str
    default: mistral-engine
  prompt_tokens:
    description:
      - Into how many tokens the prompt has to be split, as RV(mistralrs.stack.model#module:model.prompt_tokens) says.
      - Another number means that the engine reads the model's vocabulary wrongly, which is an error.
      - V(0) is not checked.
    type: int
    default: 0
  timeout:
    description: How many seconds to wait at most.
    type: int
    default: 600
  interval:
    description: How many seconds to wait between two looks.
    type: float
    default: 0.5
"""

EXAMPLES = r"""
- name: Wait for the model
  mistralrs.stack.server_ready:
    model: mistral-7b-q4_k_m
    timeout: 900
"""

RETURN = r"""
ready:
  description: Whether the model answered. Can be V(false) in check mode only.
  type: bool
  returned: success
model:
  description: The id of the model.
  type: str
  returned: success
elapsed:
  description: How many seconds it took.
  type: float
  returned: success
attempts:
  description: How often the engine was looked at.
  type: int
  returned: success
prompt_tokens:
  description: Into how many tokens the engine splits a fixed text in several scripts.
  type: int
  returned: when the engine says it
reason:
  description: Why the engine is not ready (check mode).
  type: str
  returned: when it is not ready
error_id:
  description: The id of the error, see C(docs/errors.md).
  type: str
  returned: failure
"""

import http.client
import time
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._server_ready import (
    DOCKER_UNUSABLE,
    Answer,
    ContainerState,
    LastExit,
    Watch,
    parse_events,
    parse_inspect,
)

PATIENCE = 20


def endpoint(url: str) -> tuple[str, int] | None:
    """Host and port; nothing if the URL is not of the right form."""
    try:
        address = urlsplit(url)
        if address.scheme == "http" and address.hostname:
            return str(address.hostname), address.port or 80
    except ValueError:
        pass
    return None


class HttpClient:
    """Plain HTTP to the engine; proxies of the environment are not for this host's own ports."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port

    def _request(self, method: str, path: str, body: str | None, timeout: float) -> Answer:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
            response = connection.getresponse()
            return Answer(response.status, response.read(1 << 20).decode("utf-8", "replace"))
        except (OSError, http.client.HTTPException) as error:
            return Answer(0, str(error) or type(error).__name__)
        finally:
            connection.close()

    def get(self, path: str, timeout: float) -> Answer:
        return self._request("GET", path, None, timeout)

    def post(self, path: str, body: str, timeout: float) -> Answer:
        return self._request("POST", path, body, timeout)


class DockerContainer:
    """The container as the docker command shows it."""

    def __init__(self, module: AnsibleModule, name: str) -> None:
        self.module, self.name = module, name
        self.docker = module.get_bin_path("docker")
        self.since = int(time.time()) - 60

    def _run(self, *arguments: str) -> tuple[int, str, str]:
        if self.docker is None:
            raise StackError(DOCKER_UNUSABLE, container=self.name, reason="there is no docker command")
        # A Docker that hangs would be waited for without end, whatever the timeout of the module.
        code, out, err = self.module.run_command(["timeout", str(PATIENCE), self.docker, *arguments])
        if code == 124:
            reason = f"it gave no answer in {PATIENCE} seconds"
            raise StackError(DOCKER_UNUSABLE, container=self.name, reason=reason)
        return int(code), str(out), str(err)

    def state(self) -> ContainerState | None:
        code, out, err = self._run("container", "inspect", self.name)
        if code == 0:
            return parse_inspect(out)
        if "no such container" in err.lower():
            return None
        raise StackError(DOCKER_UNUSABLE, container=self.name, reason=" ".join(err.split()).rstrip("."))

    def log(self) -> str:
        # An earlier life of the container may have died of something else; it only counts if there is nothing newer.
        for window in (["--since", str(self.since)], []):
            code, out, err = self._run("logs", "--tail", "400", *window, self.name)
            if code == 0 and (out or err):
                return out + err
        return ""

    def last_exit(self) -> LastExit:
        filters = ["--filter", f"container={self.name}", "--filter", "event=die", "--filter", "event=oom"]
        window = ["--since", str(self.since), "--until", str(int(time.time()) + 1)]
        code, out, err = self._run("events", *window, *filters, "--format", "{{json .}}")
        return parse_events(out) if code == 0 else LastExit()


class SystemClock:
    """Real time."""

    def now(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "default": "http://127.0.0.1:11434"},
            "model": {"type": "str", "required": True},
            "container": {"type": "str", "default": "mistral-engine"},
            "prompt_tokens": {"type": "int", "default": 0, "no_log": False},
            "timeout": {"type": "int", "default": 600},
            "interval": {"type": "float", "default": 0.5},
        },
        supports_check_mode=True,
    )
    given = module.params
    address = endpoint(given["url"])
    if address is None:
        module.fail_json(msg=f"url is {given['url']!r}, but must look like http://127.0.0.1:11434")
        return
    client = HttpClient(*address)
    container = DockerContainer(module, given["container"]) if given["container"] else None
    clock = SystemClock()
    started = clock.now()
    watch = Watch(client, container, clock, given["url"], given["model"], given["container"], given["prompt_tokens"])
    result: dict[str, object] = {"changed": False, "model": given["model"]}
    try:
        if module.check_mode:
            look = watch.look(10.0)
        else:
            look = watch.wait(float(given["timeout"]), max(0.05, given["interval"]))
    except StackError as error:
        if not module.check_mode:
            module.fail_json(msg=str(error), error_id=error.id)
        module.exit_json(ready=False, reason=str(error), elapsed=0.0, attempts=watch.attempts, **result)
    result.update(ready=look.ready, attempts=watch.attempts, elapsed=round(clock.now() - started, 3))
    if look.reason:
        result["reason"] = look.reason
    if look.prompt_tokens is not None:
        result["prompt_tokens"] = look.prompt_tokens
    module.exit_json(**result)


if __name__ == "__main__":
    main()
