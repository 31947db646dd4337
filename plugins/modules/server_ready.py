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
  - Waits until the engine lists the model as loaded and answers a completion of one token. If the model has a chat
    template, it also has to answer a chat of one token.
  - Then several clients send short prompts at the same time, and their answers are compared with those that each prompt
    gets alone. Some engines give a client the answer to another client's prompt, or fail. Each prompt repeats a word,
    which the model continues to repeat. The first three words must agree; later ones may differ because of the rounding
    of floating-point numbers.
  - Watches the engine's container meanwhile. If the engine dies or is restarted, the module fails at once, quotes the
    engine's last lines and says what they mean and what to do.
  - If the engine is ready and its answers are already proven, the module sends three requests. No prompt or answer of a
    client is shown or logged.
extends_documentation_fragment:
  - mistralrs.stack.attributes
  - mistralrs.stack.attributes.action_group
attributes:
  check_mode:
    support: full
    details: Looks once and reports what it sees; does not fail, and does not test the answers to several clients.
  diff_mode:
    support: none
    details: Nothing is changed.
  idempotent:
    support: full
options:
  url:
    description: The address at which the host reaches the engine, without a path.
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
      - The number of tokens into which the engine must split the prompt, from
        RV(mistralrs.stack.model#module:model.prompt_tokens).
      - Any other number means that the engine reads the model's vocabulary wrongly, which is an error.
      - V(0) skips this check.
    type: int
    default: 0
  chat:
    description:
      - Whether the model has a chat template and therefore must answer a chat; C(chat) in the result of
        P(mistralrs.stack.engine_plan#filter).
    type: bool
    default: true
    version_added: 0.2.0
  concurrent_prompts:
    description:
      - How many clients send requests at the same time to prove that their answers stay right, from V(2) to V(12).
      - V(0) skips this test, for an engine that gets one request at a time.
    type: int
    default: 6
    version_added: 0.2.0
  proof_file:
    description:
      - A file that records that this run of the container has passed, so that the test is not repeated before the
        container is started again. Its folder is created if it does not exist.
      - If empty, or without O(container), the test runs every time.
    type: path
    default: ""
    version_added: 0.2.0
  fit:
    description:
      - What of the model would fit the host's GPUs; the model's entry in C(fit) of the result of
        P(mistralrs.stack.engine_plan#filter).
      - Shown if the engine ends, or a completion fails, because the GPUs' memory is not enough.
    type: dict
    version_added: 0.2.0
    suboptions:
      sentence:
        description: The sentence for the message.
        type: str
        required: true
      table:
        description: The lines of the table.
        type: list
        elements: str
        required: true
  timeout:
    description: The maximum time in seconds to wait until the engine is ready, and for each answer after that.
    type: int
    default: 600
  interval:
    description: The time in seconds between two checks.
    type: float
    default: 0.5
"""

EXAMPLES = r"""
- name: Wait for the model
  mistralrs.stack.server_ready:
    model: mistral-7b-q4_k_m
    timeout: 900

- name: Prove again that ten clients get the right answers at the same time
  mistralrs.stack.server_ready:
    model: mistral-7b-q4_k_m
    concurrent_prompts: 10
"""

RETURN = r"""
ready:
  description: Whether the model answered. It can be V(false) only in check mode.
  type: bool
  returned: success
model:
  description: The id of the model.
  type: str
  returned: success
elapsed:
  description: The time in seconds that it took.
  type: float
  returned: success
attempts:
  description: How often the engine was checked.
  type: int
  returned: success
prompt_tokens:
  description: The number of tokens into which the engine splits a fixed text in several scripts.
  type: int
  returned: when the engine reports it
load_check:
  description:
    - V(passed), V(already_passed) if O(proof_file) says so, V(off), or V(inconclusive) if the model does not continue
      to repeat the word of a prompt, so that its answers do not show which prompt they belong to.
  type: str
  returned: success, not in check mode
reason:
  description: Why the engine is not ready (check mode).
  type: str
  returned: when it is not ready
fit_table:
  description: What O(fit.table) is.
  type: list
  elements: str
  returned: failure, if the GPUs' memory was not enough and O(fit) is given
error_id:
  description: The id of the error, see C(docs/errors.md).
  type: str
  returned: failure
"""

import http.client
import time
from typing import Any
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mistralrs.stack.plugins.module_utils._engine.answers_under_load import (
    INCONCLUSIVE,
    MAX_PROMPTS,
    PASSED,
    LoadCheck,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._engine.proof_record import Run, has_passed, remember
from ansible_collections.mistralrs.stack.plugins.module_utils._engine.ready import (
    DOCKER_UNUSABLE,
    Answer,
    ContainerState,
    LastExit,
    Watch,
    parse_events,
    parse_inspect,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._module import run_module

PATIENCE = 20
OFF = "off"
ALREADY_PASSED = "already_passed"

NOT_REMEMBERED = Fault(
    "server.proof_not_written",
    "The answers are right, but {path} can't be written: {reason}.",
    "Check that the disk is not full and the file system is writable.",
)


def endpoint(url: str) -> tuple[str, int]:
    """Host and port. Raises ValueError if the URL is not of the right form."""
    address = urlsplit(url)
    if address.scheme != "http" or not address.hostname:
        raise ValueError(url)
    return str(address.hostname), address.port or 80


def refusal(given: dict[str, Any]) -> str:
    """Why the module's options can't be used; '' if they can."""
    prompts = given["concurrent_prompts"]
    if prompts and not 2 <= prompts <= MAX_PROMPTS:
        return f"concurrent_prompts is {prompts}, but must be 0 or from 2 to {MAX_PROMPTS}"
    try:
        endpoint(given["url"])
    except ValueError:
        return f"url is {given['url']!r}, but must look like http://127.0.0.1:11434"
    return ""


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


def load_check(watch: Watch, client: HttpClient, given: dict[str, Any]) -> str:
    """Prove the answers of several clients, unless this run of the container has passed already.

    Raises StackError if they are wrong.
    """
    if not given["concurrent_prompts"]:
        return OFF
    proof = f"{given['concurrent_prompts']} clients"
    before = run_of(watch)
    path = given["proof_file"]
    if path and has_passed(path, before, given["model"], proof):
        return ALREADY_PASSED
    try:
        found = LoadCheck(client, given["model"], given["concurrent_prompts"], float(given["timeout"])).run()
    except StackError:
        # An engine that died under the load says why in its log.
        watch.container_state()
        raise
    if path and found == PASSED and run_of(watch) == before:
        try:
            remember(path, before, given["model"], proof)
        except OSError as error:
            raise StackError(NOT_REMEMBERED, path=path, reason=error.strerror or error) from error
    return found


def run_of(watch: Watch) -> Run:
    state = watch.container_state()
    return Run(state.identity, state.started_at) if state else Run("", "")


def run(module: AnsibleModule) -> dict[str, Any]:
    """Wait for the model and prove its answers; in check mode look once, where no answer is not a failure."""
    given = module.params
    client = HttpClient(*endpoint(given["url"]))
    container = DockerContainer(module, given["container"]) if given["container"] else None
    clock = SystemClock()
    started = clock.now()
    watch = Watch(
        client,
        container,
        clock,
        given["url"],
        given["model"],
        given["container"],
        given["prompt_tokens"],
        given["chat"],
        given["fit"],
    )
    result: dict[str, Any] = {"changed": False, "model": given["model"]}
    if module.check_mode:
        try:
            look = watch.look(10.0)
        except StackError as error:
            return {**result, "ready": False, "reason": str(error), "elapsed": 0.0, "attempts": watch.attempts}
    else:
        look = watch.wait(float(given["timeout"]), max(0.05, given["interval"]))
        result["load_check"] = load_check(watch, client, given)
    result.update(ready=look.ready, attempts=watch.attempts, elapsed=round(clock.now() - started, 3))
    if result.get("load_check") == INCONCLUSIVE:
        module.warn(
            f"It is not proven that the model {given['model']} gives several clients the right answers at the same "
            "time: it does not continue to repeat a word, so its answers do not show which prompt they belong to."
        )
    if look.reason:
        result["reason"] = look.reason
    if look.prompt_tokens is not None:
        result["prompt_tokens"] = look.prompt_tokens
    return result


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "default": "http://127.0.0.1:11434"},
            "model": {"type": "str", "required": True},
            "container": {"type": "str", "default": "mistral-engine"},
            "prompt_tokens": {"type": "int", "default": 0, "no_log": False},
            "chat": {"type": "bool", "default": True},
            "concurrent_prompts": {"type": "int", "default": 6},
            "proof_file": {"type": "path", "default": ""},
            "fit": {
                "type": "dict",
                "options": {
                    "sentence": {"type": "str", "required": True},
                    "table": {"type": "list", "elements": "str", "required": True},
                },
            },
            "timeout": {"type": "int", "default": 600},
            "interval": {"type": "float", "default": 0.5},
        },
        supports_check_mode=True,
    )
    problem = refusal(module.params)
    if problem:
        module.fail_json(msg=problem)
    run_module(module, run)


if __name__ == "__main__":
    main()
