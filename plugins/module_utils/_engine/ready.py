# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waits until the engine answers, or says at once why it never will.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

The engine opens its socket only after all models are loaded, so a refused connection means that it is still loading,
or that it is dead: which of them, only its container tells.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ansible_collections.mistralrs.stack.plugins.module_utils._engine.answers_under_load import error_message
from ansible_collections.mistralrs.stack.plugins.module_utils._engine.diagnose import OF_GPU_MEMORY, diagnose
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._formats.gguf_tokenizer import PROMPT

NOT_READY = Fault(
    "server.not_ready",
    "The model {model} did not answer at {url} within {timeout} seconds: {last}.",
    "Loading a big model from a slow disk takes long: give it more time (mistral_server_ready_timeout), or read the "
    "engine's log (docker logs {container}).",
)
ENGINE_DIED = Fault(
    "server.engine_died",
    'The engine (container {container}) {how} instead of serving {model}. {finding} Its own last lines: "{quote}".',
    "Correct that and run again.",
)
CONTAINER_MISSING = Fault(
    "server.container_missing",
    "There is no container {container} on this host.",
    "Start it with the role mistral_server, or give the right name.",
)
DOCKER_UNUSABLE = Fault(
    "server.docker_unusable",
    "The container {container} can't be inspected: {reason}.",
    "Check that Docker is running on this host (systemctl status docker).",
)
MODEL_NOT_SERVED = Fault(
    "server.model_not_served",
    "{url} answers, but it serves {served} instead of {model}.",
    "Check whether it is the right engine and whether the model is in mistral_models.",
)
TOKENIZER_WRONG = Fault(
    "server.tokenizer_wrong",
    "Tokenizer mismatch: the engine splits a prompt into {got} tokens, the vocabulary of the model {model} gives "
    "{want}; the quality of its answers suffers.",
    "Ensure that the model's tokenizer.json lies beside it (run the role mistral_models), and use mistral.rs 0.9.1 or "
    "later.",
)
COMPLETION_FAILED = Fault(
    "server.completion_failed",
    "The model {model} is loaded, but a completion of one token ended with HTTP status {status}: {message}.",
    "{remedy}",
    "Read the engine's log; where it names a known problem, the message has its remedy.",
)
CHAT_FAILED = Fault(
    "server.chat_failed",
    "The model {model} completes prompts, but a chat of one token ended with HTTP status {status}: {message}.",
    "Correct the model's chat template, or give another one by chat_template in mistral_models.",
)
NOT_OPENAI = Fault(
    "server.not_an_engine",
    "{url} answers, but not as the engine does (HTTP status {status}).",
    "Find out what else listens on this port (ss -ltnp).",
)

# The completion is tried again once: a first request may meet an engine that is just waking up.
_COMPLETION_TRIES = 2


class Container(Protocol):
    """The engine's container, as far as it can be seen."""

    def state(self) -> ContainerState | None: ...

    def log(self) -> str: ...

    def last_exit(self) -> LastExit: ...


@dataclass(frozen=True)
class ContainerState:
    """What C(docker inspect) says."""

    status: str
    restarts: int
    exit_code: int
    oom_killed: bool
    identity: str = ""
    started_at: str = ""


@dataclass(frozen=True)
class LastExit:
    """How the engine ended the last time, if it did."""

    exit_code: int | None = None
    oom_killed: bool = False


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; status 0 means that there was none, and C(body) says why."""

    status: int
    body: str


class Client(Protocol):
    """The engine's HTTP side."""

    def get(self, path: str, timeout: float) -> Answer: ...

    def post(self, path: str, body: str, timeout: float) -> Answer: ...


class Clock(Protocol):
    """Time, which tests let fly."""

    def now(self) -> float: ...

    def sleep(self, seconds: float) -> None: ...


def parse_inspect(text: str) -> ContainerState:
    """From the JSON of C(docker inspect)."""
    document = json.loads(text)[0]
    state = document["State"]
    return ContainerState(
        status=str(state.get("Status", "")),
        restarts=int(document.get("RestartCount", 0)),
        exit_code=int(state.get("ExitCode", 0)),
        oom_killed=bool(state.get("OOMKilled", False)),
        identity=str(document.get("Id", "")),
        started_at=str(state.get("StartedAt", "")),
    )


def parse_events(text: str) -> LastExit:
    """From the lines of C(docker events) about C(die) and C(oom)."""
    exit_code, oom_killed = None, False
    for line in text.splitlines():
        event = json.loads(line)
        action = event.get("Action", event.get("status"))
        if action == "oom":
            oom_killed = True
        elif action == "die":
            exit_code = int(event["Actor"]["Attributes"].get("exitCode", 0))
    return LastExit(exit_code, oom_killed)


def served_models(body: str) -> dict[str, str | None] | None:
    """Ids and states of the models in an answer of C(/v1/models); nothing if it isn't one."""
    try:
        return {str(entry["id"]): entry.get("status") for entry in json.loads(body)["data"]}
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


@dataclass
class Look:
    """One look at the engine."""

    ready: bool = False
    reason: str = ""
    status: str = "absent"
    prompt_tokens: int | None = None


class NoRoom:
    """What of the model would fit the GPUs, for errors about their memory; nothing if it is not known."""

    def __init__(self, fit: Mapping[str, Any] | None = None) -> None:
        self.fit = fit or {}

    def explained(self, cause: StackError) -> str:
        """The cause, and what would fit where that helps."""
        return f"{cause} {self.fit['sentence']}" if self.fit and cause.id in OF_GPU_MEMORY else str(cause)

    def with_table(self, error: StackError, cause: StackError) -> StackError:
        """The error with the table as a key of the module's result."""
        if self.fit and cause.id in OF_GPU_MEMORY:
            error.details["fit_table"] = list(self.fit["table"])
        return error


class Watch:
    """Looks at the engine until it is ready."""

    def __init__(
        self,
        client: Client,
        container: Container | None,
        clock: Clock,
        url: str,
        model: str,
        container_name: str,
        prompt_tokens: int = 0,
        chat: bool = False,
        fit: Mapping[str, Any] | None = None,
    ) -> None:
        self.client, self.container, self.clock = client, container, clock
        self.url, self.model, self.name = url, model, container_name
        # How many tokens the prompt has by the model's own vocabulary; 0: not known.
        self.prompt_tokens = prompt_tokens
        # Whether the model has a chat template.
        self.chat = chat
        self.no_room = NoRoom(fit)
        self.attempts = 0
        self._first_restarts: int | None = None
        self._failed_completions = 0

    def _died(self, container: Container, how: str, ended: LastExit) -> StackError:
        finding = diagnose(container.log(), ended.exit_code, ended.oom_killed)
        died = StackError(
            ENGINE_DIED,
            container=self.name,
            how=how,
            model=self.model,
            finding=self.no_room.explained(finding.error),
            quote=" | ".join(finding.quote) or "(none)",
        )
        return self.no_room.with_table(died, finding.error)

    def _look_at_container(self) -> str:
        if self.container is None:
            return ""
        state = self.container.state()
        if state is None:
            raise StackError(CONTAINER_MISSING, container=self.name)
        if self._first_restarts is None:
            self._first_restarts = state.restarts
        if state.status in ("exited", "dead", "removing"):
            raise self._died(
                self.container, f"ended with code {state.exit_code}", LastExit(state.exit_code, state.oom_killed)
            )
        if state.status == "restarting" or state.restarts > self._first_restarts:
            ended = self.container.last_exit()
            if ended.exit_code is None and state.status == "restarting":
                ended = LastExit(state.exit_code, state.oom_killed)
            code = "" if ended.exit_code is None else f" with code {ended.exit_code}"
            raise self._died(self.container, f"ended{code} and was restarted", ended)
        return state.status

    def _complete(self, timeout: float) -> Look:
        body = json.dumps({"model": self.model, "prompt": PROMPT, "max_tokens": 1, "temperature": 0})
        answer = self.client.post("/v1/completions", body, timeout)
        if answer.status == 200:
            try:
                usage: Any = json.loads(answer.body).get("usage") or {}
                tokens = usage.get("prompt_tokens")
            except (ValueError, AttributeError):
                raise StackError(NOT_OPENAI, url=self.url, status=200) from None
            if self.prompt_tokens and isinstance(tokens, int) and tokens != self.prompt_tokens:
                raise StackError(TOKENIZER_WRONG, model=self.model, got=tokens, want=self.prompt_tokens)
            return self._chat(timeout, tokens) if self.chat else Look(True, status="loaded", prompt_tokens=tokens)
        if answer.status == 0:
            return Look(reason=f"a completion got no answer ({answer.body})", status="loaded")
        self._failed_completions += 1
        message = error_message(answer.body)
        if self._failed_completions >= _COMPLETION_TRIES:
            cause = diagnose(message).error
            remedy = "Read the engine's log." if cause.id == "engine.ended" else self.no_room.explained(cause)
            failed = StackError(
                COMPLETION_FAILED, model=self.model, status=answer.status, message=message, remedy=remedy
            )
            raise self.no_room.with_table(failed, cause)
        return Look(reason=f"a completion ended with HTTP status {answer.status}", status="loaded")

    def _chat(self, timeout: float, tokens: int | None) -> Look:
        # A template that does not parse, or raises an exception, breaks chats only.
        messages = [{"role": "user", "content": "Say hello."}]
        body = json.dumps({"model": self.model, "messages": messages, "max_tokens": 1, "temperature": 0})
        answer = self.client.post("/v1/chat/completions", body, timeout)
        if answer.status == 0:
            return Look(reason=f"a chat got no answer ({answer.body})", status="loaded")
        if answer.status != 200:
            message = error_message(answer.body)
            raise StackError(CHAT_FAILED, model=self.model, status=answer.status, message=message)
        try:
            answered = isinstance(json.loads(answer.body)["choices"][0]["message"], dict)
        except (ValueError, LookupError, TypeError):
            answered = False
        if not answered:
            raise StackError(NOT_OPENAI, url=self.url, status=200)
        return Look(True, status="loaded", prompt_tokens=tokens)

    def container_state(self) -> ContainerState | None:
        """The state of the running container; None without a container to watch. Raises StackError if it died."""
        self._look_at_container()
        return self.container.state() if self.container else None

    def look(self, timeout: float) -> Look:
        """Look once. Raises StackError when waiting is of no use."""
        self.attempts += 1
        container_status = self._look_at_container()
        answer = self.client.get("/v1/models", min(timeout, 10.0))
        if answer.status == 0:
            running = f"the container is {container_status}, " if container_status else ""
            return Look(reason=f"{running}its port does not answer yet ({answer.body})", status="loading")
        served = served_models(answer.body) if answer.status == 200 else None
        if served is None:
            raise StackError(NOT_OPENAI, url=self.url, status=answer.status)
        if self.model not in served:
            names = ", ".join(sorted(name for name in served if name != "default")) or "no model"
            raise StackError(MODEL_NOT_SERVED, url=self.url, served=names, model=self.model)
        # Engines before 0.7.0 list only what is loaded, and say no status.
        status = served[self.model] or "loaded"
        if status != "loaded":
            return Look(reason=f"the model is {status}", status=status)
        return self._complete(timeout)

    def wait(self, timeout: float, interval: float) -> Look:
        """Look until the engine is ready. Raises StackError when it won't be, or when the time is over."""
        end = self.clock.now() + timeout
        while True:
            look = self.look(max(1.0, end - self.clock.now()))
            if look.ready:
                return look
            if self.clock.now() + interval > end:
                raise StackError(
                    NOT_READY,
                    model=self.model,
                    url=self.url,
                    timeout=int(timeout),
                    last=look.reason,
                    container=self.name or "of the engine",
                )
            self.clock.sleep(interval)
