# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The last proof of a new image: its engine loads a model and answers, before the image gets its name.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

The engine is started as the role mistral_server starts it (L{engine_plan}), but without a network: it is asked from
inside its container, by bash, which the image's health check needs too.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._engine.diagnose import diagnose
from ansible_collections.mistralrs.stack.plugins.module_utils._engine.plan import (
    CONFIGURATION_PATH,
    engine_plan,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._engine_versions.table import engine_of
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError, StackErrors
from ansible_collections.mistralrs.stack.plugins.module_utils._image.build_options import Run
from ansible_collections.mistralrs.stack.plugins.module_utils._image.host_faults import MODEL_UNUSABLE
from ansible_collections.mistralrs.stack.plugins.module_utils._model.naming import MADE, model_id

NO_ANSWER = Fault(
    "image.proof_without_answer",
    "The engine that was built does not answer on {host} with the model {model}: {why}.",
    "The image did not get its name. Run again to repeat the test; if the model is the reason, set another "
    "mistral_image_proof_model, or '' to skip the test.",
)

PROMPT = "The capital of France is"
TOKENS = 8
# A model for a proof is small, but the first start on a GPU may have to translate all kernels.
_PATIENCE = 600
_POLL_SECONDS = 1
_ASK = r"""
exec 3<>"/dev/tcp/127.0.0.1/$MISTRAL_PORT" || exit 1
printf 'POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n' >&3
printf 'Content-Length: %d\r\n\r\n%s' "${#1}" "$1" >&3
while IFS= read -r -t 300 line <&3; do printf '%s\n' "$line"; done
printf '%s' "$line"
"""


class Subject(NamedTuple):
    """What is proven: an image's id, the engine's version, the model's path; with which options for docker run."""

    image: str
    version: str
    model: str
    options: Sequence[str]
    gpu: bool
    host: str


def check_model(path: str, host: str) -> None:
    """That a file can be the model of a proof. Raises StackError C(image.proof_model_unusable)."""
    why = ""
    if not path.startswith("/") or "," in path or '"' in path:
        why = "is not usable: it must be an absolute path, without commas or quotation marks"
    else:
        try:
            with open(path, "rb") as file:
                why = "" if file.read(4) == b"GGUF" else "is not a GGUF file"
        except OSError as error:
            why = f"can't be read ({error.strerror})"
    if why:
        raise StackError(MODEL_UNUSABLE, path=path, host=host, why=why)


def answer_of(said: str) -> str:
    """The text that the engine completed, from what it said by HTTP. Raises ValueError with the reason in words."""
    head, _blank, body = said.replace("\r\n", "\n").partition("\n\n")
    status = head.partition("\n")[0].split(" ", 2)
    first, last = body.find("{"), body.rfind("}")
    try:
        document = json.loads(body[first : last + 1])
    except ValueError:
        document = {}
    if len(status) < 2 or status[1] != "200":
        error = document.get("message") or document.get("error")
        code = status[1] if len(status) > 1 else "nothing"
        raise ValueError(f"it answers {code}" + (f" ({error})" if error else ""))
    choices = document.get("choices") or [{}]
    text = str(choices[0].get("text") or "")
    if not text.strip():
        raise ValueError("its answer is empty" if document else "its answer breaks off")
    return text


def made_for(model: str) -> dict[str, str]:
    """The files that the engine needs with a model: the store's, or those that have the engine's names beside it."""
    found = {}
    for kind, ending in MADE.items():
        stored = os.path.join(os.path.dirname(model), model_id(os.path.basename(model)) + ending)
        beside = os.path.join(os.path.dirname(model), ending.lstrip("."))
        found[kind] = next((path for path in (stored, beside) if os.path.isfile(path)), "")
    return found


def _arguments(subject: Subject, folder: str) -> list[str]:
    """What docker run is told; writes the engine's configuration into the folder."""
    entry = {"file": os.path.basename(subject.model), "path": subject.model, **made_for(subject.model)}
    if not entry["tokenizer_config"] and not engine_of(subject.version).files_beside:
        # That engine reads both or none, and answers with the model's own tokenizer as well.
        entry["tokenizer"] = ""
    # An engine that serves on the same GPU has set most of its memory aside, so this one takes only what it needs.
    config: dict[str, Any] = {"gpu": {"allow_growth": True}} if subject.gpu else {}
    try:
        plan = engine_plan(config, subject.version, [{"index": 0}] if subject.gpu else [], [entry])
    except StackErrors as error:
        raise error.errors[0] from None
    mounts = {f"{plan['working_directory']}/{name}": path for name, path in plan["links"].items()}
    if plan["toml"]:
        configuration = os.path.join(folder, "proof.toml")
        with open(os.open(configuration, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), "w", encoding="utf-8") as file:
            file.write(plan["toml"])
        os.chmod(configuration, 0o644)
        mounts[CONFIGURATION_PATH] = configuration
    group = os.stat(subject.model).st_gid
    return [
        *("--init", "--workdir", plan["working_directory"]),
        # Models need not be readable for everybody.
        *(("--group-add", str(group)) if group else ()),
        *[f"--env={name}={value}" for name, value in sorted(plan["environment"].items())],
        *[f"--mount=type=bind,source={path},target={target},readonly" for target, path in sorted(mounts.items())],
        subject.image,
        *plan["argv"],
    ]


def prove(run: Run, subject: Subject, folder: str, name: str) -> dict[str, Any]:
    """Start the engine with the model, as the container C(name), and ask it; what it said and after how many seconds.

    C(folder) is a directory of the host for its configuration. Raises StackError C(image.proof_model_unusable) and
    C(image.proof_without_answer).
    """
    check_model(subject.model, subject.host)
    arguments = _arguments(subject, folder)

    def failed(why: str) -> StackError:
        return StackError(NO_ANSWER, host=subject.host, model=subject.model, why=why.rstrip(". "))

    run(["docker", "rm", "--force", name])
    began = time.monotonic()
    try:
        status, _out, err = run(["docker", "run", "--detach", "--name", name, *subject.options, *arguments])
        if status != 0:
            raise failed((err.strip().splitlines() or ["docker says nothing"])[0])
        while run(["docker", "exec", name, "/usr/local/bin/healthcheck"])[0] != 0:
            template = "{{.State.Running}} {{.State.ExitCode}} {{.State.OOMKilled}}"
            _status, out, _err = run(["docker", "inspect", "--format", template, name])
            running, code, killed = ([*out.split(), "", "", ""])[:3]
            if running != "true":
                _status, out, err = run(["docker", "logs", "--tail", "200", name])
                found = diagnose(out + err, int(code) if code.isdigit() else None, killed == "true")
                raise failed(f"{found.error.sentence} {' '.join(found.quote[-1:])}")
            if time.monotonic() - began > _PATIENCE:
                raise failed(f"it has not loaded it within {_PATIENCE} seconds")
            time.sleep(_POLL_SECONDS)
        loaded = time.monotonic()
        request = json.dumps({"model": "default", "prompt": PROMPT, "max_tokens": TOKENS, "temperature": 0})
        _status, out, err = run(["docker", "exec", name, "/bin/bash", "-c", _ASK, "ask", request])
        try:
            text = answer_of(out)
        except ValueError as error:
            raise failed(str(error)) from None
        return {
            "model": subject.model,
            "prompt": PROMPT,
            "answer": text,
            "load_seconds": round(loaded - began, 1),
            "answer_seconds": round(time.monotonic() - loaded, 1),
        }
    finally:
        run(["docker", "rm", "--force", name])
