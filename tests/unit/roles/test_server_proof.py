"""What the role mistral_server proves after a start, by its own expressions.

It proves each served model, a chat where there is a template, and several clients unless the gateway sends one request
at a time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROOT = Path(__file__).resolve().parents[3]
TASKS: list[dict[str, Any]] = yaml.safe_load((ROOT / "roles/mistral_server/tasks/run.yml").read_text())
PROOF = next(task for task in TASKS if "mistralrs.stack.server_ready" in task)

# As the filter engine_plan and the module model report them.
PLAN: dict[str, Any] = {
    "default_model": "tiny",
    "chat": False,
    "gateway": {"models": [{"id": "other"}, {"id": "tiny"}, {"id": "third"}], "max_concurrent_requests": 0},
}
MODELS = [
    {"id": "tiny", "prompt_tokens": 26, "chat_template": "", "embedded_chat_template": True},
    {"id": "other", "chat_template": "", "embedded_chat_template": True},
    {"id": "third", "prompt_tokens": 30, "chat_template": "", "embedded_chat_template": False},
    {"path": "/models/without-an-id.gguf"},
]


def evaluated(text: str, **known: Any) -> Any:
    variables = {
        "mistral_server_plan": PLAN,
        "mistral_server_models": MODELS,
        "mistral_server_prove_answers": True,
        **known,
    }
    if "item" in variables:
        model = Templar(DataLoader(), variables).template(trust_as_template(PROOF["vars"]["__mistral_server_model"]))
        variables["__mistral_server_model"] = model
    return Templar(DataLoader(), variables).template(trust_as_template(text))


def option(name: str, **known: Any) -> Any:
    return evaluated(PROOF["mistralrs.stack.server_ready"][name], **known)


def test_every_served_model_the_default_one_first() -> None:
    assert evaluated(PROOF["loop"]) == ["tiny", "other", "third"]


@pytest.mark.parametrize(("model", "chat", "tokens"), [("tiny", False, 26), ("other", True, 0), ("third", False, 30)])
def test_chats_are_asked_for_where_there_is_a_template(model: str, chat: bool, tokens: int) -> None:
    assert option("chat", item=model) is chat
    assert option("prompt_tokens", item=model) == tokens


@pytest.mark.parametrize(("said", "expected"), [(True, True), (False, False), (None, True)])
def test_the_plan_says_whether_the_default_model_chats(said: bool | None, expected: bool) -> None:
    plan = {name: value for name, value in {**PLAN, "chat": said}.items() if value is not None}
    assert option("chat", item="tiny", mistral_server_plan=plan) is expected


def test_a_template_that_the_inventory_gives() -> None:
    models = [{"id": "third", "chat_template": "chatml.jinja", "embedded_chat_template": False}]
    assert option("chat", item="third", mistral_server_models=models) is True


@pytest.mark.parametrize(
    ("limit", "prove", "expected"), [(0, True, 6), (None, True, 6), (1, True, 0), (0, False, 0), (4, True, 6)]
)
def test_how_many_clients(limit: int | None, prove: bool, expected: int) -> None:
    gateway = {"models": [], **({} if limit is None else {"max_concurrent_requests": limit})}
    plan = {**PLAN, "gateway": gateway}
    known = {"mistral_server_plan": plan, "mistral_server_prove_answers": prove}
    assert option("concurrent_prompts", **known) == expected


def test_what_would_fit_is_handed_over_where_the_plan_knows_it() -> None:
    fit = {"sentence": "What would fit these GPUs: q4_k_m.", "table": ["quantization"]}
    assert option("fit", item="tiny", mistral_server_plan={**PLAN, "fit": {"tiny": fit}}) == fit
    given = {"fit": trust_as_template(PROOF["mistralrs.stack.server_ready"]["fit"])}
    for plan in ({**PLAN, "fit": {}}, PLAN):
        assert Templar(DataLoader(), {"mistral_server_plan": plan, "item": "tiny"}).template(given) == {}
