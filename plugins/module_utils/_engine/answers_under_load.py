# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks that clients that ask at the same time get the answers that they get alone.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

Each prompt repeats one word, and even a small model goes on repeating it: "house, house, house," is answered with
"house, house". So each answer says which prompt it belongs to. mistral.rs 0.8.1 on a CPU answers "house, water, water"
when the prompts are asked together.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError

ANSWERS_CHANGE = Fault(
    "server.answers_change_under_load",
    "The model {model} does not answer {count} clients at the same time as it answers each of them alone: {finding}.",
    "Use a version of mistral.rs without this defect (mistral_image_mistralrs_version, see docs/engine-versions.md). "
    "mistral_server_prove_answers: false switches this check off, and clients then get such answers.",
)

PASSED, INCONCLUSIVE = "passed", "inconclusive"

# Common words: one token each, with a space before it, in the vocabularies of all known models, so that prompts of as
# many words have as many tokens.
WORDS = ("water", "house", "green", "music", "table", "river", "stone", "paper", "horse", "money", "world", "night")
MAX_PROMPTS = len(WORDS)
ANSWER_TOKENS = 7
_REPEATS = 6
# An answer counts from this many words on; further words may differ, as sums of floating-point numbers do in a batch.
_CERTAIN_WORDS = 3


class Answer(Protocol):
    """An HTTP answer; status 0 means that there was none, and C(body) says why."""

    @property
    def status(self) -> int: ...

    @property
    def body(self) -> str: ...


class Client(Protocol):
    """The engine's HTTP side; several threads use it at the same time."""

    def post(self, path: str, body: str, timeout: float) -> Answer: ...


@dataclass(frozen=True)
class Prompt:
    """A prompt, and the word that its answer repeats."""

    word: str
    text: str


@dataclass(frozen=True)
class Reply:
    """What came back: the answer's text, or why there is none."""

    text: str = ""
    error: str = ""
    status: int = 200


def prompts(count: int) -> list[Prompt]:
    """Two thirds have the same length, since engines compute prompts and answers of equal length in one step."""
    count = min(count, MAX_PROMPTS)
    equal = -(-count * 2 // 3)
    return [
        Prompt(word, ", ".join([word] * (_REPEATS + 3 * max(0, number - equal + 1))) + ",")
        for number, word in enumerate(WORDS[:count])
    ]


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return re.findall(r"\w+", text.casefold())


def is_certain(prompt: Prompt, alone: Reply) -> bool:
    """Whether the answer that the prompt gets alone says that it belongs to the prompt."""
    return not alone.error and words_of(alone.text)[:_CERTAIN_WORDS] == [prompt.word] * _CERTAIN_WORDS


def is_wrong(prompt: Prompt, others: Sequence[Prompt], together: Reply) -> bool:
    """Whether the answer is another one than the prompt gets alone, which is certain. Later words may differ, but not
    into the word of another prompt."""
    words = words_of(together.text)
    return words[:_CERTAIN_WORDS] != [prompt.word] * _CERTAIN_WORDS or any(other.word in words for other in others)


def read_reply(answer: Answer) -> Reply:
    """What the engine's answer to a completion says; an error if it is not one."""
    if answer.status != 200:
        return Reply(error=error_message(answer.body), status=answer.status)
    try:
        text = json.loads(answer.body)["choices"][0]["text"]
    except (ValueError, LookupError, TypeError):
        text = None
    if not isinstance(text, str):
        return Reply(error="the answer does not have the form of a completion")
    return Reply(text=text)


def error_message(body: str) -> str:
    """The message of the engine's (or an OpenAI-shaped) error, on one line and without the frames of a stack trace."""
    try:
        document = json.loads(body)
        error = document.get("error", document)
        text = str(error.get("message", body)) if isinstance(error, dict) else str(error)
    except (ValueError, AttributeError):
        text = body
    return " ".join(re.split(r"\n\s*0: ", text, maxsplit=1)[0].split())[:300] or "no message"


def excerpt(reply: Reply) -> str:
    """The beginning of a reply for an error message, on one line."""
    return " ".join(reply.text.split())[:60]


class LoadCheck:
    """Asks the prompts together, then each alone, then together again."""

    def __init__(self, client: Client, model: str, count: int, timeout: float) -> None:
        self.client, self.model, self.timeout = client, model, timeout
        self.prompts = prompts(count)

    def _ask(self, prompt: Prompt) -> Reply:
        body = {"model": self.model, "prompt": prompt.text, "max_tokens": ANSWER_TOKENS, "temperature": 0}
        return read_reply(self.client.post("/v1/completions", json.dumps(body), self.timeout))

    def _ask_together(self) -> list[Reply]:
        start = threading.Barrier(len(self.prompts))

        def ask(prompt: Prompt) -> Reply:
            start.wait()
            return self._ask(prompt)

        with ThreadPoolExecutor(len(self.prompts)) as clients:
            return list(clients.map(ask, self.prompts))

    def _refuse(self, finding: str) -> StackError:
        return StackError(ANSWERS_CHANGE, model=self.model, count=len(self.prompts), finding=finding)

    def _check_errors(self, replies: list[Reply], requests: str) -> None:
        failed = [reply for reply in replies if reply.error]
        if failed:
            how = f"with HTTP status {failed[0].status}" if failed[0].status else "without an answer"
            raise self._refuse(f"{len(failed)} of {len(replies)} {requests} end {how} ({failed[0].error})")

    def _check_answers(self, alone: list[Reply], together: list[Reply]) -> None:
        wrong = [
            (prompt, single, reply)
            for prompt, single, reply in zip(self.prompts, alone, together)
            if is_certain(prompt, single)
            and is_wrong(prompt, [other for other in self.prompts if other is not prompt], reply)
        ]
        if wrong:
            prompt, single, reply = wrong[0]
            raise self._refuse(
                f'{len(wrong)} of {len(together)} answers are wrong, the prompt that repeats "{prompt.word}" gets '
                f'"{excerpt(reply)}" instead of "{excerpt(single)}"'
            )

    def run(self) -> str:
        """PASSED, or INCONCLUSIVE if the model's answers do not say which prompt they belong to.

        Raises StackError if requests fail, or answers are wrong, when they are asked together.
        """
        # Together first: an engine that keeps the prompts it has read would not read them in one step any more.
        together = self._ask_together()
        self._check_errors(together, "requests")
        alone = [self._ask(prompt) for prompt in self.prompts]
        self._check_errors(alone, "single requests after that")
        self._check_answers(alone, together)
        # Two answers that are known are the least of which one can be taken for the other.
        if sum(map(is_certain, self.prompts, alone)) < 2:
            return INCONCLUSIVE
        together = self._ask_together()
        self._check_errors(together, "requests")
        self._check_answers(alone, together)
        return PASSED
